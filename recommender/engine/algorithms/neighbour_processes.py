"""Processes that compute blocks of neighbours for a training.

Started as `python -m`, because a daemonic Celery worker may not start children by multiprocessing. All map
the same unlinked file with the plays. A request is a line with a range of songs, the answer a line of
lengths and the arrays' bytes. A process ends with its input, so none outlives a killed training.
"""

import logging
import mmap
import os
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from threading import Thread
from typing import IO, Any, Final

import numpy as np
import orjson
import psutil
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recommender.engine.algorithms.neighbours import CoListening, NeighbourBlock, NeighbourTask

logger = logging.getLogger(__name__)

MEMORY_PER_PROCESS: Final = 150_000_000  # bytes; 126 MB were measured at 200 000 songs
# Requests of a web server on the same machine go first.
NICENESS: Final = 10
MODULE: Final = "recommender.engine.algorithms.neighbour_processes"
ROOT: Final = Path(__file__).resolve().parents[3]
ALIGNMENT: Final = 64  # bytes
_children: set[int] = set()


class ProcessEnded(Exception):
    """The process ended before it answered, for example because it had no memory."""


def running_children() -> list[int]:
    """Ids of the processes that compute neighbours for this process."""
    return list(_children)


def start_processes(task: NeighbourTask, number: int) -> list["NeighbourProcess"]:
    """Start at most `number` processes that compute blocks of the task until none is left."""
    started: list[NeighbourProcess] = []
    # Half of what is free stays for the rest of the training.
    number = min(number, free_memory() // 2 // MEMORY_PER_PROCESS)
    # Windows passes no open file to another process.
    if number < 1 or os.name == "nt":
        return started
    try:
        with tempfile.TemporaryFile(prefix="moovitamix-plays-") as file:
            layout = _write_arrays(file, task.product)
            started.extend(NeighbourProcess(task, file.fileno(), layout) for _ in range(number))
    except OSError as error:
        # No room for the file, or too many processes: those that started, this one at least, do the work.
        logger.warning("neighbour_processes_not_started reason=%r", str(error))
    return started


def free_memory(process: Path = Path("/proc/self"), groups: Path = Path("/sys/fs/cgroup")) -> int:
    """Bytes that this process may still use; a container's or service's limit counts (cgroup v2)."""
    free = psutil.virtual_memory().available
    # Without such a group, without a limit ("max"), or on another system, the machine's memory decides.
    with suppress(OSError, ValueError, KeyError):
        lines = (process / "cgroup").read_text().splitlines()
        group = groups / dict(line.split("::", 1) for line in lines if "::" in line)["0"].lstrip("/")
        used = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        # Not memory.current, which counts files that the system forgets when it needs the memory.
        free = min(free, int((group / "memory.max").read_text()) - int(used["anon"]))
    return max(0, free)


class NeighbourProcess:
    """A child process and the thread that requests blocks from it; `stop` must be called."""

    def __init__(self, task: NeighbourTask, file: int, layout: bytes) -> None:
        # One thread for each process: see `two_workers`.
        path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        environment = {
            **os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1",
        }  # fmt: skip
        self._child = subprocess.Popen(  # noqa: S603
            [sys.executable, "-m", MODULE, str(file)], pass_fds=[file], env=environment,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        _children.add(self._child.pid)
        self._is_stopped = False
        self._thread = Thread(target=self._run, args=(task, layout), name="neighbours", daemon=True)
        self._thread.start()

    def join(self) -> None:
        self._thread.join()

    def stop(self) -> None:
        self._is_stopped = True
        self._child.kill()
        self._thread.join()
        for pipe in (self._child.stdin, self._child.stdout):
            # A request that did not reach the process is still in the buffer, and can't be written.
            with suppress(OSError):
                if pipe is not None:
                    pipe.close()
        self._child.wait()
        _children.discard(self._child.pid)

    def _run(self, task: NeighbourTask, layout: bytes) -> None:
        try:
            self._send(layout)
            task.compute_blocks(self._find_neighbours)
        except (ProcessEnded, OSError):
            if not self._is_stopped:
                logger.warning("neighbour_process_ended pid=%s", self._child.pid)

    def _send(self, line: bytes) -> None:
        assert self._child.stdin is not None  # noqa: S101
        self._child.stdin.write(line + b"\n")
        self._child.stdin.flush()

    def _find_neighbours(self, start: int, stop: int) -> NeighbourBlock:
        assert self._child.stdout is not None  # noqa: S101
        self._send(b"%d %d" % (start, stop))
        rp3, knn = (_read_matrix(self._child.stdout) for _ in range(2))
        return NeighbourBlock(rp3, knn)


def _write_arrays(file: Any, product: CoListening) -> bytes:
    """Write the arrays one after the other; returns a line that says where each begins."""
    layout = []
    for part in fields(product):
        array: NDArray[Any] = getattr(product, part.name)
        file.write(bytes(-file.tell() % ALIGNMENT))
        layout.append([part.name, array.dtype.str, len(array), file.tell()])
        file.write(array.tobytes())
    file.flush()
    return orjson.dumps(layout)


def _map_arrays(file: int, layout: bytes) -> CoListening:
    whole = mmap.mmap(file, 0, access=mmap.ACCESS_READ)
    return CoListening(
        **{
            name: np.frombuffer(whole, dtype=kind, count=length, offset=offset)
            for name, kind, length, offset in orjson.loads(layout)
        }
    )


def _write_matrix(output: IO[bytes], matrix: csr_array) -> None:
    indptr, indices = (array.astype(np.int32, copy=False) for array in (matrix.indptr, matrix.indices))
    output.write(b"%d %d %d\n" % (matrix.shape[0], matrix.shape[1], matrix.nnz))
    for array in (matrix.data, indices, indptr):
        output.write(np.ascontiguousarray(array).tobytes())
    output.flush()


def _read_matrix(source: IO[bytes]) -> csr_array:
    header = source.readline().split()
    if len(header) != 3:
        raise ProcessEnded
    rows, columns, size = map(int, header)
    data = _read_array(source, np.dtype(np.float32), size)
    indices, indptr = (_read_array(source, np.dtype(np.int32), length) for length in (size, rows + 1))
    return csr_array((data, indices, indptr), shape=(rows, columns))


def _read_array(source: IO[bytes], kind: np.dtype[Any], length: int) -> NDArray[Any]:
    read = source.read(length * kind.itemsize)
    if len(read) < length * kind.itemsize:
        raise ProcessEnded
    return np.frombuffer(read, dtype=kind)


def _answer_requests(file: int, requests: IO[bytes], answers: IO[bytes]) -> None:
    product = _map_arrays(file, requests.readline())
    for line in requests:
        start, stop = map(int, line.split())
        for matrix in product.find_neighbours(start, stop):
            _write_matrix(answers, matrix)


if __name__ == "__main__":
    # Ctrl+C reaches the whole group; the training ends, and with it this process.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(NICENESS)
    # If memory runs out, the system ends this process, and the others do its work.
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    _answer_requests(int(sys.argv[1]), sys.stdin.buffer, sys.stdout.buffer)

"""Engines: they run the work that grows with plays and listeners on this machine or on a cluster.

All engines call the same functions of this package on the same rows, so results are bit-identical.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recommender.engine.algorithms.neighbour_processes import NeighbourProcess, start_processes
from recommender.engine.algorithms.neighbours import CoListening, NeighbourBlock, NeighbourTask, SongCounts
from recommender.engine.data import EngineError, Interactions
from recommender.engine.parallel import Submit

# Below it, a process would start for less than a second of work.
FEWEST_MULTIPLICATIONS: Final = 10_000_000

# Computes rows to store from some ids, such as the candidate lists of some listeners.
Kernel = Callable[[Sequence[int]], list[Any]]


@dataclass(frozen=True)
class WantedPlays:
    listener_ids: NDArray[np.int64]  # shape (n_listeners,), ascending
    song_ids: NDArray[np.int64]  # shape (n_songs,), ascending
    until: datetime | None = None  # inclusive; None: all


class EngineUnavailable(EngineError):
    """The engine can't start or work; the message says what to do."""


class Engine(Protocol):
    """Interface for the computations whose cost grows with the numbers of plays and listeners."""

    def plays(self, wanted: WantedPlays) -> Interactions:
        """Read the plays in the wanted listeners' sessions, in the order of the sessions' ids."""

    def by_listener(self, plays: csr_array) -> Any:
        """Each listener's songs, in a form that only this engine reads.

        Args:
            plays: shape (n_listeners, n_songs), of the listeners and songs in the result of `plays`.
        """

    def counts(self, histories: Any) -> SongCounts:
        """The number of listeners of each song, and the cost of computing its neighbours."""

    def by_block(self, histories: Any, counts: SongCounts, submit: Submit) -> Callable[[], NeighbourBlock]:
        """Start to compute all songs' neighbours by blocks of songs; the returned function waits for them.

        It may be called once.
        """

    def map_rows(
        self, kernel: Kernel, ids: Sequence[int], size: int
    ) -> Iterator[tuple[Sequence[int], list[Any]]]:
        """Call the kernel with at most `size` ids at a time; yields the ids and their rows."""

    def release(self) -> None:
        """End what `by_block` started."""


class BeginNeighbours(Protocol):
    """Starts to compute all neighbours; the returned function gives the matrices."""

    def __call__(self, plays: csr_array, submit: Submit) -> Callable[[], NeighbourBlock]: ...


@contextmanager
def neighbours_by(engine: Engine) -> Iterator[BeginNeighbours]:
    """Yield a function that computes neighbours with the engine; at the end, nothing of it still runs."""

    def begin(plays: csr_array, submit: Submit) -> Callable[[], NeighbourBlock]:
        histories = engine.by_listener(plays)
        return engine.by_block(histories, engine.counts(histories), submit)

    try:
        yield begin
    finally:
        engine.release()


class LocalEngine:
    """Computes in this process, and neighbours in further processes of this machine."""

    def __init__(
        self,
        processes: int = 1,
        read_plays: Callable[[WantedPlays], Interactions] | None = None,
        fewest: int = FEWEST_MULTIPLICATIONS,
    ) -> None:
        """Prepare the engine; no process starts yet.

        Args:
            processes: number of processes for neighbours, this one included; it changes no result.
            read_plays: implements `plays`; None if this engine only computes.
            fewest: multiplications for each process; a small product gets fewer processes.
        """
        self._processes = processes
        self._read_plays = read_plays
        self._fewest = max(1, fewest)
        self._started: list[NeighbourProcess] = []

    def plays(self, wanted: WantedPlays) -> Interactions:
        if self._read_plays is None:
            raise TypeError("This engine was given no plays to read.")
        return self._read_plays(wanted)

    def by_listener(self, plays: csr_array) -> CoListening:
        return CoListening.from_plays(plays)

    def counts(self, histories: CoListening) -> SongCounts:
        return histories.counts()

    def by_block(
        self, histories: CoListening, counts: SongCounts, submit: Submit
    ) -> Callable[[], NeighbourBlock]:
        task = NeighbourTask(histories, counts.blocks())
        useful = int(counts.multiplications.sum()) // self._fewest
        others = start_processes(task, min(self._processes, useful) - 1)
        self._started.extend(others)
        own = submit([task.compute_blocks])

        def result() -> NeighbourBlock:
            task.compute_blocks()
            own()
            for other in others:
                other.join()
                # Each keeps about 100 MB.
                other.stop()
            # What a process that ended left behind.
            task.compute_blocks()
            return task.take_result()

        return result

    def map_rows(
        self, kernel: Kernel, ids: Sequence[int], size: int
    ) -> Iterator[tuple[Sequence[int], list[Any]]]:
        for start in range(0, len(ids), size):
            chosen = ids[start : start + size]
            yield chosen, kernel(chosen)

    def release(self) -> None:
        while self._started:
            self._started.pop().stop()

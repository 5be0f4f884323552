import os
import signal
import tempfile
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_array

from recommender.engine.algorithms import neighbours
from recommender.engine.algorithms.engines import LocalEngine, neighbours_by
from recommender.engine.algorithms.item_similarity import knn_weights, rp3_weights
from recommender.engine.algorithms.neighbour_processes import (
    free_memory,
    running_children,
    start_processes,
)
from recommender.engine.algorithms.neighbours import CoListening, NeighbourBlock, NeighbourTask
from recommender.engine.parallel import submit_inline


def make_plays(listeners: int = 300, songs: int = 500) -> csr_array:
    """Counts of plays; nobody has played the last song."""
    draw = np.random.default_rng(3)
    plays = (draw.random((listeners, songs)) < 0.25 * draw.random(songs)) * draw.integers(1, 6, (1, songs))
    plays[:, -1] = 0
    return csr_array(plays.astype(np.float32))


def bits(block: NeighbourBlock) -> list[bytes]:
    return [array.tobytes() for one in block for array in (one.data, one.indices, one.indptr)]


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "BLOCK_PRODUCTS", 40_000)


@pytest.mark.usefixtures("small_blocks")
def test_one_product_gives_both_kinds_of_neighbours() -> None:
    plays = make_plays()

    with neighbours_by(LocalEngine(1)) as begin:
        found = begin(plays, submit_inline)()

    ones = csr_array((np.ones_like(plays.data), plays.indices, plays.indptr), shape=plays.shape)
    rp3, knn = rp3_weights(plays), csr_array(knn_weights(ones).T)
    assert (found.knn.data.tolist(), found.knn.indices.tolist()) == (knn.data.tolist(), knn.indices.tolist())
    assert found.rp3.indices.tolist() == rp3.indices.tolist()
    assert found.rp3.indptr.tolist() == rp3.indptr.tolist()
    np.testing.assert_allclose(found.rp3.data, rp3.data, rtol=1e-5)


@pytest.mark.usefixtures("small_blocks")
def test_other_processes_give_the_same_bits() -> None:
    product = CoListening.from_plays(make_plays())
    ranges = product.counts().blocks()
    alone, shared = NeighbourTask(product, ranges), NeighbourTask(product, ranges)

    alone.compute_blocks()
    processes = start_processes(shared, 2)
    started = len(running_children())
    for process in processes:
        process.join()
        process.stop()

    assert started == 2
    assert len(ranges) > 10
    assert bits(shared.take_result()) == bits(alone.take_result())
    assert running_children() == []


@pytest.mark.usefixtures("small_blocks")
def test_what_a_killed_process_leaves_is_computed_here(caplog: pytest.LogCaptureFixture) -> None:
    product = CoListening.from_plays(make_plays())
    ranges = product.counts().blocks()
    alone, shared = NeighbourTask(product, ranges), NeighbourTask(product, ranges)
    alone.compute_blocks()

    (process,) = start_processes(shared, 1)
    os.kill(running_children()[0], signal.SIGKILL)
    process.join()
    process.stop()
    shared.compute_blocks()

    assert "neighbour_process_ended" in caplog.text
    assert bits(shared.take_result()) == bits(alone.take_result())


def test_a_process_that_has_died_is_stopped_with_a_request_in_the_buffer() -> None:
    product = CoListening.from_plays(make_plays())
    (process,) = start_processes(NeighbourTask(product, product.counts().blocks()), 1)
    process.join()
    (pid,) = running_children()
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    with pytest.raises(BrokenPipeError):
        process._send(b"0 1")

    process.stop()

    assert running_children() == []


@pytest.mark.usefixtures("small_blocks")
def test_processes_end_before_the_rest_of_the_training() -> None:
    with neighbours_by(LocalEngine(2, fewest=1)) as begin:
        wait_for_neighbours = begin(make_plays(), submit_inline)
        started = len(running_children())

        wait_for_neighbours()

        assert (started, running_children()) == (1, [])


def test_without_room_for_a_temporary_file_this_process_does_the_work(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")

    with neighbours_by(LocalEngine(2, fewest=1)) as begin:
        found = begin(make_plays(), submit_inline)()

    assert "neighbour_processes_not_started" in caplog.text
    assert found.rp3.nnz > 0


@pytest.mark.parametrize(("limit", "free"), [("3000000", 2_000_000), ("500000", 0)])
def test_the_limit_of_a_container_counts_as_memory(tmp_path: Path, limit: str, free: int) -> None:
    (tmp_path / "cgroup").write_text("0::/worker\n")
    (tmp_path / "worker").mkdir()
    (tmp_path / "worker" / "memory.max").write_text(f"{limit}\n")
    (tmp_path / "worker" / "memory.stat").write_text("anon 1000000\nfile 900000000\n")

    assert free_memory(tmp_path, tmp_path) == free


def test_without_a_limit_the_memory_of_the_machine_counts(tmp_path: Path) -> None:
    (tmp_path / "cgroup").write_text("0::/\n")
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.stat").write_text("anon 1000000\n")

    assert free_memory(tmp_path, tmp_path) > 10_000_000


def test_a_small_catalogue_starts_no_process() -> None:
    with neighbours_by(LocalEngine(8)) as begin:
        result = begin(make_plays(), submit_inline)

        assert running_children() == []
        assert result().rp3.shape == (500, 500)


def test_without_plays_there_are_no_neighbours() -> None:
    with neighbours_by(LocalEngine(2)) as begin:
        found = begin(csr_array((5, 40), dtype=np.float32), submit_inline)()

    assert (found.rp3.nnz, found.knn.nnz) == (0, 0)
    assert found.rp3.shape == found.knn.shape == (40, 40)

"""The local engine, and the functions that let another engine compute with a part of the plays."""

from collections.abc import Sequence

import numpy as np
import pytest
from scipy.sparse import csr_array

from recommender.engine.algorithms import neighbours
from recommender.engine.algorithms.engines import (
    LocalEngine,
    neighbours_by,
)
from recommender.engine.algorithms.neighbours import (
    CoListening,
    NeighbourBlock,
    find_neighbours_in_histories,
)
from recommender.engine.parallel import submit_inline


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "BLOCK_PRODUCTS", 20_000)


def make_plays() -> csr_array:
    """Counts of plays; nobody has played the last song, and the first listener has played nothing."""
    draw = np.random.default_rng(5)
    plays = (draw.random((200, 300)) < 0.3 * draw.random(300)) * draw.integers(1, 6, (200, 300))
    plays[:, -1] = plays[0] = 0
    return csr_array(plays.astype(np.float32))


def bits(block: NeighbourBlock) -> list[bytes]:
    # The integers' width, which says nothing about the result, depends on the number of blocks.
    return [
        array.tobytes()
        for one in block
        for array in (one.data, one.indices.astype(np.int32), one.indptr.astype(np.int32))
    ]


@pytest.mark.usefixtures("small_blocks")
def test_a_block_needs_only_the_histories_of_its_songs_listeners() -> None:
    plays = make_plays()
    product = CoListening.from_plays(plays)
    counts = product.counts()
    blocks = counts.blocks()

    for start, stop in blocks:
        heard = np.diff(plays[:, start:stop].indptr) > 0
        found = find_neighbours_in_histories(plays[heard], counts.listeners.astype(np.float32), start, stop)
        assert bits(found) == bits(product.find_neighbours(start, stop))
    assert len(blocks) > 10


def test_counts_are_the_listeners_and_the_multiplications_of_each_song() -> None:
    plays = csr_array(np.array([[1, 1, 0, 0], [0, 2, 3, 0], [0, 1, 1, 0]], dtype=np.float32))

    counts = LocalEngine().counts(LocalEngine().by_listener(plays))

    assert counts.listeners.tolist() == [1, 3, 2, 0]
    assert counts.multiplications.tolist() == [2, 6, 4, 0]


@pytest.mark.usefixtures("small_blocks")
def test_the_engine_computes_all_blocks() -> None:
    plays = make_plays()
    product = CoListening.from_plays(plays)

    with neighbours_by(LocalEngine()) as begin:
        found = begin(plays, submit_inline)()

    whole = product.find_neighbours(0, product.n_songs)
    assert bits(found) == bits(whole)


def test_rows_come_in_batches_in_the_order_of_the_ids() -> None:
    def double(ids: Sequence[int]) -> list[int]:
        return [2 * one for one in ids]

    batches = list(LocalEngine().map_rows(double, [5, 1, 4], 2))

    assert batches == [([5, 1], [10, 2]), ([4], [8])]

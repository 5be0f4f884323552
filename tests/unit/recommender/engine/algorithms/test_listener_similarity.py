"""User-KNN: the nearest listeners' songs, for a batch and for one request."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recommender.engine.algorithms import listener_similarity
from recommender.engine.algorithms.base import log_plays
from recommender.engine.algorithms.listener_similarity import ListenerNeighbourhood

PLAYS = csr_array(
    np.array([[3, 1, 0, 0, 2], [3, 1, 1, 0, 0], [0, 0, 1, 4, 0], [0, 0, 0, 0, 0]], dtype=np.float32)
)


def make_neighbourhood(plays: csr_array = PLAYS, keys: list[int] | None = None) -> ListenerNeighbourhood:
    return ListenerNeighbourhood.fit(plays, None if keys is None else np.array(keys), seed=1)


def songs_and_plays(row: csr_array) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    plays = log_plays(row)
    return plays.indices, plays.data


def test_votes_are_similarities_divided_by_the_root_of_popularity() -> None:
    plays = csr_array(np.array([[3, 0, 0, 0, 1]], dtype=np.float32))

    votes = make_neighbourhood().votes(log_plays(plays), None).toarray()[0]

    # By hand: idf = ln(4 / listeners); the cosine with each listener's log(1 + plays) x idf.
    idf = np.log(4 / np.array([2, 2, 2, 1, 1]))
    vectors = np.log1p(PLAYS.toarray()[:3]) * idf
    own = np.log1p(plays.toarray()[0]) * idf
    cosines = vectors @ own / np.linalg.norm(vectors, axis=1) / np.linalg.norm(own)
    expected = cosines @ (PLAYS.toarray()[:3] > 0) / np.array([2, 2, 2, 1, 1]) ** 0.2
    np.testing.assert_allclose(votes, expected, rtol=1e-5, atol=1e-6)


def test_a_listener_is_not_their_own_neighbour() -> None:
    neighbourhood = make_neighbourhood(keys=[7, 8, 9, 10])

    alone = neighbourhood.votes(log_plays(PLAYS[[0]]), np.array([7])).toarray()[0]

    assert alone[4] == 0
    assert alone[2] > 0


def test_only_the_nearest_listeners_vote(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener_similarity, "NEIGHBOURS", 1)

    votes = make_neighbourhood().votes(log_plays(PLAYS[[0]]), None).toarray()[0]

    assert (votes > 0).tolist() == [True, True, False, False, True]


def test_one_request_gets_the_votes_of_the_batch() -> None:
    draw = np.random.default_rng(3)
    plays = csr_array(((draw.random((300, 80)) < 0.1) * draw.integers(1, 9, (300, 80))).astype(np.float32))
    neighbourhood = make_neighbourhood(plays, keys=list(range(300)))
    batch = neighbourhood.votes(log_plays(plays[:20]), np.arange(20)).toarray()

    for row in range(20):
        songs, values = neighbourhood.votes_of_one(*songs_and_plays(plays[[row]]), row)

        np.testing.assert_allclose(np.bincount(songs, values, 80), batch[row], rtol=1e-4, atol=1e-6)


def test_a_sample_of_very_many_listeners_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener_similarity, "MOST_LISTENERS", 2)

    neighbourhood = make_neighbourhood(keys=[7, 8, 9, 10])

    assert neighbourhood.histories.shape == (2, 5)
    assert set(neighbourhood.keys.tolist()) < {7, 8, 9}


def test_without_plays_there_are_no_votes() -> None:
    nobody = csr_array((2, 5), dtype=np.float32)

    assert make_neighbourhood().votes(nobody, None).nnz == 0
    assert make_neighbourhood(nobody).votes(log_plays(PLAYS), None).nnz == 0
    assert len(make_neighbourhood(nobody).votes_of_one(*songs_and_plays(PLAYS[[0]]), None)[0]) == 0

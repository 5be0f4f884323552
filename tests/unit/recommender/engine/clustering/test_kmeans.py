"""K-means, its cohesion against scikit-learn's, and persistent cluster ids."""

import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.metrics import calinski_harabasz_score, davies_bouldin_score

from recommender.engine.clustering import kmeans as module
from recommender.engine.clustering.kmeans import (
    default_n_clusters,
    fit_clusters,
    match_cluster_ids,
    measure_cohesion,
)
from recommender.engine.clustering.nearest_centers import assign_nearest, cluster_means
from recommender.engine.data import TooFewSongs

SCRIPT = """
import hashlib, numpy as np
from recommender.engine.clustering.kmeans import fit_clusters
points = np.random.default_rng(0).normal(size=(500, 8)).astype(np.float32)
print(hashlib.sha256(fit_clusters(points, n_clusters=12, seed=3).centers.tobytes()).hexdigest())
"""


def blobs(n: int = 300, groups: int = 4) -> NDArray[np.float32]:
    draws = np.random.default_rng(1)
    centres = draws.normal(0, 8, (groups, 5))
    return (centres[np.arange(n) % groups] + draws.normal(0, 0.5, (n, 5))).astype(np.float32)


def test_separate_clusters_are_found() -> None:
    found = fit_clusters(blobs(), n_clusters=4, seed=7)

    assert [len(set(found.labels[group::4].tolist())) for group in range(4)] == [1, 1, 1, 1]
    assert found.inertia == pytest.approx(KMeans(4, random_state=0).fit(blobs()).inertia_, rel=1e-3)


@pytest.mark.slow
def test_another_process_gives_the_same_bits() -> None:
    runs = [
        subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    ]

    assert runs[0] == runs[1]


def test_clusters_from_a_sample_of_many_songs_are_as_good(monkeypatch: pytest.MonkeyPatch) -> None:
    points = np.random.default_rng(0).normal(size=(6_000, 8)).astype(np.float32)
    whole = fit_clusters(points, n_clusters=10, seed=7)
    monkeypatch.setattr(module, "SAMPLE_SIZE", 1_000)

    sampled = fit_clusters(points, n_clusters=10, seed=7)

    assert sampled.inertia == pytest.approx(whole.inertia, rel=0.03)


@pytest.mark.parametrize(("points", "k"), [(np.zeros((5, 3)), 1), (np.eye(3), 3), (np.ones((1, 2)), 1)])
def test_there_are_at_most_as_many_clusters_as_distinct_songs(points: NDArray[np.float64], k: int) -> None:
    found = fit_clusters(points.astype(np.float32), n_clusters=8, seed=7)

    assert found.n_clusters == k
    assert found.inertia == pytest.approx(0, abs=1e-9)


def test_a_negative_zero_is_a_zero() -> None:
    points = np.array([[-0.0, 1], [0, 1], [0, 1]] * 4, np.float32)
    before = points.tobytes()

    found = fit_clusters(points, n_clusters=8, seed=7)

    assert found.n_clusters == 1
    assert points.tobytes() == before


def test_clustering_and_measuring_it_copy_the_points_block_by_block() -> None:
    points = np.random.default_rng(2).normal(size=(60_000, 64)).astype(np.float32)
    labels = np.arange(60_000, dtype=np.int32) % 10

    tracemalloc.start()
    try:
        found = fit_clusters(points, n_clusters=10, seed=7, start_labels=labels)
        cohesion = measure_cohesion(points, found)
        needed = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert needed < 0.75 * points.nbytes
    deviations = points.astype(np.float64) - points.mean(axis=0, dtype=np.float64)
    assert cohesion["r2"] == pytest.approx(1 - found.inertia / (deviations**2).sum(), rel=1e-9)


def test_an_empty_catalogue_cannot_be_clustered() -> None:
    with pytest.raises(TooFewSongs):
        fit_clusters(np.empty((0, 3), np.float32), n_clusters=2, seed=7)


def test_of_equally_near_centers_the_first_is_chosen() -> None:
    labels, squares = assign_nearest(np.array([[0.0]], np.float32), np.array([[1.0], [-1.0]], np.float32))

    assert (labels.tolist(), squares.tolist()) == ([0], [1.0])


def test_cohesion_agrees_with_scikit_learn() -> None:
    points = blobs()
    found = fit_clusters(points, n_clusters=4, seed=7)

    held = measure_cohesion(points, found)

    assert held["davies_bouldin"] == pytest.approx(davies_bouldin_score(points, found.labels), rel=1e-4)
    assert held["calinski_harabasz"] == pytest.approx(calinski_harabasz_score(points, found.labels), rel=1e-3)
    assert held["r2"] > 0.95
    assert 0.8 < held["silhouette_macro"] <= 1
    assert len(held["worst"]) == 4


def test_a_single_cluster_has_no_silhouette() -> None:
    points = np.zeros((4, 2), np.float32)

    held = measure_cohesion(points, fit_clusters(points, n_clusters=3, seed=7))

    assert (held["n_clusters"], held["silhouette_macro"], held["r2"]) == (1, None, None)


def test_a_cluster_keeps_its_id_if_half_of_its_songs_stay() -> None:
    old = np.array([0, 0, 0, 1, 1, 1, -1], np.int32)
    new = np.array([1, 1, 1, 0, 2, 2, 2], np.int32)

    ids = match_cluster_ids(old, new, np.array([7, 9], np.int32), n_clusters=3, next_id=12)

    assert ids.tolist() == [12, 7, 9]


def test_few_songs_make_few_clusters() -> None:
    assert [default_n_clusters(n) for n in (0, 1, 60, 1_000, 10_000, 10_000_000)] == [1, 1, 3, 50, 200, 400]


def test_many_songs_start_from_the_given_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    points = np.random.default_rng(0).normal(size=(3_000, 6)).astype(np.float32)
    monkeypatch.setattr(module, "SAMPLE_SIZE", 500)
    monkeypatch.setattr(module, "SAMPLE_PER_CLUSTER", 1)
    before = fit_clusters(points, n_clusters=8, seed=7)

    after = fit_clusters(points, n_clusters=8, seed=7, start_labels=before.labels)

    assert after.inertia < before.inertia
    assert (after.labels == before.labels).mean() > 0.9


def test_start_labels_of_too_few_clusters_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    points = np.random.default_rng(0).normal(size=(3_000, 6)).astype(np.float32)
    monkeypatch.setattr(module, "SAMPLE_SIZE", 500)
    monkeypatch.setattr(module, "SAMPLE_PER_CLUSTER", 1)
    anew = fit_clusters(points, n_clusters=8, seed=7)

    found = fit_clusters(points, n_clusters=8, seed=7, start_labels=np.zeros(3_000, dtype=np.int32))

    np.testing.assert_array_equal(found.labels, anew.labels)


def test_rare_songs_among_many_equal_ones_have_their_own_clusters(monkeypatch: pytest.MonkeyPatch) -> None:
    points = np.zeros((2_000, 3), dtype=np.float32)
    # Every fourth song, at which k-means++ looks first, is like all others.
    points[1:21:4] = 10 * np.eye(5, 3, dtype=np.float32) + 1
    monkeypatch.setattr(module, "SAMPLE_SIZE", 1_999)
    monkeypatch.setattr(module, "SAMPLE_PER_CLUSTER", 1)

    found = fit_clusters(points, n_clusters=4, seed=7)

    assert found.n_clusters == 4


def test_centers_are_means_and_that_of_an_empty_cluster_is_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    points = np.array([[1, 2], [3, 4], [10, 0]], dtype=np.float32)
    monkeypatch.setattr(module, "BLOCK_POINTS", 2)

    means, sizes = cluster_means(points, np.array([0, 0, 2], dtype=np.int32), 3)

    assert means.tolist() == [[2, 3], [0, 0], [10, 0]]
    assert sizes.tolist() == [2, 0, 1]

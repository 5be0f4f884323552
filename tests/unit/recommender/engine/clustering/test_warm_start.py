"""Warm start: continue last week's clusters."""

import numpy as np
import pytest

from recommender.engine.clustering.kmeans import fit_clusters
from recommender.engine.clustering.warm_start import UNASSIGNED, warm_start_clusters


def blobs(seed: int, blur: float = 0.3, n: int = 600) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    middles = random.normal(0, 1, (6, 8))
    truth = random.integers(0, 6, n)
    return (middles[truth] + random.normal(0, blur, (n, 8))).astype(np.float32), truth.astype(np.int32)


def test_unchanged_songs_keep_their_clusters() -> None:
    points, _ = blobs(1)
    labels = fit_clusters(points, n_clusters=6, seed=7).labels

    carried = warm_start_clusters(points, labels, 6)

    assert carried.labels.tolist() == labels.tolist()


def test_small_changes_of_all_songs_move_few_of_them() -> None:
    points, _ = blobs(2, blur=0.8)
    labels = fit_clusters(points, n_clusters=6, seed=7).labels
    shaken = points + np.random.default_rng(3).normal(0, 0.3, points.shape).astype(np.float32)

    carried = warm_start_clusters(shaken, labels, 6)
    cold = fit_clusters(shaken, n_clusters=6, seed=7)

    assert (carried.labels == labels).mean() >= 0.95
    assert carried.inertia <= 1.05 * cold.inertia


def test_a_rotated_feature_space_moves_no_song() -> None:
    points, _ = blobs(4)
    labels = fit_clusters(points, n_clusters=6, seed=7).labels
    turn, _ = np.linalg.qr(np.random.default_rng(5).normal(0, 1, (8, 8)))

    carried = warm_start_clusters((points @ turn).astype(np.float32), labels, 6)

    assert carried.labels.tolist() == labels.tolist()


def test_a_new_song_joins_the_nearest_cluster_and_a_misplaced_one_leaves() -> None:
    points, truth = blobs(6, blur=0.1)
    before = truth.copy()
    before[0] = UNASSIGNED
    before[1] = (truth[1] + 1) % 6

    carried = warm_start_clusters(points, before, 6)

    assert carried.labels.tolist() == truth.tolist()


def test_a_cluster_without_songs_stays_empty() -> None:
    points, truth = blobs(7, blur=0.1)
    kept = truth != 2

    carried = warm_start_clusters(points[kept], truth[kept], 6)

    assert carried.n_clusters == 6
    assert (carried.labels == truth[kept]).all()


def test_a_warm_start_needs_a_clustered_song() -> None:
    points, _ = blobs(8, n=5)

    with pytest.raises(ValueError, match="needs at least one song"):
        warm_start_clusters(points, np.full(5, UNASSIGNED), 6)


def test_the_same_input_gives_the_same_clusters() -> None:
    points, truth = blobs(9, blur=0.9)

    one, other = warm_start_clusters(points, truth, 6), warm_start_clusters(points, truth, 6)

    assert one.labels.tolist() == other.labels.tolist()
    assert one.inertia == other.inertia

"""Number of clusters: the quality of drawn lists, stability against scikit-learn, planted numbers."""

import json

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import adjusted_rand_score

from recommender.engine.clustering import n_clusters
from recommender.engine.clustering.n_clusters import (
    ClusterCountScore,
    DrawEvaluation,
    DrawQuality,
    adjusted_rand_index,
    apply_selection_rule,
    choose_n_clusters,
    measure_stability,
    n_clusters_bounds,
    n_clusters_grid,
)


def planted(groups: int, *, noise: float = 0.25) -> NDArray[np.float32]:
    """480 songs in so many groups."""
    draws = np.random.default_rng(groups)
    labels = np.arange(480) % groups
    return (3 * np.eye(groups, 40)[labels] + draws.normal(0, noise, (480, 40))).astype(np.float32)


def best_at(number: int, *, coverage: float = 0.5, loss: float = 0.05) -> DrawEvaluation:
    """Lists of 100 listeners that are best with this number of clusters."""

    def evaluate(labels: NDArray[np.int32], k: int) -> DrawQuality:
        draws = np.random.default_rng(k)
        worse = loss * abs(np.log(k / number))
        return DrawQuality(0.3 - worse + draws.normal(0, 0.01, 100), coverage)

    return evaluate


def equally_good(labels: NDArray[np.int32], k: int) -> DrawQuality:
    return DrawQuality(0.3 + np.random.default_rng(1).normal(0, 0.1, 100), 0.5)


def scored(k: int, behind: float, stable: float | None = 0.9, coverage: float = 0.5) -> ClusterCountScore:
    return ClusterCountScore(k, 0.3 - behind, behind, 0.02 if behind else 0.0, coverage, 0.1, stable)


@pytest.mark.parametrize("k", [1, 2, 5, 30])
def test_the_rand_index_equals_that_of_scikit_learn(k: int) -> None:
    draws = np.random.default_rng(k)
    one = draws.integers(0, k, 200)
    other = np.where(draws.random(200) < 0.7, one, draws.integers(0, k, 200))

    assert adjusted_rand_index(one, other) == pytest.approx(adjusted_rand_score(one, other))


def test_the_number_with_the_best_drawn_lists_is_chosen() -> None:
    choice = choose_n_clusters(planted(20), best_at(34), listeners=100, default=24, seed=7)

    assert choice.n_clusters == 34
    assert choice.rule == (
        "34 clusters give the best lists drawn for what 100 listeners played next (NDCG@20 0.2991)."
    )


def test_among_equally_good_numbers_the_stable_one_is_chosen() -> None:
    choice = choose_n_clusters(planted(17), equally_good, listeners=100, default=24, seed=7)

    assert [score.n_clusters for score in choice.scores] == [12, 17, 24, 34, 48]
    assert choice.n_clusters == 17


def test_two_clusters_are_never_chosen() -> None:
    """Tastes that no clustering separates once chose 2 clusters for 800 songs."""
    cloud = np.random.default_rng(3).normal(size=(800, 12)).astype(np.float32)

    choice = choose_n_clusters(cloud, equally_good, listeners=54, default=40, seed=7)

    assert choice.n_clusters >= 20


def test_the_same_input_gives_the_same_choice_as_json_types() -> None:
    one, other = (
        choose_n_clusters(planted(20), best_at(24), listeners=100, default=24, seed=7) for _ in range(2)
    )

    assert one == other
    facts = json.loads(json.dumps(one.facts(), allow_nan=False))
    assert facts["n_clusters"] == 24
    assert (facts["listeners"], facts["songs"]) == (100, 480)


def test_a_sample_of_many_songs_gives_the_same_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(n_clusters, "SAMPLE_SIZE", 300)

    choice = choose_n_clusters(planted(20), best_at(24), listeners=100, default=24, seed=7)

    assert (choice.n_clusters, choice.songs) == (24, 300)


def test_the_grid_goes_from_half_to_twice_the_default_within_the_bounds() -> None:
    points = np.random.default_rng(0).normal(size=(9_000, 2)).astype(np.float32)
    few = points[:5].repeat(200, axis=0)

    assert n_clusters_grid(points, 190) == [95, 134, 190, 269, 380]
    assert n_clusters_grid(points, 300) == [150, 212, 300, 400]
    assert n_clusters_grid(points[:200], 10) == [8, 10, 14, 20]
    assert n_clusters_grid(few, 50) == [5]
    assert n_clusters_grid(points[:1], 1) == [1]


@pytest.mark.parametrize(
    ("songs", "bounds"), [(1, (1, 1)), (8, (8, 8)), (30, (8, 8)), (800, (8, 160)), (9_000, (8, 400))]
)
def test_the_bounds_follow_the_number_of_different_songs(songs: int, bounds: tuple[int, int]) -> None:
    assert n_clusters_bounds(songs) == bounds


def test_separate_clusters_are_stable_and_a_divided_cloud_is_not() -> None:
    cloud = np.random.default_rng(3).normal(size=(400, 12)).astype(np.float32)

    assert measure_stability(planted(8), 8, 7) >= 0.8
    assert measure_stability(cloud, 20, 7) < 0.3


@pytest.mark.parametrize(
    ("scores", "number"),
    [
        ([scored(8, 0.03), scored(16, 0.01, 0.5), scored(32, 0.0, 0.7)], 32),
        ([scored(8, 0.03), scored(16, 0.01, 0.7), scored(32, 0.0, 0.5)], 16),
        # Equally stable: the nearest to the default of 20.
        ([scored(8, 0.01, 0.52), scored(16, 0.01, 0.48), scored(64, 0.0, 0.5)], 16),
        # As good, but its lists are always the same songs.
        ([scored(16, 0.01, 0.9, coverage=0.1), scored(32, 0.0, 0.5)], 32),
    ],
)
def test_the_most_stable_of_the_good_numbers_is_chosen(scores: list[ClusterCountScore], number: int) -> None:
    assert apply_selection_rule(scores, 20, 100)[0] == number


def test_with_few_listeners_the_default_decides() -> None:
    choice = choose_n_clusters(planted(8), equally_good, listeners=29, default=24, seed=7)

    assert (choice.n_clusters, choice.scores) == (24, ())
    assert choice.rule == (
        "Only 29 listeners played a new song next (at least 30 are needed): the default for the size of the "
        "catalogue."
    )

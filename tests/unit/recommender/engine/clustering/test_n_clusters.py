"""Number of clusters: likelihood by hand, stability against scikit-learn, planted numbers."""

import json
import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.sparse import csr_array
from sklearn.metrics import adjusted_rand_score

from recommender.engine.clustering import n_clusters
from recommender.engine.clustering.n_clusters import (
    ClusterCountScore,
    HoldoutPlays,
    adjusted_rand_index,
    apply_selection_rule,
    choose_n_clusters,
    log_likelihoods,
    measure_stability,
    n_clusters_grid,
)


def rows(*values: list[float]) -> csr_array:
    return csr_array(np.array(values, dtype=np.float32))


def planted(
    groups: int, *, listeners: int = 200, noise: float = 0.25
) -> tuple[NDArray[np.float32], HoldoutPlays]:
    """480 songs in so many groups, and listeners who keep to one of them in nine plays of ten."""
    draws = np.random.default_rng(groups)
    labels = np.arange(480) % groups
    points = (3 * np.eye(groups, 24)[labels] + draws.normal(0, noise, (480, 24))).astype(np.float32)
    shares = np.full((listeners, groups), 0.1 / groups)
    shares[np.arange(listeners), draws.integers(0, groups, listeners)] += 0.9
    chances = shares[:, labels] / np.bincount(labels)[labels]
    chances /= chances.sum(axis=1, keepdims=True)
    order = np.array([draws.choice(480, 30, replace=False, p=each) for each in chances])
    before, after = np.zeros((listeners, 480), np.float32), np.zeros((listeners, 480), np.float32)
    np.put_along_axis(before, order[:, :24], 1, axis=1)
    np.put_along_axis(after, order[:, 24:], 1, axis=1)
    return points, HoldoutPlays(csr_array(before), csr_array(before), csr_array(after), before.sum(axis=0))


def scored(k: int, behind: float, stable: float | None = 0.9, silhouette: float = 0.1) -> ClusterCountScore:
    return ClusterCountScore(k, -5 - behind, behind, 0.02 if behind else 0.0, silhouette, stable)


def test_the_likelihood_equals_one_computed_by_hand() -> None:
    later = HoldoutPlays(
        recent=rows([3, 0, 1, 0]), played_before=rows([1, 0, 1, 0]), played_after=rows([0, 1, 0, 1]),
        listeners=np.array([2.5, 0.5, 3.5, 1.5]),
    )  # fmt: skip
    labels = np.array([0, 0, 1, 1], dtype=np.int32)

    found = log_likelihoods(labels, 2, later)

    # Weights 3, 1, 4, 2, so that 4 of 10 are the first group's: shares (.75 + .4) / 2 and (.25 + .6) / 2.
    # Of each group one song is left, which is drawn for sure.
    assert found.tolist() == pytest.approx([(math.log(0.575) + math.log(0.425)) / 2])


def test_unplayed_songs_share_their_cluster_s_probability_by_listeners() -> None:
    later = HoldoutPlays(
        recent=rows([1, 0, 0]), played_before=rows([1, 0, 0]), played_after=rows([0, 0, 1]),
        listeners=np.array([9.0, 0.5, 2.5]),
    )  # fmt: skip

    found = log_likelihoods(np.zeros(3, dtype=np.int32), 1, later)

    assert found.tolist() == pytest.approx([math.log(3 / 4)])


def test_a_fully_played_cluster_leaves_its_probability_to_the_others() -> None:
    later = HoldoutPlays(
        recent=rows([5, 1, 0]), played_before=rows([1, 0, 0]), played_after=rows([0, 1, 0]),
        listeners=np.array([1.0, 1.0, 1.0]),
    )  # fmt: skip

    found = log_likelihoods(np.array([0, 1, 1], dtype=np.int32), 2, later)

    assert found.tolist() == pytest.approx([math.log(1 / 2)])


def test_skips_lower_a_cluster_s_probability() -> None:
    labels = np.array([0, 0, 1, 1], dtype=np.int32)
    known = {
        "recent": rows([2, 0, 2, 0]),
        "played_before": rows([1, 0, 1, 0]),
        "played_after": rows([0, 1, 0, 0]),
    }

    found = [
        log_likelihoods(labels, 2, HoldoutPlays(**known, listeners=np.ones(4), skips=skips))[0]
        for skips in (None, rows([0, 0, 0, 2]))
    ]

    assert found == pytest.approx([math.log(0.5), math.log((2 / 3 + 1 / 2) / 2)])


@pytest.mark.parametrize("k", [1, 2, 5, 30])
def test_the_rand_index_equals_that_of_scikit_learn(k: int) -> None:
    draws = np.random.default_rng(k)
    one = draws.integers(0, k, 200)
    other = np.where(draws.random(200) < 0.7, one, draws.integers(0, k, 200))

    assert adjusted_rand_index(one, other) == pytest.approx(adjusted_rand_score(one, other))


@pytest.mark.parametrize("groups", [4, 8, 11])
def test_the_planted_number_of_clusters_is_chosen(groups: int) -> None:
    points, later = planted(groups)

    choice = choose_n_clusters(points, later, default=24, seed=7)

    best = min(choice.scores, key=lambda one: one.behind)
    assert choice.n_clusters == groups
    assert best.n_clusters == groups
    assert best.stability is not None
    assert best.stability >= 0.6
    assert choice.rule.startswith(
        f"{groups} clusters have the highest likelihood of what 200 listeners played"
    )


def test_without_taste_the_smallest_number_is_chosen() -> None:
    points, later = planted(8)
    draws = np.random.default_rng(0)
    plays = (draws.random((200, 480)) < 0.08).astype(np.float32)
    later = HoldoutPlays(
        csr_array(plays), csr_array(plays), csr_array((draws.random((200, 480)) < 0.05) * (1 - plays)),
        plays.sum(axis=0),
    )  # fmt: skip

    choice = choose_n_clusters(points, later, default=24, seed=7)

    assert choice.n_clusters == 2


def test_the_same_input_gives_the_same_choice_as_json_types() -> None:
    points, later = planted(8)

    one, other = (choose_n_clusters(points, later, default=24, seed=7) for _ in range(2))

    assert one == other
    facts = json.loads(json.dumps(one.facts(), allow_nan=False))
    assert facts["n_clusters"] == 8
    assert (facts["listeners"], facts["songs"]) == (200, 480)
    assert [score["n_clusters"] for score in facts["scores"]] == [2, 3, 4, 6, 8, 11, 15, 24]


def test_a_sample_of_many_songs_gives_the_same_number(monkeypatch: pytest.MonkeyPatch) -> None:
    points, later = planted(8)
    monkeypatch.setattr(n_clusters, "SAMPLE_SIZE", 300)

    choice = choose_n_clusters(points, later, default=24, seed=7)

    assert (choice.n_clusters, choice.songs) == (8, 300)


def test_the_grid_is_limited_by_64_the_root_of_half_the_songs_and_distinct_songs() -> None:
    points = np.random.default_rng(0).normal(size=(9_000, 2)).astype(np.float32)
    few = points[:5].repeat(200, axis=0)

    assert n_clusters_grid(points, 190) == [2, 3, 4, 6, 8, 11, 16, 23, 32, 45, 64, 190]
    assert n_clusters_grid(points[:200], 10) == [2, 3, 4, 6, 8, 10]
    assert n_clusters_grid(few, 50) == [2, 3, 4, 5]
    assert n_clusters_grid(points[:1], 1) == [1]


def test_separate_clusters_are_stable_and_a_divided_cloud_is_not() -> None:
    points, _ = planted(8)
    cloud = np.random.default_rng(3).normal(size=(400, 12)).astype(np.float32)

    assert measure_stability(points, 8, 7) >= 0.8
    assert measure_stability(cloud, 20, 7) < 0.3


def test_the_smallest_number_within_one_standard_error_is_chosen() -> None:
    scores = [scored(4, 0.03), scored(8, 0.01), scored(16, 0.0)]

    number, rule = apply_selection_rule(scores, 20, 100)

    assert number == 8
    assert rule == (
        "The smallest number within one standard error of 16, which has the highest likelihood of what "
        "100 listeners played next."
    )


def test_a_stable_number_within_one_standard_error_is_preferred() -> None:
    number, rule = apply_selection_rule([scored(8, 0.01, 0.5), scored(16, 0.0, 0.7)], 20, 100)

    assert number == 16
    assert rule == (
        "16 clusters have the highest likelihood of what 100 listeners played next, and no smaller stable "
        "number is within one standard error. Unstable numbers (stability below 0.6) were left out."
    )


def test_if_no_number_is_stable_the_likelihood_decides() -> None:
    number, rule = apply_selection_rule([scored(8, 0.01, 0.5), scored(16, 0.0, 0.5)], 20, 100)

    assert number == 8
    assert rule.endswith("No number within one standard error is stable (stability below 0.6).")


def test_with_few_listeners_the_silhouette_or_the_default_decides() -> None:
    scores = [scored(4, 0.0, 0.7, 0.3), scored(8, 0.0, 0.8, 0.4), scored(16, 0.0, 0.5, 0.9)]
    shaky = [scored(4, 0.0, 0.5), scored(8, 0.0, 0.4)]

    clear, unclear = apply_selection_rule(scores, 20, 29), apply_selection_rule(shaky, 20, 29)

    assert clear[0] == 8
    assert unclear[0] == 20
    assert unclear[1] == (
        "Only 29 listeners played a new song next (at least 30 are needed) and no number is stable: "
        "the default for the size of the catalogue."
    )


def test_with_few_listeners_no_likelihood_is_computed() -> None:
    points, later = planted(8, listeners=20)

    choice = choose_n_clusters(points, later, default=24, seed=7)

    assert choice.n_clusters == 8
    assert {one.likelihood for one in choice.scores} == {None}
    assert all(one.stability is not None for one in choice.scores)

"""Songs that were shown and ignored are less likely in the next lists, and come back later."""

import numpy as np
import pytest

from recommender.engine.sampling.candidate_codec import CandidateArrays
from recommender.engine.sampling.impressions import impression_cost, lower_shown, sum_impressions
from recommender.engine.sampling.sampler import discovery_to_temperature
from recommender.serving.list_sampler import DrawOptions, InterleavedSampler, ListPage, ListSampler


def candidates(seed: int = 0) -> CandidateArrays:
    """400 songs in 20 clusters, whose values fall as those of `mix` do."""
    draws = np.random.default_rng(seed)
    return CandidateArrays(
        np.arange(400), (1 - np.log(np.arange(1, 401)) / np.log(20)).astype(np.float32),
        draws.integers(0, 20, 400).astype(np.int32), np.arange(400, dtype=np.int32),
        np.zeros(400, dtype=np.uint8), dict(enumerate(draws.dirichlet(np.full(20, 0.5)).tolist())),
    )  # fmt: skip


def daily_lists(discovery: float, days: int, seed: int = 0) -> list[set[int]]:
    """The lists of a listener who leaves all songs alone."""
    shown: list[tuple[int, list[int]]] = []
    for day in range(days):
        counts = sum_impressions((day - then, songs) for then, songs in shown)
        options = DrawOptions(f"{seed}:{day}", discovery, discovery_to_temperature(discovery), 2, counts)
        drawn = ListSampler(candidates(seed), options).draw_page(ListPage(20))
        shown.append((day, [pick.song for pick in drawn]))
    return [set(songs) for _, songs in shown]


@pytest.mark.parametrize(("discovery", "limit"), [(0.0, 0.7), (0.3, 0.5), (0.7, 0.5), (1.0, 0.5)])
def test_lists_of_consecutive_days_differ(discovery: float, limit: float) -> None:
    lists = [daily_lists(discovery, 14, seed) for seed in range(5)]

    same = [len(one & other) / 20 for days in lists for one, other in zip(days, days[1:], strict=False)]

    assert np.mean(same) <= limit
    assert np.mean([share <= limit for share in same]) > 0.9


def test_a_song_that_was_left_alone_comes_back_within_days() -> None:
    lists = daily_lists(0.0, 14)

    assert len(lists[0] & lists[1]) <= 12
    assert all(any(song in later for later in lists[2:10]) for song in lists[0])


def test_impressions_fade_by_half_in_four_days() -> None:
    assert sum_impressions([(0.0, [1, 2]), (4.0, [1]), (8.0, [1, 3]), (29.0, [4])]) == {
        1: 1.75, 2: 1.0, 3: 0.25,
    }  # fmt: skip


def test_one_impression_costs_the_same_ranks_whatever_the_scale_of_the_scores() -> None:
    values = candidates().values.astype(np.float64)
    songs = np.arange(400)

    lowered = [lower_shown(scale * values, songs, {0: 1.0, 1: 0.5}) for scale in (1.0, 100.0)]

    assert impression_cost(100 * values) == pytest.approx(100 * impression_cost(values))
    assert lowered[0] * 100 == pytest.approx(lowered[1])
    assert values[0] - lowered[0][0] == pytest.approx(2 * (values[1] - lowered[0][1]))
    assert (lowered[0][2:] == values[2:]).all()


def test_equal_values_are_ordered_by_impressions_and_hardly_change_the_probabilities() -> None:
    equal = CandidateArrays(
        np.arange(40), np.ones(40, dtype=np.float32), np.repeat([0, 1], 20).astype(np.int32),
        np.arange(40, dtype=np.int32), np.zeros(40, dtype=np.uint8), {0: 0.7, 1: 0.3},
    )  # fmt: skip
    options = DrawOptions("s", 0.3, 0.1, 2, dict.fromkeys((*range(19), *range(20, 39)), 1.0))

    drawn = ListSampler(equal, options).draw_page(ListPage(1))

    assert drawn[0].song in {19, 39}
    assert drawn[0].propensity == pytest.approx({19: 0.696, 39: 0.304}[drawn[0].song], abs=1e-3)


def test_without_impressions_nothing_changes() -> None:
    values = candidates().values.astype(np.float64)

    assert lower_shown(values, np.arange(400), {}) is values


def test_both_models_of_an_interleaved_list_know_what_was_shown() -> None:
    fresh, shown = (
        InterleavedSampler(candidates(1), candidates(2), DrawOptions("s", 0.0, 0.0, 2, counts)).draw_page(
            ListPage(20)
        )
        for counts in ({}, dict.fromkeys(range(20), 1.0))
    )

    by_team = [
        sum(pick.song < 20 for pick in shown if pick.interleaved and pick.interleaved.by_challenger == team)
        for team in (False, True)
    ]
    assert {pick.song for pick in fresh} == set(range(20))
    assert max(by_team) <= 6

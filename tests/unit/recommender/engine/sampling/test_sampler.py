"""The weighted draw: exact probabilities, and the same list in every process."""

import json
import math
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2

from recommender.engine.sampling import sampler
from recommender.engine.sampling.sampler import (
    FORMULA_V1,
    FORMULA_V2,
    LATEST_FORMULA,
    CandidatePool,
    DrawFormula,
    Pick,
    discovery_to_temperature,
    new_artist_bonus,
    scale_scores,
    score_scale,
    seeded_uniform,
)

draw_picks = partial(sampler.draw_picks, artist_cap=2)
SCRIPT = """
import json, numpy as np
from recommender.engine.sampling.sampler import CandidatePool, draw_picks
draws = np.random.default_rng(1)
clusters, artists = (draws.integers(0, most, 50) for most in (6, 9))
pool = CandidatePool(np.arange(50), draws.random(50), clusters, artists, draws.random(6))
picks = draw_picks(pool, n=12, temperature=0.2, seed="s", artist_cap=2)
print(json.dumps([[pick.index, pick.propensity] for pick in picks]))
"""


def make_pool(
    scores: list[float], clusters: list[int], affinities: list[float], artists: list[int] | None = None
) -> CandidatePool:
    number = len(scores)
    return CandidatePool(
        np.arange(number), np.array(scores), np.array(clusters),
        np.array(artists if artists is not None else range(number)), np.array(affinities),
    )  # fmt: skip


def by_the_formula(pool: CandidatePool, n: int, temperature: float, seed: str, artist_cap: int) -> list[Pick]:
    """The draw of the module's docstring, word for word: every offer is found anew at each place."""
    eligible = pool.eligible if pool.eligible is not None else np.ones(len(pool.values), dtype=np.bool_)
    if pool.formula.cooling:
        temperature = temperature**2 / (temperature + pool.formula.cooling)
    even = pool.formula.even * math.exp(-temperature) / len(set(pool.clusters.tolist()))
    lag = pool.formula.lag
    below = temperature if temperature <= lag else max(lag, temperature - lag)
    heats = [float(value) / (temperature if value >= 0 else below) for value in pool.values]
    picks: list[Pick] = []
    for place in range(n):
        placed = [pick.index for pick in picks]
        artists = Counter(int(pool.artists[index]) for index in placed)
        left = [
            index for index in range(len(pool.values))
            if eligible[index] and index not in placed and artists[int(pool.artists[index])] < artist_cap
        ]  # fmt: skip
        heads = [
            min((index for index in left if pool.clusters[index] == cluster),
                key=lambda index: (-pool.values[index], index))
            for cluster in sorted({int(pool.clusters[index]) for index in left})
        ]  # fmt: skip
        if not heads:
            break
        top = max(heats[head] for head in heads)
        weights = np.array([
            (pool.affinities[pool.clusters[head]] + even) * math.exp(heats[head] - top) for head in heads
        ])  # fmt: skip
        shares = 0.98 * weights / weights.sum() + 0.02 / len(heads)
        drawn = int((np.cumsum(shares) <= seeded_uniform(seed, place)).sum())
        picks.append(Pick(heads[drawn], float(shares[drawn])))
    return picks


@given(
    st.integers(0, 2**32),
    st.floats(0.002, 5),
    st.integers(1, 12),
    st.integers(1, 3),
    st.sampled_from([FORMULA_V1, FORMULA_V2, LATEST_FORMULA]),
)
def test_every_place_follows_the_formula_given_the_places_before(
    world: int, temperature: float, clusters: int, artist_cap: int, formula: DrawFormula
) -> None:
    draws = np.random.default_rng(world)
    affinities = draws.dirichlet(np.full(clusters, 0.3)) * (draws.random(clusters) < 0.7)
    pool = CandidatePool(np.arange(40), draws.normal(0, 1, 40).round(1), draws.integers(0, clusters, 40),
                draws.integers(0, 15, 40), affinities, draws.random(40) < 0.8, formula)  # fmt: skip

    picks = draw_picks(pool, n=20, temperature=temperature, seed=str(world), artist_cap=artist_cap)

    expected = by_the_formula(pool, 20, temperature, str(world), artist_cap)
    assert [pick.index for pick in picks] == [pick.index for pick in expected]
    assert [pick.propensity for pick in picks] == pytest.approx([pick.propensity for pick in expected])


def test_probabilities_follow_the_formula() -> None:
    pool = replace(make_pool([1.0, 0.9, 0.5], [0, 0, 1], [0.6, 0.4]), formula=FORMULA_V2)

    first, second = (draw_picks(pool, n=1, temperature=0.5, seed=seed)[0] for seed in ("a", "d"))

    even = math.exp(-0.5) / 2
    head, other = (0.6 + even) * math.exp(1 / 0.5), (0.4 + even) * math.exp(0.5 / 0.5)
    expected = {0: 0.98 * head / (head + other) + 0.01, 2: 0.98 * other / (head + other) + 0.01}
    for pick in (first, second):
        assert pick.propensity == pytest.approx(expected[pick.index])


@pytest.mark.parametrize(
    ("temperature", "of_theirs"), [(0.05, 0.05), (0.1, 0.1), (0.2, 0.1), (0.5, 0.4), (5, 4.9)]
)
def test_songs_below_rank_20_become_likely_at_higher_temperatures(
    temperature: float, of_theirs: float
) -> None:
    pool = replace(make_pool([0.2, -0.3], [0, 1], [0.5, 0.5]), formula=FORMULA_V2)

    pick = draw_picks(pool, n=1, temperature=temperature, seed="x", floor=0)[0]

    head, low = math.exp(0.2 / temperature), math.exp(-0.3 / of_theirs)
    assert pick.propensity == pytest.approx((low if pick.index else head) / (head + low))


def test_the_first_draw_formula_still_gives_the_same_lists() -> None:
    pool = replace(make_pool([0.2, -0.3], [0, 1], [0.6, 0.4]), formula=FORMULA_V1)

    pick = draw_picks(pool, n=1, temperature=0.5, seed="a")[0]

    even = 0.5 * math.exp(-0.5) / 2
    head, low = (0.6 + even) * math.exp(0.2 / 0.5), (0.4 + even) * math.exp(-0.3 / 0.5)
    assert pick.propensity == pytest.approx(0.98 * (low if pick.index else head) / (head + low) + 0.01)


@pytest.mark.slow
def test_frequencies_agree_with_propensities() -> None:
    pool = make_pool([1.0, 0.8, 0.7, 0.4, 0.0], [0, 1, 2, 3, 4], [0.4, 0.3, 0.1, 0.2, 0.0])
    seeds = 6_000

    picks = [draw_picks(pool, n=1, temperature=0.5, seed=str(seed))[0] for seed in range(seeds)]

    counts = Counter(pick.index for pick in picks)
    likely = {pick.index: pick.propensity for pick in picks}
    distance = sum((counts[place] - seeds * share) ** 2 / (seeds * share) for place, share in likely.items())
    assert sum(likely.values()) == pytest.approx(1)
    assert distance < chi2.ppf(0.999, len(likely) - 1)


@pytest.mark.slow
@given(st.integers(0, 2**32), st.floats(0.001, 5), st.integers(1, 12))
def test_the_probabilities_of_all_offers_sum_to_one(seed: int, temperature: float, clusters: int) -> None:
    draws = np.random.default_rng(seed)
    pool = CandidatePool(
        np.arange(40),
        draws.normal(0, 3, 40),
        draws.integers(0, clusters, 40),
        np.arange(40),
        draws.random(clusters),
    )
    heads = {}
    for place in range(400):
        pick = draw_picks(pool, n=1, temperature=temperature, seed=f"{seed}:{place}", floor=0.5)[0]
        heads[pick.index] = pick.propensity

    offered = len(set(pool.clusters.tolist()))
    assert len(heads) <= offered
    if len(heads) == offered:
        assert sum(heads.values()) == pytest.approx(1)


def test_a_long_list_begins_with_the_short_one_and_can_be_continued() -> None:
    draws = np.random.default_rng(3)
    pool = CandidatePool(np.arange(90), draws.random(90), draws.integers(0, 9, 90), draws.integers(0, 40, 90),
                draws.random(9))  # fmt: skip

    long = draw_picks(pool, n=30, temperature=0.2, seed="x")
    short = draw_picks(pool, n=10, temperature=0.2, seed="x")
    rest = draw_picks(pool, n=20, temperature=0.2, seed="x", placed=short)

    assert long == short + rest


def test_another_process_draws_the_same_to_the_last_bit() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    draws = np.random.default_rng(1)
    clusters, artists = (draws.integers(0, most, 50) for most in (6, 9))
    pool = CandidatePool(np.arange(50), draws.random(50), clusters, artists, draws.random(6))

    here = [[pick.index, pick.propensity] for pick in draw_picks(pool, n=12, temperature=0.2, seed="s")]

    assert json.loads(done.stdout) == here


def test_at_temperature_0_the_ranking_is_drawn_with_probability_1() -> None:
    pool = make_pool([0.1, 0.9, 0.9, 0.5], [0, 1, 0, 1], [0.0, 1.0])

    picks = draw_picks(pool, n=4, temperature=0, seed="x")

    assert [(pick.index, pick.propensity) for pick in picks] == [(1, 1.0), (2, 1.0), (3, 1.0), (0, 1.0)]


def test_a_tiny_temperature_draws_the_ranking() -> None:
    pool = make_pool([0.1, 0.9, 0.8, 0.5], [0, 1, 2, 3], [0.25] * 4)

    picks = draw_picks(pool, n=4, temperature=1e-9, seed="x", floor=0)

    assert [pick.index for pick in picks] == [1, 2, 3, 0]


@pytest.mark.parametrize("gap", [0.7, 0.735, 0.74, 0.743, 0.7445, 0.746, 0.9, 50.0])
def test_probabilities_stay_exact_far_below_an_excluded_song(gap: float) -> None:
    # Measured from the song at `gap`, the others weigh e^-700 to e^-746 and less: doubles end at e^-745.
    pool = make_pool([gap, 0.0, -0.0005], [0, 0, 1], [0.6, 0.4])
    pool = replace(pool, eligible=np.array([False, True, True]), formula=FORMULA_V2)

    picks = [draw_picks(pool, n=1, temperature=0.001, seed=str(seed))[0] for seed in range(20)]

    even = math.exp(-0.001) / 2
    first, second = 0.6 + even, (0.4 + even) * math.exp(-0.5)
    expected = {1: 0.98 * first / (first + second) + 0.01, 2: 0.98 * second / (first + second) + 0.01}
    assert {pick.index for pick in picks} == {1, 2}
    assert all(pick.propensity == pytest.approx(expected[pick.index], rel=1e-12) for pick in picks)


@pytest.mark.parametrize(
    ("asked", "drawn_at"), [(0, 0), (0.1, 1 / 110), (0.2, 1 / 30), (0.5, 1 / 6), (3, 2.25)]
)
def test_low_temperatures_are_lowered_much_and_high_ones_hardly(asked: float, drawn_at: float) -> None:
    pool = make_pool([0.9, 0.88, -0.02], [0, 1, 2], [0.3, 0.3, 0.4])
    before = replace(pool, formula=FORMULA_V2)

    now, then = (
        [pick.propensity for pick in draw_picks(one, n=3, temperature=temperature, seed="x")]
        for one, temperature in ((pool, asked), (before, drawn_at))
    )

    assert LATEST_FORMULA.cool(asked) == pytest.approx(drawn_at)
    assert now == pytest.approx(then)


def test_the_more_engaged_cluster_is_drawn_more_often() -> None:
    pool = make_pool([0.5, 0.5], [0, 1], [0.7, 0.3])

    first = sum(draw_picks(pool, n=1, temperature=0.1, seed=str(seed))[0].index == 0 for seed in range(2_000))

    assert 0.58 < first / 2_000 < 0.66


def test_at_high_temperature_clusters_are_drawn_in_proportion_to_engagement() -> None:
    pool = make_pool([1.0, 0.0], [0, 1], [0.2, 0.8])

    pick = draw_picks(pool, n=1, temperature=1e6, seed="x", floor=0)[0]

    assert pick.propensity == pytest.approx(0.8 if pick.index else 0.2)


def test_no_artist_has_more_songs_than_the_cap() -> None:
    pool = make_pool([0.9, 0.8, 0.7, 0.6, 0.5], [0, 0, 1, 1, 2], [0.4, 0.3, 0.3], artists=[1, 1, 1, 2, 3])

    picks = draw_picks(pool, n=5, temperature=0, seed="x", artist_cap=2)

    assert [pick.index for pick in picks] == [0, 1, 3, 4]


def test_excluded_songs_are_removed_before_the_best_are_taken() -> None:
    pool = make_pool([0.9, 0.8], [0, 0], [1.0])
    pool = CandidatePool(
        pool.songs, pool.values, pool.clusters, pool.artists, pool.affinities, np.array([False, True])
    )

    picks = draw_picks(pool, n=3, temperature=0.1, seed="x")

    assert [(pick.index, pick.propensity) for pick in picks] == [(1, 1.0)]


@pytest.mark.parametrize("temperature", [0.001, 0.1, 5, 1e6])
def test_without_engagement_all_clusters_have_equal_probabilities(temperature: float) -> None:
    pool = make_pool([0.5, 0.5], [0, 1], [0.0, 0.0])

    assert draw_picks(pool, n=1, temperature=temperature, seed="x")[0].propensity == pytest.approx(0.5)


def test_without_a_cap_an_artist_may_have_the_whole_list() -> None:
    pool = make_pool([0.9, 0.8, 0.7, 0.6], [0, 1, 0, 1], [0.5, 0.5], artists=[1, 1, 1, 1])

    picks = draw_picks(pool, n=5, temperature=0.2, seed="x", artist_cap=None)

    assert sorted(pick.index for pick in picks) == [0, 1, 2, 3]


def test_an_empty_pool_gives_an_empty_list() -> None:
    assert draw_picks(make_pool([], [], []), n=5, temperature=0.1, seed="x") == []


def test_values_run_from_1_for_rank_2_to_0_for_rank_20() -> None:
    scores = np.arange(40, dtype=np.float64)

    assert scale_scores(scores)[[38, 20]].tolist() == [1.0, 0.0]
    assert scale_scores(scores)[39] > 1
    assert scale_scores(np.array([3.0, 3.0])).tolist() == [0.0, 0.0]
    assert scale_scores(np.array([3.0] * 20 + [2.0])).tolist() == [0.0] * 20 + [-1.0]
    assert scale_scores(np.array([5.0] + [3.0] * 19 + [2.0])).tolist() == [1.0] + [0.0] * 19 + [-0.5]
    assert scale_scores(np.empty(0)).tolist() == []


def test_other_songs_can_be_put_on_the_same_scale() -> None:
    assert score_scale(np.arange(40.0)) == (20.0, 18.0)
    assert score_scale(np.empty(0)) == (0.0, 1.0)


def test_discovery_sets_the_temperature_and_the_bonus_of_new_songs() -> None:
    assert discovery_to_temperature(0) == 0
    assert discovery_to_temperature(0.3) == pytest.approx(0.1)
    assert discovery_to_temperature(1) == 5
    assert [new_artist_bonus(0, 0), new_artist_bonus(0.3, 0.1), new_artist_bonus(0.75, 0.7)] == pytest.approx(
        [-0.6, 0, 2.1]
    )
    assert new_artist_bonus(0.75, 0.7, FORMULA_V2) == pytest.approx(0.9)


def test_the_bonus_of_new_songs_over_the_temperature_never_decreases() -> None:
    shares = [0.75, 0.8, 0.9, 1.0]

    leans = [
        new_artist_bonus(share, discovery_to_temperature(share)) / discovery_to_temperature(share)
        for share in shares
    ]

    assert leans == pytest.approx([0.9 / 0.3, 1.0 / 0.3, 1.2 / 0.3, 1.4 / 0.3])
    assert new_artist_bonus(1, 5, FORMULA_V1) == pytest.approx(1.4)


def test_a_random_number_is_below_1_and_depends_on_seed_and_place_alone() -> None:
    assert seeded_uniform("a", 0) == seeded_uniform("a", 0)
    assert seeded_uniform("a", 0) != seeded_uniform("a", 1)
    assert all(0 <= seeded_uniform("a", place) < 1 for place in range(200))


def test_the_cap_counts_every_artist_of_a_song() -> None:
    pool = make_pool([5, 4, 3, 2, 1], [0] * 5, [1.0], artists=[1, 2, 1, 3, 1])
    credited = replace(pool, further_codes={1: (1,), 3: (1, 9)})

    picks = draw_picks(credited, n=5, temperature=0.0, seed="s")

    assert [pick.index for pick in picks] == [0, 1]


def test_a_list_has_one_copy_of_a_recording() -> None:
    recording = sampler.RECORDINGS_BELOW - 7
    pool = make_pool([5, 4, 3, 2], [0, 1, 0, 1], [0.5, 0.5])
    copies = replace(pool, further_codes={0: (recording,), 1: (recording,), 3: (recording,)})

    for temperature in (0.0, 0.5):
        picks = draw_picks(copies, n=4, temperature=temperature, seed="s")
        assert len({pick.index for pick in picks} & {0, 1, 3}) == 1
        assert len(picks) == 2


def make_pool_with_new_songs(new_places: int = 1, n_known: int = 60, n_new: int = 5) -> CandidatePool:
    draws = np.random.default_rng(6)
    number = n_known + n_new
    return CandidatePool(
        np.arange(number), draws.random(number), draws.integers(0, 6, number), np.arange(number),
        draws.random(6), new_songs=np.arange(number) >= n_known, new_places=new_places,
    )  # fmt: skip


@pytest.mark.parametrize("new_places", [1, 3])
def test_that_many_of_twenty_places_are_for_new_songs(new_places: int) -> None:
    pool = make_pool_with_new_songs(new_places)
    assert pool.new_songs is not None

    for seed in range(40):
        picks = draw_picks(pool, n=20, temperature=0.2, seed=str(seed))

        places = [place for place, pick in enumerate(picks) if pool.new_songs[pick.index]]
        assert len(places) == new_places
        assert min(places) >= 10


@pytest.mark.slow
def test_every_late_place_is_equally_often_for_a_new_song_and_its_propensity_says_so() -> None:
    pool = make_pool_with_new_songs()
    assert pool.new_songs is not None
    lists = [draw_picks(pool, n=20, temperature=0.2, seed=str(seed)) for seed in range(2_000)]

    drawn = Counter(
        (place, pick.index) for picks in lists for place, pick in enumerate(picks) if pick.index >= 60
    )
    by_place = [sum(n for (at, _), n in drawn.items() if at == place) for place in range(10, 20)]
    first_offers = sorted(
        (pick.propensity, pick.index) for picks in lists for pick in picks[10:11] if pick.index >= 60
    )

    assert chi2.sf(sum((n - 200) ** 2 / 200 for n in by_place), 9) > 0.001
    for propensity, index in set(first_offers):
        assert drawn[10, index] / 2_000 == pytest.approx(propensity, abs=0.015)


def test_the_propensities_of_all_offers_of_a_place_add_up_to_one() -> None:
    pool = make_pool_with_new_songs()
    for n in (0, 9, 10, 14, 19, 20):
        placed = draw_picks(pool, n=n, temperature=0.2, seed="s")
        offers = sampler.ListOffers(pool, 0.2, 2, placed)

        total = sum(offers.propensity(index, 0.02) for index in range(65))

        assert total == pytest.approx(1)


def test_a_list_with_new_songs_continues_as_if_drawn_at_once() -> None:
    pool = make_pool_with_new_songs(2)
    whole = draw_picks(pool, n=40, temperature=0.2, seed="x")
    start = draw_picks(pool, n=15, temperature=0.2, seed="x")

    assert start + draw_picks(pool, n=25, temperature=0.2, seed="x", placed=start) == whole


def test_the_ranking_itself_and_lists_without_places_for_them_have_no_new_song() -> None:
    for pool, temperature in ((make_pool_with_new_songs(), 0.0), (make_pool_with_new_songs(0), 0.2)):
        picks = draw_picks(pool, n=60, temperature=temperature, seed="x")

        assert sorted(pick.index for pick in picks) == list(range(60))


def test_new_songs_fill_a_list_that_has_no_other_songs_left() -> None:
    pool = make_pool_with_new_songs(n_known=3)

    picks = draw_picks(pool, n=20, temperature=0.2, seed="x")

    assert sorted(pick.index for pick in picks) == list(range(8))
    assert sum(pick.index < 3 for pick in picks[:3]) == 3


def test_a_better_new_song_is_offered_with_a_higher_probability() -> None:
    pool = make_pool_with_new_songs()
    placed = draw_picks(pool, n=12, temperature=0.2, seed="b")
    left = [index for index in range(60, 65) if index not in {pick.index for pick in placed}]
    offers = sampler.ListOffers(pool, 0.2, 2, placed)

    chances = [
        offers.propensity(index, 0.02) for index in sorted(left, key=lambda index: -pool.values[index])
    ]

    assert chances == sorted(chances, reverse=True)

"""Interleaving of two models: exact probabilities, random order within rounds, no song twice."""

import math
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from recommender.engine.sampling import interleaving, sampler
from recommender.engine.sampling.interleaving import InterleavedPick, challenger_picks_first
from recommender.engine.sampling.sampler import CandidatePool

interleave = partial(interleaving.interleave, artist_cap=2)
draw_picks = partial(sampler.draw_picks, artist_cap=2)


def pool(seed: int, songs: range = range(60), clusters: int = 6, artists: int = 25) -> CandidatePool:
    random = np.random.default_rng(seed)
    ids = random.permutation(np.array(songs, dtype=np.int64))
    return CandidatePool(
        songs=ids,
        values=np.sort(random.normal(0, 1, len(ids)))[::-1],
        clusters=random.integers(0, clusters, len(ids)),
        artists=ids % artists,
        affinities=random.dirichlet(np.ones(clusters)),
    )


def interleaved(
    n: int = 20, seed: str = "s", temperature: float = 0.3, **asked: object
) -> list[InterleavedPick]:
    return interleave(pool(1), pool(2, range(20, 80)), n=n, temperature=temperature, seed=seed, **asked)  # type: ignore[arg-type]


def expected(
    of: CandidatePool, before: list[InterleavedPick], artists: dict[int, int], song: int, temperature: float
) -> float:
    """The draw's formula, written out: offers after everything that may not appear is gone."""
    placed = {place.song for place in before}
    played = Counter(artists[place.song] for place in before)
    heads: dict[int, int] = {}
    for index in np.lexsort((np.arange(len(of.songs)), -of.values)).tolist():
        if of.songs[index] in placed or played[of.artists[index]] >= 2:
            continue
        heads.setdefault(int(of.clusters[index]), index)
    temperature = temperature**2 / (temperature + 1)
    even = math.exp(-temperature) / len(set(of.clusters.tolist()))
    below = temperature if temperature <= 0.1 else max(0.1, temperature - 0.1)
    weights = {
        cluster: (of.affinities[cluster] + even)
        * math.exp(of.values[index] / (temperature if of.values[index] >= 0 else below))
        for cluster, index in heads.items()
    }
    own = [cluster for cluster, index in heads.items() if of.songs[index] == song]
    if not own:
        return 0.0
    return float(0.98 * weights[own[0]] / sum(weights.values()) + 0.02 / len(weights))


def test_the_probabilities_of_both_models_follow_the_formula_at_every_place() -> None:
    champion, challenger = pool(1), pool(2, range(20, 80))
    artists = {song: song % 25 for song in range(80)}

    for number in range(20):
        places = interleave(champion, challenger, n=20, temperature=0.3, seed=f"list {number}")

        for at, place in enumerate(places):
            before = places[:at]
            ours = expected(champion, before, artists, place.song, 0.3)
            theirs = expected(challenger, before, artists, place.song, 0.3)
            assert place.p_champion == pytest.approx(ours)
            assert place.p_challenger == pytest.approx(theirs)


@pytest.mark.slow
def test_frequencies_of_songs_agree_with_their_probabilities() -> None:
    lists = [interleaved(2, seed=f"list {number}") for number in range(4_000)]
    firsts = [places[0] for places in lists if not places[0].by_challenger]
    chances = {place.song: place.p_champion for place in firsts}

    counts = Counter(place.song for place in firsts)

    for song, p in chances.items():
        error = 4 * math.sqrt(p * (1 - p) / len(firsts))
        assert counts[song] / len(firsts) == pytest.approx(p, abs=error)


def test_each_round_has_one_place_per_model_in_random_order() -> None:
    lists = [interleaved(seed=f"list {number}") for number in range(200)]

    firsts = [place.by_challenger for places in lists for place in places[::2]]
    seconds = [place.by_challenger for places in lists for place in places[1::2]]

    assert firsts == [not team for team in seconds]
    assert sum(firsts) / len(firsts) == pytest.approx(0.5, abs=0.04)


def test_no_song_comes_twice_and_no_artist_three_times() -> None:
    for number in range(100):
        places = interleaved(40, seed=f"list {number}")

        assert len({place.song for place in places}) == len(places)
        assert max(Counter(place.song % 25 for place in places).values()) <= 2


def test_a_list_of_forty_begins_with_the_list_of_twenty() -> None:
    first = interleaved(20)

    assert interleaved(40)[:20] == first
    assert first + interleaved(20, placed=first) == interleaved(40)


def test_a_model_against_itself_has_equal_probabilities() -> None:
    places = interleave(pool(1), pool(1), n=20, temperature=0.1, seed="s")

    assert all(place.p_champion == pytest.approx(place.p_challenger) for place in places)


def test_at_temperature_0_each_model_places_its_best_remaining_song() -> None:
    same = interleave(pool(1), pool(1), n=20, temperature=0, seed="s")

    alone = draw_picks(pool(1), n=20, temperature=0, seed="s")
    assert [place.song for place in same] == [int(pool(1).songs[pick.index]) for pick in alone]
    assert {place.propensity for place in same} == {1.0}


def test_a_model_without_songs_leaves_its_places_to_the_other() -> None:
    few = pool(2, range(20, 23))

    places = interleave(pool(1), few, n=20, temperature=0.3, seed="s")

    assert len(places) == 20
    assert sum(place.by_challenger for place in places) <= 3


def test_two_empty_pools_give_an_empty_list() -> None:
    nothing = pool(1, range(0))

    assert interleave(nothing, nothing, n=20, temperature=0.3, seed="s") == []


def test_another_process_interleaves_the_same_list() -> None:
    program = (
        "from tests.unit.recommender.engine.sampling.test_interleaving import interleaved\n"
        "print([(place.song, place.by_challenger, place.p_champion.hex()) for place in interleaved()])"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    ours = [(place.song, place.by_challenger, place.p_champion.hex()) for place in interleaved()]
    assert done.stdout.strip() == str(ours)


def test_the_order_within_a_round_depends_on_the_seed_alone() -> None:
    assert [challenger_picks_first("s", number) for number in range(6)] == [
        challenger_picks_first("s", number) for number in range(6)
    ]
    assert {challenger_picks_first(f"{number}", 0) for number in range(20)} == {True, False}


def test_a_recording_that_one_model_drew_is_not_drawn_by_the_other() -> None:
    copy = sampler.RECORDINGS_BELOW - 1
    one, other = pool(1, range(4)), pool(2, range(10, 14))
    one, other = (replace(side, further_codes={0: (copy,), 1: (copy,)}) for side in (one, other))
    copies = {*one.songs[:2].tolist(), *other.songs[:2].tolist()}

    for number in range(20):
        picks = interleave(one, other, n=8, temperature=0.3, seed=str(number))
        assert len({pick.song for pick in picks} & copies) == 1


def with_new_songs(seed: int, songs: range, new: set[int]) -> CandidatePool:
    known = pool(seed, songs)
    return replace(known, new_songs=np.isin(known.songs, list(new)), new_places=1)


def test_an_interleaved_list_has_one_place_of_twenty_for_new_songs() -> None:
    new = {3, 7, 25, 41, 66, 78}
    champion, challenger = with_new_songs(1, range(60), new), with_new_songs(2, range(20, 80), new)

    for seed in range(40):
        picks = interleave(champion, challenger, n=40, temperature=0.3, seed=str(seed))
        start = interleave(champion, challenger, n=13, temperature=0.3, seed=str(seed))
        rest = interleave(champion, challenger, n=27, temperature=0.3, seed=str(seed), placed=start)

        assert start + rest == picks
        for block in (picks[:20], picks[20:]):
            places = [place for place, pick in enumerate(block) if pick.song in new]
            assert len(places) == 1
            assert places[0] >= 10
            assert 0 < block[places[0]].propensity < 1 or places[0] == 19


def test_a_song_that_is_new_to_one_model_only_is_counted_once() -> None:
    champion, challenger = with_new_songs(1, range(60), {3, 7}), pool(2, range(60))

    picks = interleave(champion, challenger, n=40, temperature=0.3, seed="s")

    assert len({pick.song for pick in picks}) == len(picks) == 40

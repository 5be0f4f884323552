"""Lists drawn from candidates: by the formula of their format, with the asked share of new artists."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from recommender.engine.sampling.candidate_codec import CandidateArrays, decode_candidates
from recommender.engine.sampling.sampler import discovery_to_temperature
from recommender.serving.list_sampler import (
    FAMILIAR,
    HEARD,
    DrawOptions,
    InterleavedSampler,
    ListPage,
    ListSampler,
)

# Ten songs, as they were packed before shelves had a second format.
OLD_SHELF = bytes.fromhex(
    "010a00000002000000c178ff2464000000000000000000a03f03000000010000000165000000000000000000803f0700000002"
    "0000000066000000000000000000403f03000000030000000167000000000000000000003f01000000010000000068000000000"
    "000000000803e0700000004000000006900000000000000000000000100000005000000016a00000000000000000080be040000"
    "0006000000006b00000000000000000000bf0400000007000000006c00000000000000000040bf0100000008000000016d00000"
    "000000000000080bf030000000900000000030000000000003f070000000000803e"
)


@pytest.mark.parametrize(
    ("discovery", "temperature", "as_then"),
    [
        (0.5, 0.25, [(101, 0.4990440702905865), (100, 0.9000263339810752), (104, 0.2294971143407661),
                     (103, 0.22851908137145024)]),
        (0.9, 2.0, [(100, 0.5209329300731704), (102, 0.45976808736820135), (101, 0.5507399881838911),
                    (109, 0.4757933755233166)]),
    ],
)  # fmt: skip
def test_a_list_from_format_1_candidates_is_drawn_bit_for_bit_as_before(
    discovery: float, temperature: float, as_then: list[tuple[int, float]]
) -> None:
    drawing = ListSampler(decode_candidates(OLD_SHELF), DrawOptions("s", discovery, temperature, 2))

    drawn = drawing.draw_page(ListPage.from_json({"n": 4, "excluded": []}))

    assert [(pick.song, pick.propensity) for pick in drawn] == as_then


def listener(world: int) -> CandidateArrays:
    """400 candidates, most of them from the listener's most played clusters, whose songs are familiar."""
    draws = np.random.default_rng(world)
    shares = np.sort(draws.dirichlet(np.full(40, 0.1)))[::-1]
    clusters = draws.choice(40, 400, p=0.5 * shares + 0.5 / 40).astype(np.int32)
    is_known = draws.random(400) < np.minimum(1, 0.1 + 9 * shares[clusters])
    values = 1 - np.log(np.arange(1, 401)) / np.log(20)
    return CandidateArrays(
        np.arange(400), values.astype(np.float32), clusters, np.arange(400, dtype=np.int32),
        np.where(is_known, FAMILIAR, 0).astype(np.uint8), dict(enumerate(shares.tolist())),
    )  # fmt: skip


def new_songs(discovery: float, n: int = 20, candidates: CandidateArrays | None = None) -> list[int]:
    """The number of songs by new artists in the lists of 30 listeners."""
    options = [DrawOptions(f"{one}", discovery, discovery_to_temperature(discovery), 2) for one in range(30)]
    lists = [
        ListSampler(candidates or listener(one), asked).draw_page(ListPage(n))
        for one, asked in enumerate(options)
    ]
    return [sum(not pick.familiar for pick in picks) for picks in lists]


@pytest.mark.slow
@pytest.mark.parametrize("n", [5, 20, 40])
@pytest.mark.parametrize("discovery", [0, 0.1, 0.25, 0.3, 0.5, 0.7, 0.9, 0.97, 1])
def test_the_share_of_new_artists_is_within_one_song_of_what_was_asked(discovery: float, n: int) -> None:
    assert all(abs(new - discovery * n) <= 1 for new in new_songs(discovery, n))


def test_within_the_share_the_ranking_decides_which_places_are_for_new_artists() -> None:
    options = DrawOptions("s", 0.5, 0.0, 2)
    candidates = listener(0)

    drawn = ListSampler(candidates, options).draw_page(ListPage(20))

    # Without a share the list is the ranking; the first song is so in any case.
    assert drawn[0].song == 0
    assert sum(not pick.familiar for pick in drawn) in {9, 10, 11}


def test_a_listener_without_familiar_songs_gets_the_list_that_no_share_would_change() -> None:
    unknown = replace(listener(0), flags=np.zeros(400, dtype=np.uint8))
    options = DrawOptions("s", 0.3, 0.1, 2)

    drawn = ListSampler(unknown, options).draw_page(ListPage(20))

    free = ListSampler(unknown, options).draw_page(ListPage(20, given_before=None))
    assert [(pick.song, pick.propensity) for pick in drawn] == [(pick.song, pick.propensity) for pick in free]


@pytest.mark.slow
def test_propensities_count_only_the_songs_that_the_share_allows() -> None:
    candidates = listener(3)
    options = DrawOptions("s", 0.0, 0.1, 2)

    first = Counter(
        ListSampler(candidates, replace(options, seed=str(seed))).draw_page(ListPage(1))[0]
        for seed in range(2_000)
    )

    assert all(pick.familiar for pick in first)
    assert sum(pick.propensity for pick in first) == pytest.approx(1, abs=0.02)
    for pick, count in first.items():
        assert count / 2_000 == pytest.approx(pick.propensity, abs=0.04)


def test_both_models_of_an_interleaved_list_count_its_new_artists_together() -> None:
    for discovery in (0.0, 0.3, 0.9):
        options = DrawOptions("s", discovery, discovery_to_temperature(discovery), 2)
        other = replace(listener(2), songs=np.arange(200, 600))

        drawn = InterleavedSampler(listener(1), other, options).draw_page(ListPage(20))

        assert abs(sum(not pick.familiar for pick in drawn) - 20 * discovery) <= 1


def test_songs_given_one_by_one_keep_the_share_together() -> None:
    for discovery in (0.0, 0.3, 0.7, 1.0):
        given = new = 0
        for seed in range(20):
            options = DrawOptions(f"{seed}", discovery, discovery_to_temperature(discovery), 2)
            (pick,) = ListSampler(listener(1), options).draw_page(ListPage(1, given_before=(given, new, 0)))
            given, new = given + 1, new + (not pick.familiar)
        assert abs(new - 20 * discovery) <= 1


def few_songs(*, artists: list[int], flags: list[int], heard_at: dict[int, float]) -> CandidateArrays:
    n = len(artists)
    return CandidateArrays(
        np.arange(n), np.linspace(1, 0, n).astype(np.float32), np.zeros(n, np.int32),
        np.array(artists, np.int32), np.array(flags, np.uint8), {0: 1.0}, last_played_at=heard_at,
    )  # fmt: skip


# Songs 0 to 3 are by one artist, 4 is by another; 5, 6 and 7 were heard, 6 longest ago.
FEW = few_songs(
    artists=[0, 0, 0, 0, 1, 2, 3, 3], flags=[0] * 5 + [HEARD] * 3, heard_at={5: 20.0, 6: 10.0, 7: 30.0}
)
GREEDY = DrawOptions("s", 0.0, 0.0, 2)


def test_a_list_that_would_end_early_takes_heard_songs_and_then_exceeds_the_artist_cap() -> None:
    drawn = ListSampler(FEW, GREEDY).draw_page(ListPage(8))

    assert [pick.song for pick in drawn[:3]] == [0, 1, 4]
    assert [pick.song for pick in drawn[3:6]] == [6, 5, 7]
    assert [pick.song for pick in drawn[6:]] == [2, 3]
    assert [pick.relaxed for pick in drawn] == [()] * 3 + [("heard",)] * 3 + [("artist_cap",)] * 2
    assert {pick.propensity for pick in drawn} == {1.0}


def test_a_list_that_is_long_enough_relaxes_nothing() -> None:
    drawn = ListSampler(FEW, GREEDY).draw_page(ListPage(3))

    assert [pick.relaxed for pick in drawn] == [()] * 3


def test_excluded_songs_are_never_drawn_and_avoided_ones_only_if_no_others_are_left() -> None:
    page = ListPage(8, excluded=(1, 5), avoided=(3, 6, 0))

    drawn = ListSampler(FEW, GREEDY).draw_page(page)

    assert [pick.song for pick in drawn] == [2, 4, 7, 3, 6, 0]
    assert [pick.relaxed for pick in drawn[3:]] == [("repeated",), ("heard", "repeated"), ("repeated",)]


def test_page_by_page_gives_the_same_list_as_at_once() -> None:
    options = DrawOptions("seed", 0.3, 0.1, 2)
    sampler = ListSampler(FEW, options)

    pages = [pick for _ in range(4) for pick in sampler.draw_page(ListPage(2))]

    assert pages == ListSampler(FEW, options).draw_page(ListPage(8))


def test_a_page_stored_by_an_earlier_release_ends_as_early_as_then() -> None:
    stored = ListPage.from_json({"n": 8, "excluded": [], "near": None})

    drawn = ListSampler(FEW, GREEDY).draw_page(stored)

    assert [pick.song for pick in drawn] == [0, 1, 4]
    assert ListPage.from_json(ListPage(8, avoided=(2,)).as_json()) == ListPage(8, avoided=(2,))


def test_an_interleaved_list_relaxes_the_same_limits() -> None:
    drawn = InterleavedSampler(FEW, FEW, DrawOptions("s", 0.3, 0.1, 2)).draw_page(ListPage(8))

    assert sorted(pick.song for pick in drawn) == list(range(8))
    assert [pick.song for pick in drawn[3:6]] == [6, 5, 7]
    assert [pick.relaxed for pick in drawn] == [()] * 3 + [("heard",)] * 3 + [("artist_cap",)] * 2

"""Which feedback events count: the latest opinion, long enough listens, and plays reported twice."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommender.engine.feedback_state import (
    SAME_PLAY_SECONDS,
    EventKind,
    FeedbackState,
    heard_threshold,
    reported_twice,
)

LIKE, DISLIKE, SKIP, LISTEN = EventKind.LIKE, EventKind.DISLIKE, EventKind.SKIP, EventKind.LISTEN
WRONG, CLEAR, NOT_HEARD = EventKind.WRONG_STYLE, EventKind.CLEAR, EventKind.NOT_HEARD
HOUR = 3_600.0


def state_of(*kinds: EventKind, songs: list[int] | None = None) -> FeedbackState:
    """The state after these events, one second apart."""
    times = np.arange(len(kinds), dtype=np.float64)
    pairs = np.array(songs or [7] * len(kinds), dtype=np.int64)
    return FeedbackState(pairs, np.array(kinds, dtype=np.int8), times, np.arange(len(kinds)))


@pytest.mark.parametrize(
    ("kinds", "counting", "excluding"),
    [
        ((DISLIKE, LIKE), [LIKE], []),
        ((LIKE, DISLIKE), [DISLIKE], [DISLIKE]),
        ((SKIP, LIKE), [LIKE], []),
        ((LIKE, SKIP), [LIKE, SKIP], [SKIP]),
        ((LIKE,) * 30, [LIKE], []),
        ((DISLIKE,) * 3, [DISLIKE], [DISLIKE]),
        ((SKIP, SKIP), [SKIP, SKIP], [SKIP]),
        ((LIKE, CLEAR), [], []),
        ((DISLIKE, SKIP, WRONG, CLEAR), [], []),
        ((CLEAR, LIKE), [LIKE], []),
        ((LIKE, DISLIKE, CLEAR, LISTEN), [LISTEN], []),
        ((SKIP, LISTEN), [SKIP, LISTEN], []),
        ((SKIP, NOT_HEARD), [SKIP], [SKIP]),
        ((DISLIKE, LISTEN), [DISLIKE, LISTEN], [DISLIKE]),
        ((LISTEN, LISTEN), [LISTEN, LISTEN], []),
        ((WRONG, WRONG), [WRONG], []),
        ((), [], []),
    ],
)
def test_the_last_word_counts_and_counts_once(
    kinds: tuple[EventKind, ...], counting: list[EventKind], excluding: list[EventKind]
) -> None:
    state = state_of(*kinds)

    codes = np.array(kinds, dtype=np.int8)
    assert codes[state.counts].tolist() == counting
    assert codes[state.excludes].tolist() == excluding


def test_songs_do_not_influence_each_other() -> None:
    state = state_of(LIKE, DISLIKE, LIKE, songs=[7, 8, 8])

    assert state.counts.tolist() == [True, False, True]


def test_the_time_orders_events_and_the_id_orders_equal_times() -> None:
    kinds = np.array([DISLIKE, LIKE, CLEAR], dtype=np.int8)

    by_time = FeedbackState(np.zeros(3, np.int64), kinds, np.array([9.0, 5.0, 1.0]), np.arange(3))
    by_id = FeedbackState(np.zeros(3, np.int64), kinds, np.zeros(3), np.array([2, 9, 1]))

    assert by_time.counts.tolist() == [True, False, False]
    assert by_id.counts.tolist() == [False, True, False]


@given(st.lists(st.tuples(st.integers(0, 2), st.sampled_from(list(EventKind))), max_size=12))
def test_the_arrays_agree_with_a_walk_through_the_events(events: list[tuple[int, EventKind]]) -> None:
    counted: set[int] = set()
    for place, (song, kind) in enumerate(events):
        undone = {
            LIKE: {LIKE, DISLIKE, SKIP}, DISLIKE: {LIKE, DISLIKE}, WRONG: {WRONG},
            CLEAR: {LIKE, DISLIKE, SKIP, WRONG},
        }.get(kind, set())  # fmt: skip
        counted -= {one for one in counted if events[one][0] == song and events[one][1] in undone}
        if kind not in {CLEAR, NOT_HEARD}:
            counted.add(place)

    state = state_of(*(kind for _, kind in events), songs=[song for song, _ in events])

    assert set(np.flatnonzero(state.counts).tolist()) == counted


def test_a_listen_counts_from_thirty_seconds_or_half_of_a_short_song() -> None:
    durations = np.array([200.0, 61.0, 20.0, 0.0, np.nan])

    assert heard_threshold(durations).tolist() == [30, 30, 10, 30, 30]


@pytest.mark.parametrize(
    ("listens", "sessions", "twice"),
    [
        ([0.0], [HOUR], [True]),
        ([HOUR], [0.0], [True]),
        ([0.0], [SAME_PLAY_SECONDS], [True]),
        ([0.0], [SAME_PLAY_SECONDS + 1], [False]),
        ([0.0, HOUR, 2 * HOUR], [HOUR], [True, False, False]),
        ([0.0, 30 * HOUR], [0.0, 30 * HOUR], [True, True]),
        ([30 * HOUR, 0.0], [29 * HOUR], [True, False]),
        ([0.0], [], [False]),
    ],
)
def test_a_play_that_app_and_source_report_is_found_once(
    listens: list[float], sessions: list[float], twice: list[bool]
) -> None:
    found = reported_twice(
        np.zeros(len(listens), np.int64), np.array(listens), np.zeros(len(sessions), np.int64),
        np.array(sessions),
    )  # fmt: skip

    assert found.tolist() == twice


def test_another_song_or_listener_is_another_play() -> None:
    found = reported_twice(np.array([1, 2]), np.zeros(2), np.array([2, 3]), np.zeros(2))

    assert found.tolist() == [False, True]

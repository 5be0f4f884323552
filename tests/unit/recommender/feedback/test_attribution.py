"""Which served list an event counts for, and when a song of a list is engaged."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

from recommender.feedback.engagement import AttributableList, ListenerEvent, attribute_events

START = datetime(2026, 11, 2, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
WINDOW = timedelta(hours=48)


def make_list(number: int, songs: Sequence[int], at: datetime = START) -> AttributableList:
    return AttributableList(UUID(int=number), 1, 1, at, frozenset(songs))


def test_an_event_counts_for_the_latest_list_before_it_that_offered_the_song() -> None:
    lists = [make_list(1, [10, 11]), make_list(2, [10], START + 2 * HOUR)]
    events = [ListenerEvent(1, START + 3 * HOUR, (song,), "like") for song in (10, 11)]

    first, second = attribute_events(lists, events, WINDOW)

    assert (first.engaged(WINDOW), second.engaged(WINDOW)) == ({11}, {10})


def test_the_window_includes_both_of_its_ends() -> None:
    times = [START - timedelta(seconds=1), START, START + WINDOW, START + WINDOW + timedelta(seconds=1)]
    events = [ListenerEvent(1, at, (song,), "like") for song, at in enumerate(times)]

    (found,) = attribute_events([make_list(1, range(4))], events, WINDOW)

    assert found.engaged(WINDOW) == {1, 2}


def test_events_of_another_listener_do_not_count() -> None:
    (found,) = attribute_events([make_list(1, [10])], [ListenerEvent(2, START + HOUR, (10,), "like")], WINDOW)

    assert found.engaged(WINDOW) == set()


def test_a_skip_undoes_an_engagement_only_within_the_time_asked_for() -> None:
    events = [
        ListenerEvent(1, START + 2 * HOUR, (10,), "skip"),
        ListenerEvent(1, START + HOUR, (10,)),
    ]

    (found,) = attribute_events([make_list(1, [10])], events, WINDOW)

    assert (found.engaged(HOUR), found.engaged(2 * HOUR)) == ({10}, set())


def test_of_the_listening_history_the_first_session_after_a_list_can_be_counted_alone() -> None:
    events = [ListenerEvent(1, START + HOUR, (10, 99)), ListenerEvent(1, START + 2 * HOUR, (10, 11))]

    (found,) = attribute_events([make_list(1, [10, 11])], events, WINDOW)

    assert found.engaged(WINDOW) == {10, 11}
    assert found.engaged(WINDOW, first_session_only=True) == {10}


def test_a_first_session_without_any_song_of_the_list_is_still_the_first() -> None:
    events = [ListenerEvent(1, START + HOUR, ()), ListenerEvent(1, START + 2 * HOUR, (10,))]

    (found,) = attribute_events([make_list(1, [10])], events, WINDOW)

    assert found.engaged(WINDOW, first_session_only=True) == set()


def test_the_last_word_decides_whether_a_song_is_engaged() -> None:
    words = {
        10: ("dislike", "like"), 11: ("like", "dislike"), 12: ("skip", "like"), 13: ("like", "clear"),
        14: ("skip", "listen"), 15: ("dislike", "listen"), 16: ("like", "like"), 17: ("like", "skip"),
    }  # fmt: skip
    events = [
        ListenerEvent(1, START + place * HOUR, (song,), kinds[place])
        for place in (0, 1)
        for song, kinds in words.items()
    ]

    (found,) = attribute_events([make_list(1, list(words))], events, WINDOW)

    assert found.engaged(WINDOW) == {10, 12, 14, 16}
    assert found.songs_by_kind(WINDOW)["like"] == {10, 12, 16, 17}
    assert found.engaged(timedelta()) == {11, 13, 16, 17}

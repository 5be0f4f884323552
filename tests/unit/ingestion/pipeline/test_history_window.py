"""Sessions that leave at the old end of a moving window expired; others were deleted."""

from collections.abc import Collection
from datetime import UTC, datetime, timedelta

import pytest

from ingestion.pipeline.history_window import FOREVER, Key, find_expired

NOW = datetime(2026, 11, 29, tzinfo=UTC)


def rows(n: int = 100) -> list[tuple[int, Key]]:
    """One session a day up to today, each of another listener, read oldest first."""
    start = NOW - timedelta(days=n)
    moments = [start + timedelta(days=day) for day in range(n)]
    return [
        (1 + day, (day, moment.replace(tzinfo=None).isoformat(" "), 0)) for day, moment in enumerate(moments)
    ]


def expired(
    unsent: Collection[int],
    *,
    retention: timedelta | None = None,
    is_window_known: bool = False,
    gone_listeners: Collection[int] = (),
    stored: list[tuple[int, Key]] | None = None,
) -> set[int]:
    stored = stored or rows()
    hidden = {key for pk, key in stored if pk in unsent}
    return find_expired(
        stored,
        lambda key: key not in hidden,
        lambda listener: listener not in gone_listeners,
        retention=retention,
        is_window_known=is_window_known,
        now=NOW,
    )


def test_the_oldest_sessions_expire_together() -> None:
    assert expired(range(1, 11)) == set(range(1, 11))


def test_the_first_sessions_read_expire_together_whatever_their_times() -> None:
    scattered = [(pk, rows()[(pk * 37) % 100][1]) for pk in range(1, 101)]

    assert expired(range(1, 11), stored=scattered) == set(range(1, 11))


def test_a_list_with_the_newest_first_expires_at_its_end() -> None:
    newest_first = [(101 - pk, key) for pk, key in reversed(rows())]

    assert expired(range(91, 101), stored=sorted(newest_first)) == set(range(91, 101))


@pytest.mark.parametrize("unsent", [[50], [40, 60, 80], range(91, 101), [1], [1, 30, 40, 50]])
def test_sessions_from_elsewhere_and_a_single_one_were_taken_back(unsent: Collection[int]) -> None:
    assert expired(unsent) == set()


def test_a_single_session_expires_once_a_window_is_known() -> None:
    assert expired([1, 50], is_window_known=True) == {1}


def test_a_wrong_time_does_not_hide_the_window() -> None:
    stored = [*rows(400), (401, (1, "0001-01-01 00:00:00", 0))]

    assert expired(range(1, 11), stored=stored) == set(range(1, 11))


def test_sessions_of_a_listener_who_is_gone_too_were_taken_back() -> None:
    assert expired(range(1, 5), gone_listeners=range(4)) == set()


def test_an_empty_history_expires_only_by_a_promise() -> None:
    everything = range(1, 101)

    assert expired(everything, is_window_known=True) == set()
    assert expired(everything, retention=timedelta(days=30)) == set(range(1, 71))


def test_what_is_kept_for_ever_never_expires() -> None:
    assert expired(range(1, 11), retention=FOREVER) == set()

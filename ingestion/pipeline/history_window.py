"""Distinguishes sessions that are too old for the source to keep from sessions that it deleted.

Sessions at the old end of the history expire but stay in use, because the listening did happen. A session
that disappears from the middle was deleted.
"""

from array import array
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any, Final

from ingestion.pipeline.compact.selection import nth_smallest

Key = tuple[Any, ...]

# Value of HISTORY_RETENTION for a source that promises to keep every session.
FOREVER: Final = timedelta.max
# Share of the sent rows that may lie before the window, so that a few wrong times do not hide its start.
OUTLIERS: Final = 0.005
# A person who deletes two of n sessions picks the two oldest with probability 2 / n² only.
FEWEST_EXPIRED: Final = 2


def find_expired(
    rows: Iterable[tuple[int, Key]],
    is_sent: Callable[[Key], bool],
    is_listener_sent: Callable[[int], bool],
    *,
    retention: timedelta | None,
    is_window_known: bool,
    now: datetime,
) -> set[int]:
    """Primary keys of the unsent sessions that the source dropped because of their age.

    Without a promised retention, these are the sessions at the old end, by time or by the order of import, if
    nearly all unsent sessions lie there. Sessions of an unsent listener count as deleted.

    Args:
        rows: primary key and key of each available session, in order of the primary key.
        is_window_known: sessions have expired before; one session is now enough.
    """
    if retention == FOREVER:
        return set()
    sent_times, sent_keys = array("d"), array("q")
    unsent: list[tuple[int, float]] = []
    taken_back = 0
    for pk, key in rows:
        moment = datetime.fromisoformat(key[1] + "+00:00").timestamp()
        if is_sent(key):
            sent_times.append(moment)
            sent_keys.append(pk)
        elif is_listener_sent(key[0]):
            unsent.append((pk, moment))
        else:
            taken_back += 1
    if retention is not None:
        oldest = (now - retention).timestamp()
        return {pk for pk, moment in unsent if moment < oldest}
    if not sent_keys:
        return set()
    # Primary keys follow the order of the source's list: newest last or newest first.
    by_time = _far_end(sent_times)
    by_order = sent_keys[int(len(sent_keys) * OUTLIERS)]
    expired = {pk for pk, moment in unsent if moment < by_time} or {pk for pk, _ in unsent if pk < by_order}
    if is_window_known or (len(expired) >= FEWEST_EXPIRED and 2 * len(expired) >= len(unsent)):
        return expired
    return set()


def _far_end(times: "array[float]") -> float:
    return nth_smallest(times, int(len(times) * OUTLIERS))

"""Finds sessions that the source no longer keeps, as opposed to sessions that it took back.

Many sources keep only recent listening. A session that leaves at the far end of such a window has happened
all the same: it is noted as expired and stays in use. A session that disappears from the middle was deleted.
"""

from array import array
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any, Final

Key = tuple[Any, ...]

# HISTORY_RETENTION: the source promises to keep every session.
FOREVER: Final = timedelta.max
# A few wrong times must not hide where the window begins: so many of the sent rows may lie before it.
OUTLIERS: Final = 0.005
# The two oldest of n sessions are the two that somebody deletes in one of n² / 2 cases.
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
    """Primary keys of the unsent sessions that expired at the source.

    With a promised retention these are the unsent sessions that are older. Without one they are those at the
    far end, by time or by the order in which they were first read, if nearly all unsent sessions lie there.
    Sessions of a listener who is not sent either were taken back together with the listener.

    Args:
        rows: primary key and key of each available session, in order of the primary key.
        is_window_known: sessions have expired before, so that a single one is enough.
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
    # Lists are read in the source's order, newest last or newest first.
    by_time = _far_end(sent_times)
    by_order = sent_keys[int(len(sent_keys) * OUTLIERS)]
    expired = {pk for pk, moment in unsent if moment < by_time} or {pk for pk, _ in unsent if pk < by_order}
    if is_window_known or (len(expired) >= FEWEST_EXPIRED and 2 * len(expired) >= len(unsent)):
        return expired
    return set()


def _far_end(times: "array[float]") -> float:
    return sorted(times)[int(len(times) * OUTLIERS)]

"""What lists are drawn from: each listener's best candidates, prepared by the batch or made for a request."""

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, NamedTuple

from django.db import DatabaseError
from django.db.models import Exists, OuterRef, QuerySet, Subquery, Value

from ingestion.models import Listener, ListeningHistory
from recommender import champion, profiles
from recommender.champion import Loaded
from recommender.engine import shelf as packing
from recommender.models import Feedback, ServedList, Shelf
from recommender.stocking import stock

logger = logging.getLogger(__name__)

ACTIVE_WITHIN: Final = timedelta(days=90)
# Charts move; what a model says of a listener stands until the listener does something.
POPULARITY_KEEPS: Final = timedelta(days=1)
# A few hundred histories in memory at once, and one insert of some megabytes.
BATCH: Final = 500
# A request may have read a shelf just before it was replaced, and stores its list a moment later.
STILL_READ: Final = timedelta(minutes=10)


@dataclass(frozen=True)
class Stocked:
    """A shelf's row and what is on it.

    Attributes:
        loaded: what serves it; held on to, so that a promotion between changes nothing about the list.
        stale: the listener or the model has moved on, and it could not be renewed.
    """

    row: Shelf
    content: packing.Shelf
    loaded: Loaded
    stale: bool = False


class Standing(NamedTuple):
    """What a shelf knew of its listener, and what is newest by now; all None where there is no shelf."""

    version_id: int | None
    made_at: datetime | None
    history_at: datetime | None
    feedback_id: int | None
    newest_session: datetime | None
    newest_feedback: int | None

    def is_fresh(self, loaded: Loaded, now: datetime) -> bool:
        if self.made_at is None or self.version_id != loaded.version_id:
            return False
        if self.newest_session != self.history_at or (self.newest_feedback or 0) != self.feedback_id:
            return False
        return self.version_id is not None or now - self.made_at <= POPULARITY_KEEPS


def fresh(listener_id: int, loaded: Loaded, storage: Path, now: datetime) -> Stocked | None:
    """The listener's newest shelf, or one made now where that is stale; None for an unknown listener."""
    row = newest(listener_id)
    content = _content_of(row)
    if row is not None and content is not None and _standing(row).is_fresh(loaded, now):
        return Stocked(row, content, loaded)
    if loaded.model is not None and not loaded.model.is_intact():
        loaded = champion.keeper_of(storage).look_again()
    known = profiles.read([listener_id], now).get(listener_id)
    if known is None:
        return None
    made = _tried(known, loaded, now, live=True)
    if made is None and row is not None and content is not None:
        return Stocked(row, content, loaded, stale=True)
    made = made or _made(known, Loaded(None, "The model breaks."), now, live=True)
    made.row.save()
    return made


def newest(listener_id: int) -> Shelf | None:
    """The listener's newest shelf, with what is newest of the listener beside it, in one query."""
    shelves = Shelf.objects.filter(listener_id=listener_id).order_by("-pk")
    return shelves.annotate(**_news(Value(listener_id))).first()


def due(loaded: Loaded, now: datetime) -> list[int]:
    """Ids, ascending, of the active listeners who have no shelf, or a stale one."""
    shelves = Shelf.objects.filter(listener_id=OuterRef("pk")).order_by("-pk")
    columns = ("version_id", "made_at", "history_at", "feedback_id")
    of_newest = {f"shelf_{name}": Subquery(shelves.values(name)[:1]) for name in columns}
    rows = active(now).annotate(**of_newest, **_news(OuterRef("pk")))
    names = (*of_newest, "newest_session", "newest_feedback")
    standings = rows.values_list("pk", *names).iterator()
    return [pk for pk, *standing in standings if not Standing(*standing).is_fresh(loaded, now)]


def _news(listener: Any) -> dict[str, Subquery]:
    """What is newest of a listener, as annotations."""
    sessions = ListeningHistory.objects.filter(user_id=listener, unavailable_at=None).order_by("-created_at")
    said = Feedback.objects.filter(listener_id=listener).order_by("-pk")
    return {
        "newest_session": Subquery(sessions.values("created_at")[:1]),
        "newest_feedback": Subquery(said.values("pk")[:1]),
    }


def prepare(
    listener_ids: Sequence[int],
    loaded: Loaded,
    now: datetime,
    on_progress: Callable[[int], object] = lambda done: None,
) -> int:
    """Make a new shelf for each listener, then clear away those that it replaces; how many were made.

    Args:
        on_progress: called with how many more listeners are done.
    """
    made = 0
    for start in range(0, len(listener_ids), BATCH):
        batch = listener_ids[start : start + BATCH]
        known = profiles.read(batch, now)
        tried = [_tried(one, loaded, now, live=False) for one in known.values()]
        rows = [stocked.row for stocked in tried if stocked is not None]
        Shelf.objects.bulk_create(rows)
        prune(batch, now)
        made += len(rows)
        on_progress(len(batch))
    return made


def prune(listener_ids: Iterable[int], now: datetime) -> int:
    """Delete shelves that a newer one has long replaced and no served list refers to; how many."""
    newer = Shelf.objects.filter(
        listener_id=OuterRef("listener_id"), pk__gt=OuterRef("pk"), made_at__lt=now - STILL_READ
    )
    served = ServedList.objects.filter(shelf_id=OuterRef("pk"))
    replaced = Shelf.objects.filter(Exists(newer), ~Exists(served), listener_id__in=listener_ids)
    return replaced.defer("candidates").delete()[0]


def active(now: datetime) -> QuerySet[Listener]:
    """The listeners who listened or said something in the last ninety days, by id."""
    since = now - ACTIVE_WITHIN
    listened = ListeningHistory.objects.filter(
        user_id=OuterRef("pk"), created_at__gte=since, unavailable_at=None
    )
    said = Feedback.objects.filter(listener_id=OuterRef("pk"), at__gte=since)
    return Listener.objects.filter(Exists(listened) | Exists(said), unavailable_at=None).order_by("pk")


def _tried(known: profiles.Known, loaded: Loaded, now: datetime, *, live: bool) -> Stocked | None:
    """A shelf not yet stored; None where the model breaks on this listener."""
    try:
        return _made(known, loaded, now, live=live)
    except DatabaseError:
        raise
    except Exception:
        # Whatever it is, a listener is better served from an older shelf than with an error page.
        logger.exception("scoring_broke listener=%s version=%s", known.listener_id, loaded.version_id)
        return None


def _made(known: profiles.Known, loaded: Loaded, now: datetime, *, live: bool) -> Stocked:
    content = stock(known, loaded.model, now)
    row = Shelf(
        listener_id=known.listener_id,
        version_id=loaded.version_id,
        made_at=now,
        live=live,
        history_at=known.history_at,
        feedback_id=known.feedback_id,
        candidates=packing.pack(content),
    )
    return Stocked(row, content, loaded)


def _standing(row: Any) -> Standing:
    """Of a row of `newest`, whose annotations no type knows."""
    return Standing(
        row.version_id, row.made_at, row.history_at, row.feedback_id, row.newest_session, row.newest_feedback
    )


def _content_of(row: Shelf | None) -> packing.Shelf | None:
    """What is on it; None where there is no shelf, or its bytes are damaged."""
    if row is None:
        return None
    try:
        return packing.unpack(bytes(row.candidates))
    except packing.ShelfDamaged:
        logger.exception("shelf_damaged shelf=%s", row.pk)
        return None

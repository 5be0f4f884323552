"""Records and withdraws feedback events; a repeated event is stored once."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import F, Q, QuerySet

from ingestion.models import Listener, Song
from recommender.models import Feedback, sql

NO_KEY: Final = 0  # key id of senders without an API key: staff and code
# Databases store microseconds, and SQLite rounds them.
WITHDRAWAL_BATCH: Final = 500
SAME_TIME: Final = timedelta(milliseconds=1)
ID_FIELDS: Final = ("user_id", "song_id", "recommendation_id")


@dataclass(frozen=True)
class FeedbackEvent:
    event_id: str  # chosen by the app and unique among the events of its API key
    user_id: int
    song_id: int
    kind: Feedback.Kind
    seconds: float | None = None  # listening time; only for a listen
    recommendation_id: UUID | None = None  # the served list that the event is about, if known
    at: datetime | None = None  # time of the event; None: the time at which it was received


class RecordedEvent(NamedTuple):
    event_id: str
    created: bool  # False: the same event was stored before


class UnknownIds(ValueError):
    """The events name unknown ids, or a list of another listener. No event of the request was recorded.

    `fields` maps a field's name to its unknown ids, ascending.
    """

    def __init__(self, fields: dict[str, list[Any]]) -> None:
        text = "; ".join(f"{field} {', '.join(map(str, values))}" for field, values in fields.items())
        super().__init__(f"Unknown: {text}.")
        self.fields = fields


class ConflictingEvents(ValueError):
    """The API key has already sent other events with these ids (`event_ids`, ascending).

    No event of the request was recorded.
    """

    def __init__(self, event_ids: Iterable[str]) -> None:
        self.event_ids = sorted(event_ids)
        super().__init__(
            f"Already recorded with other content: {', '.join(self.event_ids)}. Each event needs its own id."
        )


class RefusedEvent(NamedTuple):
    """An event that can't be recorded: fields with unknown ids, or none if its own id is another event's."""

    event_id: str
    unknown: tuple[str, ...]


class UnknownEvent(LookupError):
    """The API key has sent no event with this id, or has withdrawn it."""

    def __init__(self, event_id: str) -> None:
        super().__init__(f"This key has sent no event {event_id}.")


def record_events(
    events: Sequence[FeedbackEvent], *, received_at: datetime, key_id: int = NO_KEY
) -> list[RecordedEvent]:
    """Insert the new events in one statement; return one result per event, in order.

    An event that equals a stored one, even a withdrawn one, is not stored again.

    Args:
        key_id: the sender's API key, within which ids of events are unique.

    Raises:
        UnknownIds: a listener, song or list is unknown, or the list is another listener's.
        ConflictingEvents: the API key has already sent another event with one of the ids.
    """
    unknown: dict[str, set[Any]] = {}
    for event, fields in zip(events, _unknown_fields(events), strict=True):
        for field in fields:
            unknown.setdefault(field, set()).add(getattr(event, field))
    if unknown:
        raise UnknownIds({field: sorted(unknown[field]) for field in ID_FIELDS if field in unknown})
    results, new = _sort_out(events, received_at, key_id)
    if conflicts := {result.event_id for result in results if isinstance(result, RefusedEvent)}:
        raise ConflictingEvents(conflicts)
    if new and not _insert(new, key_id):
        # Another request has inserted some of the ids since they were read.
        return record_events(events, received_at=received_at, key_id=key_id)
    return [result for result in results if isinstance(result, RecordedEvent)]


def record_possible(
    events: Sequence[FeedbackEvent], *, received_at: datetime, key_id: int = NO_KEY
) -> list[RecordedEvent | RefusedEvent]:
    """Insert the new events that can be recorded in one statement; return one result per event, in order.

    The rules are those of `record_events`, but an event that breaks them does not keep the others out. Of two
    different events with one id, the first is recorded.
    """
    missing = _unknown_fields(events)
    possible = [event for event, fields in zip(events, missing, strict=True) if not fields]
    sorted_out, new = _sort_out(possible, received_at, key_id)
    if new and not _insert(new, key_id):
        return record_possible(events, received_at=received_at, key_id=key_id)
    results = iter(sorted_out)
    return [
        RefusedEvent(event.event_id, fields) if fields else next(results)
        for event, fields in zip(events, missing, strict=True)
    ]


def _sort_out(
    events: Sequence[FeedbackEvent], received_at: datetime, key_id: int
) -> tuple[list[RecordedEvent | RefusedEvent], list[Feedback]]:
    """What becomes of each event, in order, and the rows to insert."""
    known = _stored_events({event.event_id for event in events}, key_id)
    new: list[Feedback] = []
    results: list[RecordedEvent | RefusedEvent] = []
    for event in events:
        earlier = known.get(event.event_id)
        if earlier is not None and _is_same(event, earlier):
            results.append(RecordedEvent(event.event_id, created=False))
        # An event of an earlier release, which stored no key, may be another app's.
        elif earlier is not None and earlier.key_id is not None:
            results.append(RefusedEvent(event.event_id, ()))
        else:
            known[event.event_id] = _feedback_row(event, received_at, key_id)
            new.append(known[event.event_id])
            results.append(RecordedEvent(event.event_id, created=True))
    return results, new


def _insert(rows: Sequence[Feedback], key_id: int) -> bool:
    """Insert all rows or, if an id exists already, none (False)."""
    try:
        with transaction.atomic():
            Feedback.objects.bulk_create(rows)
    except IntegrityError:
        if not Feedback.objects.filter(key_id=key_id, event_id__in=[row.event_id for row in rows]).exists():
            raise
        return False
    return True


def find_event(event_id: str, *, key_id: int, listener_id: int | None = None) -> Feedback:
    """An event that counts and, if `listener_id` is given, is about this listener.

    Raises:
        UnknownEvent: the key has sent no event with this id, or has withdrawn it.
    """
    row = _own_events(key_id, listener_id).filter(event_id=event_id, withdrawn_at=None).first()
    if row is None:
        raise UnknownEvent(event_id)
    return row


def events_about(listener_id: int, *, key_id: int) -> QuerySet[Feedback]:
    sent = Feedback.objects.not_withdrawn().filter(Q(key_id=key_id) | Q(key_id=None))
    return sent.filter(listener_id=listener_id).order_by("-id")


def withdraw_event(
    event_id: str, *, now: datetime, key_id: int = NO_KEY, listener_id: int | None = None
) -> None:
    """Withdraw an event, as if it had never been sent; idempotent.

    Raises:
        UnknownEvent: the key has sent no event with this id, or none about `listener_id`.
    """
    with transaction.atomic():
        row = _own_events(key_id, listener_id).select_for_update().filter(event_id=event_id).first()
        if row is None:
            raise UnknownEvent(event_id)
        if row.withdrawn_at is None:
            # A new row with a higher id: candidate lists are stale if there is feedback that they don't know.
            Feedback.objects.filter(pk=row.pk).delete()
            row.pk, row.withdrawn_at = None, now
            row.save(force_insert=True)


def withdraw_key(key_id: int, *, now: datetime) -> int:
    """Withdraw all events of a key, as if it had never sent any; return how many."""
    count = 0
    while True:
        with transaction.atomic():
            rows = Feedback.objects.select_for_update().filter(key_id=key_id, withdrawn_at=None)
            batch = list(rows.order_by("pk")[:WITHDRAWAL_BATCH])
            if not batch:
                return count
            # New rows, as in `withdraw_event`.
            Feedback.objects.filter(pk__in=[row.pk for row in batch]).delete()
            for row in batch:
                row.pk, row.withdrawn_at = None, now
            Feedback.objects.bulk_create(batch)
        count += len(batch)


def _events_of_key(key_id: int) -> QuerySet[Feedback]:
    """The events of a key, also those of earlier releases, which did not store the key."""
    return Feedback.objects.filter(Q(key_id=key_id) | Q(key_id=None)).order_by(
        F("key_id").asc(nulls_last=True)
    )


def _own_events(key_id: int, listener_id: int | None) -> QuerySet[Feedback]:
    own = _events_of_key(key_id)
    return own if listener_id is None else own.filter(listener_id=listener_id)


def _stored_events(event_ids: Collection[str], key_id: int) -> dict[str, Feedback]:
    # Events that are sent for the first time, as most are, take one statement, which the ORM need not build.
    if not sql.has_feedback(key_id, event_ids):
        return {}
    found: dict[str, Feedback] = {}
    for row in _events_of_key(key_id).filter(event_id__in=event_ids):
        found.setdefault(row.event_id, row)
    return found


def _is_same(event: FeedbackEvent, row: Feedback) -> bool:
    sent = _feedback_row(event, row.received_at, row.key_id)
    # An event without a time got the time at which it was first received, and a list may have been deleted.
    same_time = event.at is None or abs(sent.at - row.at) < SAME_TIME
    same_list = row.served_list_id in {None, sent.served_list_id}
    names = ("listener_id", "song_id", "kind", "seconds")
    return same_time and same_list and all(getattr(sent, name) == getattr(row, name) for name in names)


def _feedback_row(event: FeedbackEvent, received_at: datetime, key_id: int | None) -> Feedback:
    return Feedback(
        event_id=event.event_id,
        key_id=key_id,
        listener_id=event.user_id,
        song_id=event.song_id,
        kind=event.kind,
        seconds=event.seconds,
        served_list_id=event.recommendation_id,
        # A phone's clock may run ahead: no event is in the future.
        at=min(event.at or received_at, received_at),
        received_at=received_at,
    )


def _unknown_fields(events: Sequence[FeedbackEvent]) -> list[tuple[str, ...]]:
    """For each event, its fields with ids that are unknown, or with the list of another listener."""
    users = sql.existing_ids(Listener, {event.user_id for event in events})
    songs = sql.existing_ids(Song, {event.song_id for event in events})
    owners = sql.listeners_of_lists({event.recommendation_id for event in events if event.recommendation_id})
    found = []
    for event in events:
        shown = event.recommendation_id
        known = (
            event.user_id in users,
            event.song_id in songs,
            not shown or owners.get(shown) == event.user_id,
        )
        found.append(tuple(field for field, is_known in zip(ID_FIELDS, known, strict=True) if not is_known))
    return found

"""Records feedback events idempotently: an event that is sent twice counts once."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from django.db import models

from ingestion.models import Listener, Song
from recommender.models import Feedback, ServedList


@dataclass(frozen=True)
class FeedbackEvent:
    """One event, with the API's field names.

    Attributes:
        event_id: the client's id of the event.
        seconds: how long the listener listened; only for a listen.
        recommendation_id: the list that the feedback is about; None: of no list.
        at: when it happened; None: when it was received.
    """

    event_id: str
    user_id: int
    song_id: int
    kind: Feedback.Kind
    seconds: float | None = None
    recommendation_id: UUID | None = None
    at: datetime | None = None


class RecordedEvent(NamedTuple):
    event_id: str
    created: bool  # False: it was recorded before, and stays as it was


class UnknownIds(ValueError):
    """Unknown ids, or lists of another listener; no event was recorded.

    Attributes:
        fields: the unknown values, ascending, by field name.
    """

    def __init__(self, fields: dict[str, list[Any]]) -> None:
        named = "; ".join(f"{field} {', '.join(map(str, values))}" for field, values in fields.items())
        super().__init__(f"Unknown: {named}.")
        self.fields = fields


def record_events(events: Sequence[FeedbackEvent], *, received_at: datetime) -> list[RecordedEvent]:
    """Record the new events with one insert; returns one result an event, in order.

    Of two events with the same id the first is kept.

    Raises:
        UnknownIds: a listener, song or list is unknown, or a list belongs to another listener.
    """
    _require_known(events)
    recorded = _existing_values(Feedback, "event_id", {event.event_id for event in events})
    new = {event.event_id: event for event in reversed(events) if event.event_id not in recorded}
    rows = [
        _feedback_row(new[name], received_at) for name in dict.fromkeys(_event_ids(events)) if name in new
    ]
    # Conflicts: another request may record the same event at the same moment.
    Feedback.objects.bulk_create(rows, ignore_conflicts=True)
    results = []
    for name in _event_ids(events):
        results.append(RecordedEvent(name, name in new))
        new.pop(name, None)
    return results


def _event_ids(events: Iterable[FeedbackEvent]) -> Iterable[str]:
    return (event.event_id for event in events)


def _feedback_row(event: FeedbackEvent, received_at: datetime) -> Feedback:
    return Feedback(
        event_id=event.event_id,
        listener_id=event.user_id,
        song_id=event.song_id,
        kind=event.kind,
        seconds=event.seconds,
        served_list_id=event.recommendation_id,
        # A phone's clock may run ahead; feedback must not lie in the future.
        at=min(event.at or received_at, received_at),
        received_at=received_at,
    )


def _require_known(events: Sequence[FeedbackEvent]) -> None:
    users = {event.user_id for event in events}
    songs = {event.song_id for event in events}
    lists = {event.recommendation_id for event in events if event.recommendation_id}
    owners = dict(ServedList.objects.filter(pk__in=lists).values_list("pk", "listener_id")) if lists else {}
    unknown: dict[str, list[Any]] = {
        "user_id": sorted(users - _existing_values(Listener, "pk", users)),
        "song_id": sorted(songs - _existing_values(Song, "pk", songs)),
        "recommendation_id": sorted(
            {
                event.recommendation_id
                for event in events
                if event.recommendation_id and owners.get(event.recommendation_id) != event.user_id
            }
        ),
    }
    fields = {name: values for name, values in unknown.items() if values}
    if fields:
        raise UnknownIds(fields)


def _existing_values(model: type[models.Model], field: str, values: Collection[Any]) -> set[Any]:
    rows = model._default_manager.filter(**{f"{field}__in": values})
    return set(rows.values_list(field, flat=True))

"""Record feedback events: likes, listens, skips and dislikes. An event sent twice is stored once."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from django.db import models

from ingestion.models import Listener, Song
from recommender.models import Feedback, ServedList


@dataclass(frozen=True)
class FeedbackEvent:
    event_id: str  # chosen by the app; an id that is sent again is ignored
    user_id: int
    song_id: int
    kind: Feedback.Kind
    seconds: float | None = None  # listening time; only for a listen
    recommendation_id: UUID | None = None  # the served list that the event is about, if known
    at: datetime | None = None  # time of the event; None: the time at which it was received


class RecordedEvent(NamedTuple):
    event_id: str
    created: bool  # False: the id was stored before; the stored event is unchanged


class UnknownIds(ValueError):
    """Some ids are unknown, or a list belongs to another listener. Nothing was recorded.

    `fields` has the unknown values by field name, ascending.
    """

    def __init__(self, fields: dict[str, list[Any]]) -> None:
        text = "; ".join(f"{field} {', '.join(map(str, values))}" for field, values in fields.items())
        super().__init__(f"Unknown: {text}.")
        self.fields = fields


def record_events(events: Sequence[FeedbackEvent], *, received_at: datetime) -> list[RecordedEvent]:
    """Insert the new events in one statement; return one result per event, in order.

    If two events have the same id, the first one is kept.

    Raises:
        UnknownIds: a listener, song or list is unknown, or a list belongs to another listener.
    """
    _require_known(events)
    stored = _existing_values(Feedback, "event_id", {event.event_id for event in events})
    new: dict[str, FeedbackEvent] = {}
    results = []
    for event in events:
        created = event.event_id not in stored and event.event_id not in new
        if created:
            new[event.event_id] = event
        results.append(RecordedEvent(event.event_id, created))
    rows = [_feedback_row(event, received_at) for event in new.values()]
    # Another request may insert the same id at the same moment.
    Feedback.objects.bulk_create(rows, ignore_conflicts=True)
    return results


def _feedback_row(event: FeedbackEvent, received_at: datetime) -> Feedback:
    return Feedback(
        event_id=event.event_id,
        listener_id=event.user_id,
        song_id=event.song_id,
        kind=event.kind,
        seconds=event.seconds,
        served_list_id=event.recommendation_id,
        # A phone's clock may run ahead: no event is in the future.
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

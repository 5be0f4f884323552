"""A listener of the small world, the lists they get, and what they say to them."""

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from ingestion.models import Listener, ListeningHistory
from recommender.feedback import events
from recommender.models import Feedback, ServedList
from recommender.serving import recommendations
from recommender.serving.recommendations import Options

# The morning after the world's last day.
NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
LISTENER = 470


def recommend(options: Options, **asked: Any) -> ServedList:
    return recommendations.recommend(asked.pop("listener", LISTENER), options=options, now=NOW, **asked)


def songs_of(served: ServedList) -> list[int]:
    return [item["song"] for item in served.items]


def heard(listener: int = LISTENER) -> set[int]:
    sessions = ListeningHistory.objects.filter(user=listener).values_list("items", flat=True)
    return {song for items in sessions for song in items}


def said(kind: str, song: int, *, seconds: float | None = None, served: ServedList | None = None) -> None:
    listed = served.pk if served else None
    event = events.Event(uuid4().hex, LISTENER, song, Feedback.Kind(kind), seconds, listed, NOW)
    events.record([event], received_at=NOW)


def newcomer(genres: str = "", pk: int = 5) -> int:
    Listener.objects.create(pk=pk, favorite_genres=genres, created_at=NOW, updated_at=NOW)
    return pk


def affinity(options: Options, cluster: int) -> float:
    rows = recommendations.affinities_of(LISTENER, options=options, now=NOW)
    return next((row.affinity for row in rows if row.cluster_id == cluster), 0.0)

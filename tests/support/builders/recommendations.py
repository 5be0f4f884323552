"""A listener of the small world, the lists served to them, and their feedback."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from django.db.models import F

from ingestion.models import Listener, ListeningHistory
from recommender.feedback import events
from recommender.models import Feedback, ServedList
from recommender.serving import recommendations
from recommender.serving.list_limits import ServingOptions

# The morning after the world's last day.
RECOMMENDED_AT = datetime(2026, 11, 1, 12, tzinfo=UTC)
LISTENER = 470


def recommend_list(options: ServingOptions, **asked: Any) -> ServedList:
    """A list for LISTENER; always with the same seed, unless the test asks for another one."""
    asked.setdefault("seed", "0")
    return recommendations.recommend(
        asked.pop("listener", LISTENER), options=options, now=RECOMMENDED_AT, **asked
    )


def forget_lists() -> None:
    """Date all served lists back by 60 days, so that their songs do not count as recently shown."""
    ServedList.objects.update(generated_at=F("generated_at") - timedelta(days=60))


def song_ids(served: ServedList) -> list[int]:
    return [item["song"] for item in served.items]


def played_songs(listener: int = LISTENER) -> set[int]:
    sessions = ListeningHistory.objects.filter(user=listener).values_list("items", flat=True)
    return {song for items in sessions for song in items}


def record_feedback(
    kind: str, song: int, *, seconds: float | None = None, served: ServedList | None = None
) -> None:
    listed = served.pk if served else None
    event = events.FeedbackEvent(
        uuid4().hex, LISTENER, song, Feedback.Kind(kind), seconds, listed, RECOMMENDED_AT
    )
    events.record_events([event], received_at=RECOMMENDED_AT)


def make_new_listener(genres: str = "", pk: int = 5) -> int:
    Listener.objects.create(
        pk=pk, favorite_genres=genres, created_at=RECOMMENDED_AT, updated_at=RECOMMENDED_AT
    )
    return pk


def affinity_of(options: ServingOptions, cluster: int) -> float:
    rows = recommendations.listener_affinities(LISTENER, options=options, now=RECOMMENDED_AT)
    return next((row.affinity for row in rows if row.cluster_id == cluster), 0.0)

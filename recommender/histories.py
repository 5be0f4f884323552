"""Whether a history is still what it was: sessions come late, grow, go and come back with a run."""

from collections.abc import Collection
from datetime import datetime
from typing import Any, Final

from django.db import connection
from django.db.models import Count, F, Func, IntegerField, Max, Sum

from ingestion.models import IngestionRun, ListeningHistory

NOTHING: Final = "0"
# Nothing of a history changes but in a run; asked within another query, by the newest id that has ended.
NEWEST_RUN: Final = (
    "COALESCE((SELECT r.id FROM ingestion_ingestionrun r WHERE r.finished_at IS NOT NULL "
    "ORDER BY r.id DESC LIMIT 1), 0)"
)


def newest_run() -> int:
    """The newest run that is over; 0 for none."""
    ended = IngestionRun.objects.filter(finished_at__isnull=False).order_by("-pk")
    return ended.values_list("pk", flat=True).first() or 0


def mark_of(sessions: int, newest: int, changed_at: datetime | None, songs: int) -> str:
    """The same for the same history: how many sessions and songs, the newest one, the newest change."""
    return f"{sessions}.{newest}.{changed_at.timestamp():.0f}.{songs}" if changed_at else NOTHING


def marks(listener_ids: Collection[int]) -> dict[int, str]:
    """Each listener's mark, in one query; `NOTHING` of who has no sessions."""
    name = "jsonb_array_length" if connection.vendor == "postgresql" else "json_array_length"
    length: Any = Func(F("items"), function=name, output_field=IntegerField())
    rows = (
        ListeningHistory.objects.filter(user_id__in=listener_ids, unavailable_at=None)
        .order_by()
        .values_list("user_id")
        .annotate(n=Count("pk"), newest=Max("pk"), changed_at=Max("updated_at"), songs=Sum(length))
    )
    found = {user: mark_of(n, newest, changed_at, songs or 0) for user, n, newest, changed_at, songs in rows}
    return {listener: found.get(listener, NOTHING) for listener in listener_ids}

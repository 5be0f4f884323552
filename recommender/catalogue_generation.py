"""Which catalogue something was said or learnt of: where the source starts anew, ids mean other songs."""

from datetime import UTC, datetime
from typing import Final

from django.db.models import QuerySet, Subquery, Value
from django.db.models.functions import Coalesce

from ingestion.models import IngestionRun
from recommender.engine.data import EngineError
from recommender.models import Feedback, ModelVersion

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class CatalogueReplaced(EngineError):
    """What was read is not what the source has by now."""


def last_reset_at() -> datetime | None:
    """When a person last accepted that the source has another catalogue; None: never."""
    return _reset_runs().values_list("finished_at", flat=True).first()


def trained_on_current(versions: QuerySet[ModelVersion]) -> QuerySet[ModelVersion]:
    """The versions that were learnt of today's catalogue."""
    return versions.filter(created_at__gt=_last_reset_or_epoch())


def trained_on_earlier(versions: QuerySet[ModelVersion]) -> QuerySet[ModelVersion]:
    """The others: they would give what they know of a song to another one."""
    return versions.filter(created_at__lte=_last_reset_or_epoch())


def feedback_on_current(feedback: QuerySet[Feedback]) -> QuerySet[Feedback]:
    """What was said of today's songs."""
    return feedback.filter(received_at__gt=_last_reset_or_epoch())


def require_no_reset(since: datetime) -> None:
    """Refuse what was read from then on, where the source has got another catalogue meanwhile.

    Raises:
        CatalogueReplaced: it has.
    """
    at = last_reset_at()
    if at is not None and at > since:
        raise CatalogueReplaced(
            f"While this was learnt the source got another catalogue ({at:%Y-%m-%d %H:%M} UTC). "
            "Train again: python manage.py retrain"
        )


def _last_reset_or_epoch() -> Coalesce:
    newest = Subquery(_reset_runs().values("finished_at")[:1])
    return Coalesce(newest, Value(_EPOCH))


def _reset_runs() -> QuerySet[IngestionRun]:
    return IngestionRun.objects.filter(new_catalogue=True).order_by("-pk")

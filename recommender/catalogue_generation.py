"""Catalogue generations: a reset of the source gives ids to other songs and invalidates models."""

from datetime import datetime

from django.db.models import Q, QuerySet, Subquery, Value
from django.db.models.functions import Coalesce

from ingestion.models import IngestionRun
from recommender.engine.data import EngineError
from recommender.models import Feedback, ModelVersion, sql


class CatalogueReplaced(EngineError):
    """The source was reset while a training read its data."""


def last_reset_at() -> datetime | None:
    """When an operator last accepted a new catalogue; None if never."""
    return _reset_runs().values_list("finished_at", flat=True).first()


def trained_on_current(versions: QuerySet[ModelVersion]) -> QuerySet[ModelVersion]:
    return versions.filter(created_at__gt=_last_reset_or_epoch())


def trained_on_earlier(versions: QuerySet[ModelVersion]) -> QuerySet[ModelVersion]:
    """The versions trained on an earlier catalogue, in which the same ids meant other songs."""
    return versions.filter(created_at__lte=_last_reset_or_epoch())


def feedback_on_current(feedback: QuerySet[Feedback]) -> QuerySet[Feedback]:
    return feedback.filter(is_on_current())


def is_on_current() -> Q:
    """Query condition that is true for feedback on songs of the current catalogue."""
    return Q(received_at__gt=_last_reset_or_epoch())


def require_no_reset(since: datetime) -> None:
    at = last_reset_at()
    if at is not None and at > since:
        raise CatalogueReplaced(
            f"The source's catalogue was replaced during the training ({at:%Y-%m-%d %H:%M} UTC). "
            "Train again: python manage.py retrain"
        )


def _last_reset_or_epoch() -> Coalesce:
    newest = Subquery(_reset_runs().values("finished_at")[:1])
    return Coalesce(newest, Value(sql.EPOCH))


def _reset_runs() -> QuerySet[IngestionRun]:
    return IngestionRun.objects.filter(new_catalogue=True).order_by("-pk")

"""Deletes served lists, candidate lists and exposures older than `KEEP_LISTS_DAYS`.

These stay: lists of unfinished experiments and those that a decision compares them with, lists whose
engagement or score is not final, and lists with a report of a wrong style. Ended experiments are sealed
first, see `experiments.seals`.
"""

import logging
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, time, timedelta
from typing import Any, Final

from django.db import transaction
from django.db.models import Exists, Min, OuterRef, Q, QuerySet, Subquery

from recommender.experiments.seals import seal_experiment
from recommender.experiments.statistics import PRE_PERIOD
from recommender.feedback.engagement import ATTRIBUTION_WINDOW
from recommender.models import (
    AttributedListen,
    CandidateList,
    EngagedList,
    Experiment,
    Exposure,
    Feedback,
    ScoredList,
    ServedList,
)
from recommender.serving.candidates.candidate_cache import replaced_lists

logger = logging.getLogger(__name__)

# Called with the table, its rows deleted since the last call and all its rows to delete.
Progress = Callable[[str, int, int], object]
# Small, because no other process can write to SQLite during a deletion.
BATCH: Final = 500
# After its end, an experiment's last lists are still scored and counted for a week.
SETTLED_AFTER: Final = ATTRIBUTION_WINDOW + timedelta(days=2)


def delete_expired_lists(now: datetime, keep: timedelta, progress: Progress | None = None) -> dict[str, int]:
    """Seal ended experiments and delete expired rows in batches; return how many by table.

    With `progress`, which a person watches, the rows are counted before they are deleted.
    """
    before = expiry_time(now, keep)
    deleted = {
        "sealed_experiments": seal_ended_experiments(before, now),
        "served_lists": _delete_all("served lists", expired_lists(before), "generated_at",
                                    _delete_list_batch, progress),
        "candidate_lists": _delete_all("candidate lists", [_expired_candidate_lists(before, now)], "pk",
                                       _delete_candidate_batch, progress),
        "exposures": _delete_all("exposures", [_expired_exposures(before)], "pk",
                                 _delete_exposure_batch, progress),
    }  # fmt: skip
    logger.info(
        "lists_deleted before=%s %s",
        before.isoformat(), " ".join(f"{name}={count}" for name, count in deleted.items()),
    )  # fmt: skip
    return deleted


def expiry_time(now: datetime, keep: timedelta) -> datetime:
    needed = [_first_needed_by_experiments(now), _first_without_final_engagement(now - keep)]
    return min([now - keep, *(at for at in needed if at is not None)])


def seal_ended_experiments(before: datetime, now: datetime) -> int:
    """Seal ended experiments that began before this time; return how many were sealed.

    Their rows can be deleted afterwards.
    """
    ended = Experiment.objects.filter(status=Experiment.Status.ENDED, started_at__lt=before, seal=None)
    experiments = list(ended.order_by("pk"))
    for experiment in experiments:
        # Not in one transaction: counting takes long, and it would keep SQLite from every other write.
        seal_experiment(experiment, now)
    return len(experiments)


def _first_needed_by_experiments(now: datetime) -> datetime | None:
    unfinished = Experiment.objects.exclude(status=Experiment.Status.ENDED, ended_at__lt=now - SETTLED_AFTER)
    began: datetime | None = unfinished.aggregate(at=Min("started_at"))["at"]
    return None if began is None else began - PRE_PERIOD


def _first_without_final_engagement(before: datetime) -> datetime | None:
    """The start of the first day with engagement that is not final.

    The day's sums are counted again, from all of its lists.
    """
    unfinished = EngagedList.objects.filter(final=False).aggregate(at=Min("at"))["at"]
    uncounted = ServedList.objects.filter(
        version__isnull=False, engagement=None, generated_at__lt=before
    ).aggregate(at=Min("generated_at"))["at"]
    first = min((at for at in (unfinished, uncounted) if at is not None), default=None)
    return None if first is None else datetime.combine(first.astimezone(UTC), time.min, UTC)


def expired_lists(before: datetime) -> list[QuerySet[ServedList]]:
    """The lists to delete, in two parts, each of which one index finds."""
    wrong_style = Feedback.objects.filter(
        served_list=OuterRef("pk"), kind=Feedback.Kind.WRONG_STYLE, withdrawn_at=None
    )
    unscored = ScoredList.objects.filter(served_list=OuterRef("pk"), closed_at=None)
    old = ServedList.objects.filter(~Exists(wrong_style), ~Exists(unscored), generated_at__lt=before)
    # A list without a version gets no row of engagement.
    return [old.filter(version=None), old.filter(engagement__final=True)]


def _delete_all(
    table: str,
    parts: list[QuerySet[Any]],
    order: str,
    delete: Callable[[list[Any]], int],
    progress: Progress | None,
) -> int:
    total = sum(rows.count() for rows in parts) if progress else 0
    deleted = 0
    for rows in parts:
        for keys in _batches(rows, order):
            deleted += delete(keys)
            if progress:
                progress(table, len(keys), total)
    return deleted


def _delete_list_batch(keys: list[Any]) -> int:
    listener = ServedList.objects.filter(pk=OuterRef("served_list")).values("listener")
    with transaction.atomic():
        AttributedListen.objects.filter(served_list__in=keys).update(
            listener=Subquery(listener[:1]), served_list=None
        )
        # Deletes the rows of engagement and scores as well; feedback stays, without its list.
        deleted = ServedList.objects.filter(pk__in=keys).only("pk").delete()[1]
    return deleted.get(ServedList._meta.label, 0)


def _expired_candidate_lists(before: datetime, now: datetime) -> QuerySet[CandidateList]:
    # Numbers ascend with time, and there is no index by time.
    first_kept = CandidateList.objects.filter(made_at__gte=before).order_by("pk").values_list("pk", flat=True)
    up_to = Q(pk__lt=first_kept[0]) if first_kept[:1] else Q()
    return replaced_lists(now).filter(up_to, made_at__lt=before)


def _delete_candidate_batch(keys: list[Any]) -> int:
    return CandidateList.objects.filter(pk__in=keys).only("pk").delete()[0]


def _expired_exposures(before: datetime) -> QuerySet[Exposure]:
    return Exposure.objects.filter(experiment__seal__isnull=False, first_at__lt=before)


def _delete_exposure_batch(keys: list[Any]) -> int:
    return Exposure.objects.filter(pk__in=keys).delete()[0]


def _batches(rows: QuerySet[Any], order: str) -> Iterator[list[Any]]:
    """Yield keys in ascending order; the caller deletes each batch before it takes the next."""
    reached = Q()
    # From where the last batch ended: otherwise each one would pass the rows that stay again.
    while found := list(rows.filter(reached).order_by(order).values_list("pk", order)[:BATCH]):
        yield [key for key, _ in found]
        reached = Q((f"{order}__gte", found[-1][1]))

"""What a judged run does to the catalogue besides writing rows: what is missing, how late the data came."""

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Final, NamedTuple

from django.db import transaction
from django.utils import timezone

from ingestion.models import IngestionRun
from ingestion.upsert import BATCH, Table, available_keys, in_batches


class Latency(NamedTuple):
    """Seconds from a row's newest time at the source to its commit here."""

    p50: float | None
    p95: float | None
    longest: float | None


NO_LATENCY: Final = Latency(None, None, None)


def latency_of(newest: Iterable[float], committed_at: datetime) -> Latency:
    """Formula: commit time - max(created_at, updated_at), over the rows written.

    Args:
        newest: the newest time of each row at the source, in seconds since 1970.
    """
    waits = sorted(committed_at.timestamp() - moment for moment in newest)
    if not waits:
        return NO_LATENCY
    last = len(waits) - 1
    return Latency(waits[last // 2], waits[int(last * 0.95)], waits[last])


def mark_missing(
    table: Table,
    run: IngestionRun,
    is_seen: Callable[[tuple[object, ...]], bool],
    guard: Callable[[], None],
    *,
    at_once: bool,
) -> None:
    """Note the available rows that were not seen; those that two successful runs did not see end.

    A mark names the run that set it, and only a run that succeeded counts: a run that dies half-way and is
    done again does not count a row missing twice.

    Args:
        at_once: the source was reset, and a person said so: nothing of the old catalogue is waited for.
    """
    unseen = (pk for pk, key in available_keys(table) if not is_seen(key))
    for batch in in_batches(unseen, BATCH):
        rows = table.model._default_manager.filter(pk__in=batch)
        with transaction.atomic():
            guard()
            confirmed = rows.filter(missing_since__status=IngestionRun.Status.SUCCEEDED).exclude(
                missing_since=run
            )
            ending = set(batch if at_once else confirmed.values_list("pk", flat=True))
            table.model._default_manager.filter(pk__in=ending).update(unavailable_at=timezone.now())
            table.model._default_manager.filter(pk__in=set(batch) - ending).update(missing_since=run)

"""What a judged run does to the catalogue besides writing rows: what is missing, how late the data came."""

from array import array
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import NamedTuple

from django.db import transaction
from django.utils import timezone

from ingestion.models import IngestionRun
from ingestion.source.schemas import Record
from ingestion.upsert import BATCH, Table, available_keys, in_batches


class Latency(NamedTuple):
    """Seconds from a row's newest time at the source to its commit here."""

    p50: float | None
    p95: float | None


class Stopwatch:
    """Sees records pass by on their way to the database, and tells their latency afterwards."""

    def __init__(self, table: Table) -> None:
        self._created = table.schema.column("created_at")
        self._updated = table.schema.column("updated_at")
        self._newest: array[float] = array("d")

    def passing(self, records: Iterable[Record]) -> Iterator[Record]:
        for record in records:
            newest = max(record[self._created], record[self._updated])
            self._newest.append(datetime.fromisoformat(newest + "+00:00").timestamp())
            yield record

    def latency(self, committed_at: datetime) -> Latency:
        """Formula: commit time - max(created_at, updated_at), over the rows written."""
        if not self._newest:
            return Latency(None, None)
        oldest_first = sorted(committed_at.timestamp() - newest for newest in self._newest)
        last = len(oldest_first) - 1
        return Latency(oldest_first[last // 2], oldest_first[int(last * 0.95)])


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

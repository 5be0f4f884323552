"""Stores rejected rows with their reason, and imports them once they are valid."""

from collections.abc import Callable, Iterable, Iterator
from datetime import tzinfo
from hashlib import blake2b
from typing import Final

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from ingestion.models import IngestionRun, Listener, Rejection
from ingestion.pipeline.change_detection import (
    UNKNOWN_USER,
    content_hash,
    number_occurrences,
    stored_contents,
    with_occurrence,
)
from ingestion.pipeline.upsert import (
    TABLES,
    Key,
    MirroredTable,
    existing_ids,
    in_batches,
    read_stored,
    read_stored_groups,
    upsert,
)
from ingestion.source.response import parse_json
from ingestion.source.schemas import (
    LISTENING_HISTORY_SCHEMA,
    Record,
    RejectedRow,
    Resource,
    RowValidator,
    schema_for,
)

IMPORTED: Final = "taken in"
NOT_SENT: Final = "the source no longer sends it in this form"


def save_rejected_rows(
    run: IngestionRun,
    resource: str,
    refusals: Iterable[RejectedRow],
    guard: Callable[[], None] = lambda: None,
) -> None:
    """Store rejected rows that have no open rejection yet; each `row` is JSON text."""
    for batch in in_batches(refusals, 1_000):
        rejections = {fingerprint_row(refusal.row): refusal for refusal in batch}
        still_open = Rejection.objects.filter(resource=resource, resolved_at=None, fingerprint__in=rejections)
        with transaction.atomic():
            guard()
            known = set(still_open.values_list("fingerprint", flat=True))
            still_open.update(last_run=run)
            Rejection.objects.bulk_create(
                Rejection(
                    run=run, last_run=run, resource=resource, payload=refusal.row, fingerprint=mark,
                    field=refusal.field, reason=refusal.reason[:255],
                )
                for mark, refusal in rejections.items()
                if mark not in known
            )  # fmt: skip


def close_unsent(run: IngestionRun, resource: str) -> int:
    """Close rejections of rows that a complete run did not receive, except those of unknown users."""
    gone = Rejection.objects.filter(resource=resource, resolved_at=None).exclude(last_run=run)
    return _resolve(gone, NOT_SENT)


def settle_waiting(run: IngestionRun, zone: tzinfo) -> int:
    """Close rejections of sessions that waited for their user and are now stored; return how many.

    A session that was not sent again is not imported: the source deleted or changed it.
    """
    waiting = Rejection.objects.filter(
        resource=Resource.LISTENING_HISTORY, resolved_at=None, reason=UNKNOWN_USER
    ).exclude(last_run=run)
    table, validator = TABLES[Resource.LISTENING_HISTORY], RowValidator(LISTENING_HISTORY_SCHEMA, zone)
    width, settled = table.schema.source_key_length, 0
    for batch in _read_batches(waiting.order_by("pk")):
        pairs = [pair for pair in _validated(batch, validator) if not isinstance(pair[1], RejectedRow)]
        stored = read_stored_groups(table, list({record[:width] for _, record in pairs}))
        brought = [
            one.pk
            for one, record in pairs
            if content_hash(table, record) in stored_contents(table, stored.get(record[:width], [])).values()
        ]
        settled += _resolve(Rejection.objects.filter(pk__in=brought), IMPORTED)
    return settled


def replay_open(zone: tzinfo, guard: Callable[[], None] = lambda: None) -> dict[str, int]:
    """Validate the open rejections again, oldest first, and import the rows that are valid now.

    Args:
        zone: time zone of source times that have none.
        guard: called first in every transaction.

    Returns:
        Imported rows by resource.
    """
    taken = {}
    for resource in Resource:
        rejections = Rejection.objects.filter(resource=resource, resolved_at=None).order_by("pk")
        taken[resource.value] = _replay(resource, rejections, zone, guard)
    return taken


def fingerprint_row(payload: str) -> str:
    return blake2b(payload.encode(), digest_size=16).hexdigest()


def _replay(
    resource: Resource, rejections: QuerySet[Rejection], zone: tzinfo, guard: Callable[[], None]
) -> int:
    schema = schema_for(resource)
    validator = RowValidator(schema, zone)
    taken = 0
    for batch in _read_batches(rejections):
        pairs = [
            (one, record)
            for one, record in _validated(batch, validator)
            if not isinstance(record, RejectedRow)
        ]
        if schema is LISTENING_HISTORY_SCHEMA:
            pairs = _with_known_users(pairs)
        with transaction.atomic():
            guard()
            upsert(TABLES[resource], _newer_than_stored(TABLES[resource], [record for _, record in pairs]))
            taken += _resolve(Rejection.objects.filter(pk__in=[one.pk for one, _ in pairs]), IMPORTED)
    return taken


def _validated(
    batch: list[Rejection], validator: RowValidator
) -> Iterator[tuple[Rejection, Record | RejectedRow]]:
    rows = [parse_json(rejection.payload.encode()) for rejection in batch]
    return zip(batch, validator.validate_rows(rows), strict=True)


def _read_batches(rejections: QuerySet[Rejection]) -> Iterator[list[Rejection]]:
    """Yield batches of 1 000, read completely, because SQLite cannot write while a SELECT is open."""
    last = 0
    while batch := list(rejections.filter(pk__gt=last)[:1_000]):
        yield batch
        last = batch[-1].pk


def _newer_than_stored(table: MirroredTable, records: list[Record]) -> list[Record]:
    """The records that are not stored or newer than the stored row, in order of `updated_at`."""
    if table.schema.has_weak_key:
        return _sessions_not_stored(table, records)
    width, updated = table.schema.key_length, table.schema.column_index("updated_at")
    held = read_stored(table, [record[:width] for record in records])
    newer = [
        record
        for record in records
        if record[:width] not in held or held[record[:width]].record[updated] < record[updated]
    ]
    return sorted(newer, key=lambda record: record[updated])


def _sessions_not_stored(table: MirroredTable, records: list[Record]) -> list[Record]:
    """The sessions that are newer than all stored ones of the same listener and time, with their numbers."""
    width, updated = table.schema.source_key_length, table.schema.column_index("updated_at")
    stored = read_stored_groups(table, list({record[:width] for record in records}))
    wanted: dict[Key, dict[int, Record]] = {}
    for record in records:
        held = stored.get(record[:width], [])
        if all(row.record[updated] < record[updated] for row in held):
            wanted.setdefault(record[:width], {})[content_hash(table, record)] = record
    return [
        with_occurrence(contents[content], number)
        for key, contents in wanted.items()
        for content, number in number_occurrences(
            contents, stored_contents(table, stored.get(key, []))
        ).items()
    ]


def _with_known_users(pairs: list[tuple[Rejection, Record]]) -> list[tuple[Rejection, Record]]:
    users = existing_ids(Listener, {record[0] for _, record in pairs})
    return [(one, record) for one, record in pairs if record[0] in users]


def _resolve(rejections: QuerySet[Rejection], resolution: str) -> int:
    return rejections.filter(resolved_at=None).update(resolved_at=timezone.now(), resolution=resolution)

"""Compares the rows of each page with the catalogue and stages what is new or changed.

Counts are kept for each page, because a page may be read again.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from hashlib import blake2b
from itertools import count, groupby
from operator import itemgetter
from types import MappingProxyType
from typing import Any, Final

import orjson
from django.utils import timezone

from ingestion.jobs.database_patience import with_patience
from ingestion.models import Listener, Song
from ingestion.pipeline.compact.compact_ids import CompactIds, find_repeated
from ingestion.pipeline.compact.page_results import PageResult, PageResults
from ingestion.pipeline.staging import FrameKind, Spool
from ingestion.pipeline.upsert import (
    BATCH,
    Key,
    MirroredTable,
    StoredRow,
    existing_ids,
    in_batches,
    normalize_json,
    read_stored,
    read_stored_groups,
    shared_source_keys,
)
from ingestion.source.response import dump_json, parse_json
from ingestion.source.schemas import LISTENING_HISTORY_SCHEMA, Record, RejectedRow, RowValidator

# Stored as the reason of a rejection; the replay of rejections searches for this text.
UNKNOWN_USER: Final = "names a user that is not known (yet)"
SAMPLED_KEYS: Final = 5
# Times of records are UTC without a zone.
EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001
# Values of a record that mean an empty field.
EMPTY_VALUES: Final = (None, "", 0, "[]")
NO_OCCURRENCES: Final[Mapping[int, int]] = MappingProxyType({})


@dataclass(frozen=True)
class RowChange:
    record: Record
    before: Record | None


class KnownIds:
    """The ids that a session may refer to, from this run and the catalogue."""

    def __init__(self) -> None:
        self.users, self.songs = CompactIds(), CompactIds()

    def unknown_users(self, ids: Iterable[int]) -> set[int]:
        strangers = self.users.find_missing(ids)
        return strangers - existing_ids(Listener, strangers) if strangers else strangers

    def unknown_songs(self, ids: Iterable[int]) -> set[int]:
        strangers = self.songs.find_missing(ids)
        return strangers - existing_ids(Song, strangers) if strangers else strangers


class ChangeDetector:
    """Validates the pages of one resource, compares them with the catalogue, stages the changes."""

    def __init__(self, table: MirroredTable, spool: Spool, known: KnownIds, zone: tzinfo) -> None:
        self.table = table
        self.spool = spool
        self.pages = PageResults()
        # A few examples of keys of songs or listeners that the source sent more than once.
        self.doubled_keys: tuple[int, ...] = ()
        # Number of different sessions that share their listener and time with another one.
        self.same_key = 0
        self._known = known
        # If the table is empty, every row is new and no row has to be looked up.
        self.into_empty = not with_patience(table.model._default_manager.exists)
        self._asked = table.schema.source_key_length
        self._created = table.schema.column_index("created_at")
        self._updated = table.schema.column_index("updated_at")
        self._validator = RowValidator(table.schema, zone)
        # As text, like the times of a record. Times in the future are left out of the latency.
        self._now = timezone.now().replace(tzinfo=None).isoformat(" ")

    def process_page(
        self,
        number: int,
        rows: Sequence[Any],
        skip: frozenset[int] = frozenset(),
        occurrences: Mapping[int, int] = NO_OCCURRENCES,
    ) -> PageResult:
        """Validate the rows of a page and compare them with the catalogue.

        Args:
            skip: indices of rows that are duplicates of other rows.
            occurrences: index of a row to its number among different rows that share the source's key; 0 if
                left out.
        """
        landed = PageResult(received=len(rows), duplicates=len(skip))
        landed.unknown_fields = self._validator.unknown_fields(rows)
        validated = self._validator.validate_rows(rows, landed.corrections)
        for place, occurrence in occurrences.items():
            validated[place] = self._numbered(validated[place], occurrence)
        results = [
            (row, result)
            for place, (row, result) in enumerate(zip(rows, validated, strict=True))
            if place not in skip
        ]
        if self.table.schema is LISTENING_HISTORY_SCHEMA:
            results = self._reject_unknown_users(results, landed)
        refusals = [result for _, result in results if isinstance(result, RejectedRow)]
        changes = self._compare(
            [result for _, result in results if not isinstance(result, RejectedRow)], landed
        )
        self._count_rejected(refusals, landed)
        self._stage(number, changes, refusals)
        # Last, so that an error in the middle of a page leaves no half-filled counts.
        self.pages.put(number, landed)
        return landed

    def drop_after(self, last: int) -> None:
        self.pages.drop_after(last)
        self.spool.drop_after(FrameKind.PAGE, last)
        self.spool.drop_after(FrameKind.CHANGES, last)

    def resolve_duplicates(self) -> int:
        """Keep one row of each key and return how many were dropped.

        The newest row of a song or listener is kept. Sessions with the same listener and time are dropped
        only if their content is equal, too; different ones are numbered.
        """
        repeated = find_repeated([self.pages.keys.all()])
        if self.table.schema.has_weak_key:
            return self._number_sessions(repeated)
        if not repeated:
            return 0
        self.doubled_keys = tuple(sorted(repeated)[:SAMPLED_KEYS])
        losers = self._losers(repeated)
        for number, places in losers.items():
            self.process_page(number, self._rows(number), frozenset(places))
        return sum(map(len, losers.values()))

    def count_seen_again(self) -> int:
        """The number of available catalogue rows that the source sent again, accepted or rejected."""
        accepted, broken = self.pages.count("known"), set(self.pages.rejected_known_keys.all())
        if not broken:
            return accepted
        # A key may come twice: once valid and once rejected, or rejected both times.
        return accepted + len(broken.difference(self.pages.keys.all()))

    def count_distinct(self) -> int:
        """The number of different rows that the source sent.

        Rejected rows without a usable key, and all rejected sessions, are compared by their content.
        """
        count = self.pages.count
        accepted = count("received") - count("rejected") - count("duplicates")
        rejected = set(self.pages.rejected_identities.all())
        if rejected and not self.table.schema.has_weak_key:
            rejected.difference_update(self.pages.keys.all())
        return accepted + len(rejected)

    def sent_keys(self) -> CompactIds:
        """Hashes of the keys of all accepted rows, and of the rejected rows whose key can be read."""
        keys = CompactIds()
        keys.fill([self.pages.keys.all(), self.pages.rejected_keys.all()])
        return keys

    def read_changes(self) -> Iterator[RowChange]:
        for staged in self._staged():
            for record, before in staged["changes"]:
                yield RowChange(tuple(record), None if before is None else tuple(before))

    def read_rejected_rows(self) -> Iterator[RejectedRow]:
        for staged in self._staged():
            yield from (RejectedRow(*refusal) for refusal in staged["refusals"])

    def newest_time(self, change: RowChange) -> float | None:
        """Seconds since 1970 of a new or changed row's newest time, for its latency.

        None for a row that only returned, and for times in the future.
        """
        newest = max(change.record[self._created], change.record[self._updated])
        if change.before == change.record or newest > self._now:
            return None
        return (datetime.fromisoformat(newest) - EPOCH).total_seconds()

    def _staged(self) -> Iterator[dict[str, Any]]:
        return (orjson.loads(body) for _, body in self.spool.read_bodies(FrameKind.CHANGES))

    def _stage(self, number: int, changes: list[RowChange], refusals: list[RejectedRow]) -> None:
        # Without changes a frame is written only to replace one from an earlier read of the page.
        if changes or refusals or self.spool.has_frame(FrameKind.CHANGES, number):
            refused = [(dump_json(refusal.row), refusal.field, refusal.reason) for refusal in refusals]
            pairs = [(change.record, change.before) for change in changes]
            self.spool.append_frame(
                FrameKind.CHANGES, number, orjson.dumps({"changes": pairs, "refusals": refused})
            )

    def _rows(self, number: int) -> list[Any]:
        rows: list[Any] = parse_json(self.spool.read_frame(FrameKind.PAGE, number))["items"]
        return rows

    def _number_sessions(self, repeated: set[int]) -> int:
        if not self.into_empty:
            shared = {hash_key((*key, 0)) for key in shared_source_keys(self.table)}
            repeated |= shared.intersection(self.pages.keys.all())
        if not repeated:
            return 0
        skip: defaultdict[int, set[int]] = defaultdict(set)
        occurrences: defaultdict[int, dict[int, int]] = defaultdict(dict)
        groups = groupby(sorted(self._sessions_sharing(repeated)), key=itemgetter(0))
        for batch in in_batches(((key, list(group)) for key, group in groups), BATCH):
            stored = {} if self.into_empty else read_stored_groups(self.table, [key for key, _ in batch])
            for key, group in batch:
                self._number_group(group, stored.get(key, []), skip, occurrences)
        for number in sorted(skip.keys() | occurrences.keys()):
            self.process_page(number, self._rows(number), frozenset(skip[number]), occurrences[number])
        return sum(map(len, skip.values()))

    def _sessions_sharing(self, repeated: set[int]) -> Iterator[tuple[Key, int, int, int]]:
        width = self.table.schema.source_key_length
        for number in self.pages.numbers():
            if repeated.isdisjoint(self.pages.keys.of_page(number)):
                continue
            for place, record in enumerate(self._validator.validate_rows(self._rows(number))):
                if not isinstance(record, RejectedRow) and hash_key((*record[:width], 0)) in repeated:
                    yield record[:width], content_hash(self.table, record), number, place

    def _number_group(
        self,
        group: list[tuple[Key, int, int, int]],
        stored: list[StoredRow],
        skip: defaultdict[int, set[int]],
        occurrences: defaultdict[int, dict[int, int]],
    ) -> None:
        contents: dict[int, list[tuple[int, int]]] = {}
        for _, content, number, place in group:
            contents.setdefault(content, []).append((number, place))
        kept = {row.record[2] for row in stored if row.unavailable}
        numbers = number_occurrences(contents, stored_contents(self.table, stored), kept)
        self.same_key += len(contents) if len(contents) > 1 else 0
        for content, copies in contents.items():
            (number, place), *others = copies
            if numbers[content]:
                occurrences[number][place] = numbers[content]
            for other, copy in others:
                skip[other].add(copy)

    @staticmethod
    def _numbered(result: Record | RejectedRow, occurrence: int) -> Record | RejectedRow:
        return result if isinstance(result, RejectedRow) else with_occurrence(result, occurrence)

    def _losers(self, repeated: set[int]) -> dict[int, list[int]]:
        best: dict[int, tuple[str, int, int]] = {}
        losers: defaultdict[int, list[int]] = defaultdict(list)
        for number in self.pages.numbers():
            if repeated.isdisjoint(self.pages.keys.of_page(number)):
                continue
            for place, record in enumerate(self._validator.validate_rows(self._rows(number))):
                key = (
                    None
                    if isinstance(record, RejectedRow)
                    else hash_key(record[: self.table.schema.key_length])
                )
                if key not in repeated:
                    continue
                candidate = (record[self.table.schema.column_index("updated_at")], number, place)
                winner, loser = sorted((best.get(key, candidate), candidate), reverse=True)
                best[key] = winner
                if winner != loser:
                    losers[loser[1]].append(loser[2])
        return losers

    def _reject_unknown_users(
        self, results: list[tuple[Any, Record | RejectedRow]], landed: PageResult
    ) -> list[tuple[Any, Record | RejectedRow]]:
        records = [result for _, result in results if not isinstance(result, RejectedRow)]
        strangers = self._known.unknown_users(record[0] for record in records)
        items = self.table.schema.column_index("items")
        played = [song for record in records for song in orjson.loads(record[items])]
        unknown = self._known.unknown_songs(played)
        landed.unknown_songs = sum(song in unknown for song in played) if unknown else 0
        if not strangers:
            return results
        return [
            (row, RejectedRow(row, "user_id", UNKNOWN_USER))
            if not isinstance(result, RejectedRow) and result[0] in strangers
            else (row, result)
            for row, result in results
        ]

    def _compare(self, records: list[Record], landed: PageResult) -> list[RowChange]:
        width = self.table.schema.key_length
        # By the source's key alone: SQL compares two columns faster than three.
        asked = {} if self.into_empty else dict.fromkeys(record[: self._asked] for record in records)
        held = read_stored(self.table, list(asked))
        landed.keys.extend(hash_keys(records, width))
        landed.incoherent_times = sum(record[self._updated] < record[self._created] for record in records)
        columns = (self._created, self._updated)
        if any(max(map(itemgetter(column), records), default="") > self._now for column in columns):
            landed.future_times = sum(
                any(record[column] > self._now for column in columns) for record in records
            )
        changes = (self._change(record, held.get(record[:width]), landed) for record in records)
        return [change for change in changes if change is not None]

    def _change(self, record: Record, row: StoredRow | None, landed: PageResult) -> RowChange | None:
        if row is None:
            landed.new += 1
            return RowChange(record, None)
        landed.known += not row.unavailable
        landed.returned += row.missing
        before = row.record if row.record == record else normalize_json(self.table, row.record)
        if before == record:
            landed.unchanged += 1
            return RowChange(record, before) if row.missing else None
        landed.changed += 1
        if not row.unavailable:
            if rewrite := self.table.schema.find_rewrite(before, record):
                landed.rewritten[rewrite] += 1
            else:
                landed.reidentified += self.table.schema.is_reidentified(before, record)
            landed.emptied.update(
                name
                for name, old, new in zip(self.table.columns, before, record, strict=True)
                if new in EMPTY_VALUES and old not in EMPTY_VALUES
            )
            if record[self._created] == record[self._updated]:
                # A time that the source no longer sends is taken from the other one.
                landed.emptied.update(
                    self.table.columns[time]
                    for time in (self._created, self._updated)
                    if before[time] != record[time]
                )
        return RowChange(record, before)

    def _count_rejected(self, refusals: list[RejectedRow], landed: PageResult) -> None:
        landed.rejected = len(refusals)
        landed.rejected_identities.extend(self._identity_of(refusal.row) for refusal in refusals)
        landed.rejection_reasons.update((root_field(one.field), one.reason) for one in refusals)
        keys = [key for refusal in refusals if (key := self._validator.read_key(refusal.row)) is not None]
        held = [row for group in read_stored_groups(self.table, keys).values() for row in group]
        width = self.table.schema.key_length
        # A rejected session counts for every stored session of its listener and time.
        landed.rejected_keys.extend(hash_key(key) for key in keys if len(key) == width)
        landed.rejected_keys.extend(hash_key(row.record[:width]) for row in held)
        landed.rejected_known_keys.extend(hash_key(row.record[:width]) for row in held if not row.unavailable)

    def _identity_of(self, row: Any) -> int:
        key = None if self.table.schema.has_weak_key else self._validator.read_key(row)
        return _hash_content(row) if key is None else hash_key(key)


def _hash_content(row: Any) -> int:
    digest = blake2b(dump_json(row).encode(), digest_size=8).digest()
    return int.from_bytes(digest, signed=True)


def root_field(name: str) -> str:
    """The field of a validation error: "items" for an error in its third item."""
    return name.partition(".")[0]


def number_occurrences(
    contents: Iterable[int], stored: Mapping[int, int], kept: Collection[int] = ()
) -> dict[int, int]:
    """Number the different contents that share one key of the source.

    Stored content keeps its number, so the order of the rows does not matter. New content first takes the
    numbers of stored content that did not arrive, as a changed row does.

    Args:
        contents: different content hashes that arrived.
        stored: number to content hash of the stored rows.
        kept: stored numbers that must not be reused.
    """
    contents = list(contents)
    arrived = set(contents)
    numbers: dict[int, int] = {}
    for number, content in sorted(stored.items()):
        if content in arrived:
            numbers.setdefault(content, number)
    taken = set(numbers.values()) | set(kept)
    free = [number for number in sorted(stored) if number not in taken]
    fresh = count(max(stored, default=-1) + 1)
    for content in contents:
        if content not in numbers:
            numbers[content] = free.pop(0) if free else next(fresh)
    return numbers


def content_hash(table: MirroredTable, record: Record) -> int:
    content = "\0".join(record[table.schema.key_length :])
    return int.from_bytes(blake2b(content.encode(), digest_size=8).digest(), signed=True)


def stored_contents(table: MirroredTable, rows: Iterable[StoredRow]) -> dict[int, int]:
    place = table.schema.source_key_length
    return {row.record[place]: content_hash(table, normalize_json(table, row.record)) for row in rows}


def with_occurrence(record: Record, occurrence: int) -> Record:
    return (*record[:2], occurrence, *record[3:])


def hash_keys(records: Iterable[Record], width: int) -> Iterator[int]:
    """Yield the `hash_key` of the first `width` values of each record."""
    return map(itemgetter(0), records) if width == 1 else map(hash, map(itemgetter(slice(width)), records))


def hash_key(key: Key) -> int:
    """A hash of 64 bits, valid in this process only.

    Two of 1 000 000 different pairs have the same hash with probability 3e-8.
    """
    return int(key[0]) if len(key) == 1 else hash(key)

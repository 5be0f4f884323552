"""A page lands: its rows are validated and compared with the catalogue, and what differs is staged.

Nothing is written to the catalogue here. Counts are kept page by page, since a page that is read again
replaces itself.
"""

from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from typing import Any

import orjson

from ingestion.models import Listener, Song
from ingestion.pipeline.staging import Kind, Spool
from ingestion.pipeline.upsert import Key, Stored, Table, known_ids, spelt_alike, stored
from ingestion.source.response import dump, parse
from ingestion.source.schemas import LISTENING_HISTORY, Record, Refusal, Validator

UNKNOWN_USER = "names a user that is not known (yet)"


@dataclass
class Landed:
    """What one page held; counts of rows."""

    received: int = 0
    new: int = 0
    changed: int = 0
    unchanged: int = 0
    rejected: int = 0
    duplicates: int = 0
    returned: int = 0
    reidentified: int = 0
    known: int = 0  # accepted rows that are available in the catalogue
    incoherent_times: int = 0
    unknown_songs: int = 0
    unknown_fields: Counter[str] = field(default_factory=Counter)
    # One number a row for each key: of accepted rows, and of refused rows that say whose they are.
    keys: "array[int]" = field(default_factory=lambda: array("q"))
    refused_keys: "array[int]" = field(default_factory=lambda: array("q"))
    # Those of the refused keys that name an available row of the catalogue.
    refused_known: "array[int]" = field(default_factory=lambda: array("q"))
    # Seconds since 1970 of the newest time of each new or changed row, for its latency.
    newest: "array[float]" = field(default_factory=lambda: array("d"))


@dataclass(frozen=True)
class Change:
    """A row that the catalogue must take in; `before` is None for a new one."""

    record: Record
    before: Record | None


class Known:
    """Ids that a session may name: those of this run's rows and those in the catalogue."""

    def __init__(self) -> None:
        self.users: set[int] = set()
        self.songs: set[int] = set()

    def unknown_users(self, ids: Iterable[int]) -> set[int]:
        strangers = set(ids) - self.users
        return strangers - known_ids(Listener, strangers) if strangers else strangers

    def unknown_songs(self, ids: Iterable[int]) -> set[int]:
        strangers = set(ids) - self.songs
        return strangers - known_ids(Song, strangers) if strangers else strangers


class Landing:
    """Takes in the pages of one resource."""

    def __init__(self, table: Table, spool: Spool, known: Known, zone: tzinfo) -> None:
        self.table = table
        self.spool = spool
        self.pages: dict[int, Landed] = {}
        # Doubled rows whose two copies stood on different pages, as a row that moved would.
        self.crossing = 0
        self._known = known
        # Into an empty table everything is new: nothing need be looked up.
        self.into_empty = not table.model._default_manager.exists()
        self._created = table.schema.column("created_at")
        self._updated = table.schema.column("updated_at")
        self._validator = Validator(table.schema, zone)

    def land(self, number: int, rows: Sequence[Any], skip: frozenset[int] = frozenset()) -> Landed:
        """Validate and compare the rows of a page; the places in `skip` are duplicates of other rows."""
        landed = Landed(received=len(rows), duplicates=len(skip))
        landed.unknown_fields = self._validator.unknown_fields(rows)
        results = [
            (row, result)
            for place, (row, result) in enumerate(zip(rows, self._validator.records(rows), strict=True))
            if place not in skip
        ]
        if self.table.schema is LISTENING_HISTORY:
            results = self._without_strangers(results, landed)
        refusals = [result for _, result in results if isinstance(result, Refusal)]
        changes = self._compare([result for _, result in results if not isinstance(result, Refusal)], landed)
        self._count_refused(refusals, landed)
        self._stage(number, changes, refusals)
        # Last: a page that landed half would make counts that do not add up.
        self.pages[number] = landed
        return landed

    def drop_after(self, last: int) -> None:
        """Forget the pages past `last`: the list got shorter while it was read."""
        for number in [number for number in self.pages if number > last]:
            del self.pages[number]
        self.spool.drop_after(Kind.PAGE, last)
        self.spool.drop_after(Kind.CHANGES, last)

    def settle_duplicates(self) -> int:
        """Let one row of each key stand: the newest, and of equals the last. Returns how many went."""
        repeated = self._repeated()
        if not repeated:
            return 0
        losers, self.crossing = self._losers(repeated)
        for number, places in losers.items():
            self.land(number, self._rows(number), frozenset(places))
        return sum(map(len, losers.values()))

    def known(self) -> int:
        """How many of the catalogue's available rows were sent, whole or broken."""
        accepted = sum(landed.known for landed in self.pages.values())
        broken = {key for landed in self.pages.values() for key in landed.refused_known}
        if not broken:
            return accepted
        # A key may come twice: once whole and once broken, or broken both times.
        return accepted + len(broken.difference(*(landed.keys for landed in self.pages.values())))

    def seen(self) -> set[int]:
        """The keys of every row that was sent, refused or not."""
        keys = {key for landed in self.pages.values() for key in landed.keys}
        keys.update(key for landed in self.pages.values() for key in landed.refused_keys)
        return keys

    def changes(self) -> Iterator[Change]:
        """What was staged, in page order."""
        for staged in self._staged():
            for record, before in staged["changes"]:
                yield Change(tuple(record), None if before is None else tuple(before))

    def refusals(self) -> Iterator[Refusal]:
        """The refused rows, each as JSON text."""
        for staged in self._staged():
            yield from (Refusal(*refusal) for refusal in staged["refusals"])

    def _staged(self) -> Iterator[dict[str, Any]]:
        return (orjson.loads(body) for _, body in self.spool.bodies(Kind.CHANGES))

    def _stage(self, number: int, changes: list[Change], refusals: list[Refusal]) -> None:
        # An empty frame is written only over a fuller one, which a page read before may have left.
        if changes or refusals or self.spool.has(Kind.CHANGES, number):
            refused = [(dump(refusal.row), refusal.field, refusal.reason) for refusal in refusals]
            pairs = [(change.record, change.before) for change in changes]
            self.spool.append(Kind.CHANGES, number, orjson.dumps({"changes": pairs, "refusals": refused}))

    def _rows(self, number: int) -> list[Any]:
        rows: list[Any] = parse(self.spool.read(Kind.PAGE, number))["items"]
        return rows

    def _repeated(self) -> set[int]:
        seen: set[int] = set()
        repeated: set[int] = set()
        for landed in self.pages.values():
            for key in landed.keys:
                (repeated if key in seen else seen).add(key)
        return repeated

    def _losers(self, repeated: set[int]) -> tuple[dict[int, list[int]], int]:
        """Page: places of the rows that must not stand; and how many have their twin on another page."""
        best: dict[int, tuple[str, int, int]] = {}
        crossing = 0
        losers: defaultdict[int, list[int]] = defaultdict(list)
        for number in sorted(self.pages):
            if repeated.isdisjoint(self.pages[number].keys):
                continue
            for place, record in enumerate(self._validator.records(self._rows(number))):
                key = None if isinstance(record, Refusal) else number_of(record[: self.table.schema.key])
                if key not in repeated:
                    continue
                candidate = (record[self.table.schema.column("updated_at")], number, place)
                winner, loser = sorted((best.get(key, candidate), candidate), reverse=True)
                best[key] = winner
                if winner != loser:
                    losers[loser[1]].append(loser[2])
                    crossing += winner[1] != loser[1]
        return losers, crossing

    def _without_strangers(
        self, results: list[tuple[Any, Record | Refusal]], landed: Landed
    ) -> list[tuple[Any, Record | Refusal]]:
        """Refuse sessions of unknown users, and count the songs that nobody knows."""
        records = [result for _, result in results if not isinstance(result, Refusal)]
        strangers = self._known.unknown_users(record[0] for record in records)
        played = [song for record in records for song in orjson.loads(record[3])]
        unknown = self._known.unknown_songs(played)
        landed.unknown_songs = sum(song in unknown for song in played) if unknown else 0
        if not strangers:
            return results
        return [
            (row, Refusal(row, "user_id", UNKNOWN_USER))
            if not isinstance(result, Refusal) and result[0] in strangers
            else (row, result)
            for row, result in results
        ]

    def _compare(self, records: list[Record], landed: Landed) -> list[Change]:
        width = self.table.schema.key
        held = {} if self.into_empty else stored(self.table, [record[:width] for record in records])
        landed.keys.extend(number_of(record[:width]) for record in records)
        landed.incoherent_times = sum(record[self._updated] < record[self._created] for record in records)
        changes = (self._change(record, held.get(record[:width]), landed) for record in records)
        return [change for change in changes if change is not None]

    def _change(self, record: Record, row: Stored | None, landed: Landed) -> Change | None:
        """What the catalogue must take in of this record; None where it holds just this."""
        if row is None:
            landed.new += 1
            landed.newest.append(self._newest(record))
            return Change(record, None)
        landed.known += not row.unavailable
        landed.returned += row.missing
        before = row.record if row.record == record else spelt_alike(self.table, row.record)
        if before == record:
            landed.unchanged += 1
            return Change(record, before) if row.missing else None
        landed.changed += 1
        landed.newest.append(self._newest(record))
        landed.reidentified += not row.unavailable and self._means_another(before, record)
        return Change(record, before)

    def _newest(self, record: Record) -> float:
        newest = max(record[self._created], record[self._updated])
        return datetime.fromisoformat(newest + "+00:00").timestamp()

    def _means_another(self, before: Record, after: Record) -> bool:
        return any(before[place] != after[place] for place in self.table.schema.identity)

    def _count_refused(self, refusals: list[Refusal], landed: Landed) -> None:
        landed.rejected = len(refusals)
        keys = [key for refusal in refusals if (key := self._validator.key(refusal.row)) is not None]
        landed.refused_keys.extend(number_of(key) for key in keys)
        held = stored(self.table, keys)
        landed.refused_known.extend(number_of(key) for key, row in held.items() if not row.unavailable)


def number_of(key: Key) -> int:
    """64 bits for a key, equal for equal keys within this process: 8 bytes a row where a tuple takes 200.

    Two different pairs of 1 000 000 share one by chance in 3 cases of 100 000 000.
    """
    return int(key[0]) if len(key) == 1 else hash(key)

"""Rows that are wrong, the same ones in every reading: a row's key decides, not its place or the hour."""

import math
from collections import Counter
from collections.abc import Callable, Hashable
from datetime import datetime, timedelta
from threading import RLock
from typing import Any, Final

from ingestion.demo.faults.spec import EVENT, ROWS, TOTAL, Faults, Rule, share_of
from ingestion.demo.source import (
    LISTEN_HISTORY,
    RESOURCES,
    TRACKS,
    USERS,
    Row,
    Snapshot,
    Source,
    Table,
    key_of,
    stamp,
)

Breakage = Callable[[Row], Any]
# No catalogue of the twin gives an id as large.
UNKNOWN_ID: Final = 900_000_000_000
# Rules that name a page mean pages of this size.
PAGE: Final = 100


def _set(name: str, value: Any) -> Breakage:
    return lambda row: {**row, name: value}


def _without(name: str) -> Breakage:
    return lambda row: {key: value for key, value in row.items() if key != name}


def _with_nul(name: str) -> Breakage:
    return lambda row: {**row, name: f"{row[name]}\x00"}


BREAKAGES: Final[dict[str, tuple[Breakage, ...]]] = {
    TRACKS: (
        _set("duration", "99:99"), _without("name"), _with_nul("name"), _set("id", "seven"),
        _set("genres", 7), _set("created_at", "yesterday"), _set("audio_features", "loud"),
        _set("duration", 215),
    ),
    USERS: (
        _without("email"), _with_nul("first_name"), _set("id", None), _set("favorite_genres", ["Jazz"]),
        _set("updated_at", None), _set("created_at", 1_735_689_600), lambda row: list(row.values()),
    ),
    LISTEN_HISTORY: (
        _set("items", "none"), _set("items", [1, "two"]), _without("updated_at"), _set("created_at", "noon"),
        _set("user_id", "nobody"), lambda _: None,
    ),
}  # fmt: skip


def damaged(resource: str, rows: Table, rules: tuple[Rule, ...], seed: int) -> Table:
    """The rows of a resource after all rules; the same object where no rule concerns it."""
    for rule in rules:
        if rule.name in {"badrow", "duplicate"} or resource == LISTEN_HISTORY:
            rows = [sent for at, row in enumerate(rows) for sent in _sent(resource, row, at, rule, seed)]
    return rows


def _sent(resource: str, row: Any, at: int, rule: Rule, seed: int) -> tuple[Any, ...]:
    """What stands in the place of one row."""
    luck = _luck(resource, row, rule, seed)
    if luck >= rule.rate or rule.page not in {None, at // PAGE + 1}:
        return (row,)
    if rule.name == "duplicate":
        return (row, row)
    if rule.name == "badrow":
        breakages = BREAKAGES[resource]
        return (breakages[int(luck / rule.rate * len(breakages))](row),)
    return (_misdirected(row, rule, UNKNOWN_ID + int(luck * 1_000_000_000)),)


def _misdirected(row: Row, rule: Rule, unknown: int) -> Row:
    if rule.name == "unknownsong":
        return {**row, "items": [*(row["items"] or []), unknown]}
    return {**row, "user_id": None if rule.name == "nulluser" else unknown}


def _luck(resource: str, row: Any, rule: Rule, seed: int) -> float:
    """Below the rule's rate for the rows it strikes; a row that is already broken is left alone."""
    try:
        return share_of(seed, rule.name, resource, key_of(resource, row))
    except (KeyError, TypeError):
        return 1.0


# How many rows vanish and come with one shift.
SHIFTED: Final = 3


class FaultySource:
    """A source seen through its row faults, its events and its lies about totals.

    Row faults and shifts are worked out over whole tables, once for each version; with none of them the
    source's own tables are passed on.
    """

    def __init__(self, source: Source, faults: Faults) -> None:
        self._source = source
        self._seed = faults.seed
        self._row_rules, self._events = faults.of(ROWS), faults.of(EVENT)
        self._lies = faults.of(TOTAL)
        self._gone: dict[str, set[Hashable]] = {resource: set() for resource in RESOURCES}
        self._come: dict[str, list[Row]] = {resource: [] for resource in RESOURCES}
        self._shifts = 0
        self._happened: Counter[Hashable] = Counter()
        self._served: Counter[Hashable] = Counter()
        self._lock = RLock()
        self._seen: Snapshot | None = None
        for resource in RESOURCES:
            self.served(resource, 0)

    def snapshot(self) -> Snapshot:
        """The rows as they are to be served now."""
        base = self._source.snapshot()
        if not (self._row_rules or self._shifts):
            return base
        with self._lock:
            version = (base.version, self._shifts)
            if self._seen is None or self._seen.version != version:
                tables = {
                    resource: damaged(resource, self._shifted(resource, rows), self._row_rules, self._seed)
                    for resource, rows in base.tables.items()
                }
                self._seen = Snapshot(version, tables)
            return self._seen

    def total(self, page: int, rows: int) -> int:
        """How many rows the source says it has, on this page."""
        for rule in self._lies:
            if rule.page in {None, page}:
                return rows + max(1, math.ceil(rows * rule.rate))
        return rows

    def served(self, resource: str, page: int) -> None:
        """Let happen what happens after a page was served."""
        if not self._events:
            return
        with self._lock:
            self._served[resource, page] += 1
            for rule in self._events:
                if self._is_due(rule, resource, page):
                    self._happen(rule, resource)

    def _is_due(self, rule: Rule, resource: str, page: int) -> bool:
        if rule.page is None:
            return (
                page > 0
                and share_of(self._seed, rule.name, resource, page, self._served[resource, page]) < rule.rate
            )
        # A restart concerns all resources at once, so it is counted once for all of them.
        event = (rule, None if rule.name == "reset" else resource)
        if rule.page != page or self._happened[event] >= (rule.times or 1):
            return False
        self._happened[event] += 1
        return True

    def _happen(self, rule: Rule, resource: str) -> None:
        if rule.name == "reset":
            for forgotten in RESOURCES:
                self._gone[forgotten].clear()
                self._come[forgotten].clear()
            self._source.new_catalogue()
            return
        rows = self._shifted(resource, self._source.snapshot().tables[resource])
        come = [_fresh(resource, rows, number) for number in range(1, SHIFTED + 1)] if len(rows) else []
        self._gone[resource].update(key_of(resource, row) for row in rows[: len(come)])
        self._come[resource] += come
        self._shifts += 1

    def _shifted(self, resource: str, rows: Table) -> Table:
        gone, come = self._gone[resource], self._come[resource]
        if not gone:
            return rows
        return [row for row in [*rows, *come] if key_of(resource, row) not in gone]


def _fresh(resource: str, rows: Table, number: int) -> Row:
    """A new row made of an old one, with a key that no row has."""
    row = rows[-1]
    if resource == LISTEN_HISTORY:
        later = datetime.fromisoformat(row["created_at"]) + timedelta(microseconds=number)
        return {**row, "created_at": stamp(later)}
    new_id = max(other["id"] for other in rows) + number
    change = (
        {"name": f"{row.get('name')} (Reissue {number})"}
        if resource == TRACKS
        else {"email": f"newcomer{new_id}@example.org"}
    )
    return {**row, "id": new_id, **change}

"""Faults in rows; they depend on a row's key, so every read finds the same faults."""

import math
from collections import Counter
from collections.abc import Callable, Hashable
from datetime import datetime, timedelta
from threading import RLock
from typing import Any, Final

from ingestion.demo.faults.spec import (
    EVENT_LAYER,
    ROW_LAYER,
    TOTAL_LAYER,
    FaultRule,
    FaultSpec,
    hash_fraction,
)
from ingestion.demo.source import (
    LISTEN_HISTORY,
    RESOURCES,
    TRACKS,
    USERS,
    Row,
    Snapshot,
    Source,
    Table,
    format_timestamp,
    row_key,
)

RowBreaker = Callable[[Row], Any]
# Larger than every id of the demo source.
UNKNOWN_ID: Final = 900_000_000_000
# `@3` in a row rule means the third page of this size, even if the client requests another size.
RULE_PAGE_SIZE: Final = 100


def _set(name: str, value: Any) -> RowBreaker:
    return lambda row: {**row, name: value}


def _without(name: str) -> RowBreaker:
    return lambda row: {key: value for key, value in row.items() if key != name}


def _with_nul(name: str) -> RowBreaker:
    return lambda row: {**row, name: f"{row[name]}\x00"}


# Each breaks an identifying field, because a run keeps a row in which only another field is invalid.
ROW_BREAKERS: Final[dict[str, tuple[RowBreaker, ...]]] = {
    TRACKS: (
        _set("id", "seven"), _without("name"), _with_nul("name"), _set("id", None), _set("artist", None),
        _set("id", 1.5), _set("artist", {}), lambda row: list(row.values()),
    ),
    USERS: (
        _set("id", None), _set("id", True), _set("id", "x1"), _without("id"), _set("id", []),
        lambda row: list(row.values()),
    ),
    LISTEN_HISTORY: (
        _set("created_at", "noon"), _without("created_at"), _set("created_at", 20_261_120),
        _set("user_id", "nobody"), _without("user_id"), lambda _: None,
    ),
}  # fmt: skip


def apply_row_faults(resource: str, rows: Table, rules: tuple[FaultRule, ...], seed: int) -> Table:
    for rule in rules:
        if rule.name in {"badrow", "duplicate"} or resource == LISTEN_HISTORY:
            rows = [
                sent for at, row in enumerate(rows) for sent in _apply_rule(resource, row, at, rule, seed)
            ]
    return rows


def _apply_rule(resource: str, row: Any, at: int, rule: FaultRule, seed: int) -> tuple[Any, ...]:
    luck = _draw_fraction(resource, row, rule, seed)
    if luck >= rule.rate or rule.page not in {None, at // RULE_PAGE_SIZE + 1}:
        return (row,)
    if rule.name == "duplicate":
        return (row, row)
    if rule.name == "badrow":
        breakages = ROW_BREAKERS[resource]
        return (breakages[int(luck / rule.rate * len(breakages))](row),)
    return (_with_unknown_id(row, rule, UNKNOWN_ID + int(luck * 1_000_000_000)),)


def _with_unknown_id(row: Row, rule: FaultRule, unknown: int) -> Row:
    if rule.name == "unknownsong":
        return {**row, "items": [*(row["items"] or []), unknown]}
    return {**row, "user_id": None if rule.name == "nulluser" else unknown}


def _draw_fraction(resource: str, row: Any, rule: FaultRule, seed: int) -> float:
    try:
        return hash_fraction(seed, rule.name, resource, row_key(resource, row))
    except (KeyError, TypeError):
        return 1.0


# One shift removes this many rows and adds as many.
SHIFTED_ROWS: Final = 3


class FaultySource:
    """Injects row faults, events such as a reset, and wrong totals.

    Computes each version of the tables once. Without row faults and shifts it returns the source's tables.
    """

    def __init__(self, source: Source, faults: FaultSpec) -> None:
        self._source = source
        self._seed = faults.seed
        self._row_rules, self._events = faults.rules_for(ROW_LAYER), faults.rules_for(EVENT_LAYER)
        self._lies = faults.rules_for(TOTAL_LAYER)
        self._gone: dict[str, set[Hashable]] = {resource: set() for resource in RESOURCES}
        self._come: dict[str, list[Row]] = {resource: [] for resource in RESOURCES}
        self._shifts = 0
        self._happened: Counter[Hashable] = Counter()
        self._served: Counter[Hashable] = Counter()
        self._lock = RLock()
        self._seen: Snapshot | None = None
        for resource in RESOURCES:
            self.after_page(resource, 0)

    def snapshot(self) -> Snapshot:
        base = self._source.snapshot()
        if not (self._row_rules or self._shifts):
            return base
        with self._lock:
            version = (base.version, self._shifts)
            if self._seen is None or self._seen.version != version:
                tables = {
                    resource: apply_row_faults(
                        resource, self._rows_after_shifts(resource, rows), self._row_rules, self._seed
                    )
                    for resource, rows in base.tables.items()
                }
                self._seen = Snapshot(version, tables)
            return self._seen

    def reported_total(self, page: int, rows: int) -> int:
        for rule in self._lies:
            if rule.page in {None, page}:
                return rows + max(1, math.ceil(rows * rule.rate))
        return rows

    def after_page(self, resource: str, page: int) -> None:
        if not self._events:
            return
        with self._lock:
            self._served[resource, page] += 1
            for rule in self._events:
                if self._is_due(rule, resource, page):
                    self._apply_event(rule, resource)

    def _is_due(self, rule: FaultRule, resource: str, page: int) -> bool:
        if rule.page is None:
            return (
                page > 0
                and hash_fraction(self._seed, rule.name, resource, page, self._served[resource, page])
                < rule.rate
            )
        # A reset affects all resources, so it is counted once and not once per resource.
        event = (rule, None if rule.name == "reset" else resource)
        if rule.page != page or self._happened[event] >= (rule.times or 1):
            return False
        self._happened[event] += 1
        return True

    def _apply_event(self, rule: FaultRule, resource: str) -> None:
        if rule.name == "reset":
            for forgotten in RESOURCES:
                self._gone[forgotten].clear()
                self._come[forgotten].clear()
            self._source.new_catalogue()
            return
        rows = self._rows_after_shifts(resource, self._source.snapshot().tables[resource])
        come = (
            [_new_row_like_last(resource, rows, number) for number in range(1, SHIFTED_ROWS + 1)]
            if len(rows)
            else []
        )
        self._gone[resource].update(row_key(resource, row) for row in rows[: len(come)])
        self._come[resource] += come
        self._shifts += 1

    def _rows_after_shifts(self, resource: str, rows: Table) -> Table:
        gone, come = self._gone[resource], self._come[resource]
        if not gone:
            return rows
        return [row for row in [*rows, *come] if row_key(resource, row) not in gone]


def _new_row_like_last(resource: str, rows: Table, number: int) -> Row:
    row = rows[-1]
    if resource == LISTEN_HISTORY:
        later = datetime.fromisoformat(row["created_at"]) + timedelta(microseconds=number)
        return {**row, "created_at": format_timestamp(later)}
    new_id = max(other["id"] for other in rows) + number
    change = (
        {"name": f"{row.get('name')} (Reissue {number})"}
        if resource == TRACKS
        else {"email": f"newcomer{new_id}@example.org"}
    )
    return {**row, "id": new_id, **change}

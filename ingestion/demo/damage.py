"""Rows that are wrong, the same ones in every reading: a row's key decides, not its place or the hour."""

from collections.abc import Callable
from typing import Any, Final

from ingestion.demo.draws import share_of
from ingestion.demo.faults import Rule
from ingestion.demo.source import LISTEN_HISTORY, TRACKS, USERS, Row, Table, key_of

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

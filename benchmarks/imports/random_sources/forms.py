"""How a random source writes its rows: in other formats, and with damaged fields.

Each damage states what remains of the value, so that the reference need not parse anything.
"""

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from benchmarks.imports.random_sources.content import SESSIONS, SONGS, USERS, Row

# The row is rejected, because a field that identifies it cannot be read.
REFUSED: Final = object()
Writer = Callable[[Any], Any]


def _clock(microseconds: int) -> str:
    seconds = microseconds // 1_000_000
    return f"{seconds // 60:02}:{seconds % 60:02}"


def _long_clock(microseconds: int) -> str:
    seconds = microseconds // 1_000_000
    return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"


def _iso_duration(microseconds: int) -> str:
    seconds = microseconds // 1_000_000
    return f"PT{seconds // 60}M{seconds % 60}S"


def _iso(moment: datetime) -> str:
    return moment.isoformat()


def _offset(moment: datetime) -> str:
    return (moment + timedelta(hours=2)).isoformat() + "+02:00"


def _since_1970(unit: timedelta) -> Writer:
    return lambda moment: (moment - datetime.fromisoformat("1970-01-01")) // unit


DURATION_WRITERS: Final[tuple[Writer, ...]] = (
    _long_clock, _iso_duration, lambda value: value // 1_000_000, lambda value: str(value // 1_000_000),
    lambda value: value / 1_000_000,
)  # fmt: skip
EXACT_TIME_WRITERS: Final[tuple[Writer, ...]] = (
    lambda moment: _iso(moment) + "Z", _offset, lambda moment: moment.isoformat(" "),
    _since_1970(timedelta(microseconds=1)),
    lambda moment: str(_since_1970(timedelta(microseconds=1))(moment)),
)  # fmt: skip
SECOND_TIME_WRITERS: Final = (
    *EXACT_TIME_WRITERS,
    _since_1970(timedelta(seconds=1)),
    _since_1970(timedelta(milliseconds=1)),
)
TIMES: Final = ("created_at", "updated_at")
IDS: Final = ("id", "user_id")
IDENTIFYING: Final = {SONGS: {"id", "name", "artist"}, USERS: {"id"}, SESSIONS: {"user_id", "created_at"}}
TEXT_FIELDS: Final = {
    SONGS: ("name", "artist", "songwriters", "genres", "album"),
    USERS: ("first_name", "last_name", "email", "gender", "favorite_genres"), SESSIONS: (),
}  # fmt: skip
EMPTY: Final[dict[str, Any]] = {"duration": 0, "audio_features": None, "release_year": None, "items": []}
ABSENT: Final = object()

# Field: what is sent, and what is left of it. TEXT stands for a text that identifies nothing.
TEXT_DAMAGE: Final[tuple[tuple[Any, Any], ...]] = (
    (None, ""), (True, ""), ([], ""), ({}, ""), ([1], ""), (ABSENT, ""), (12, "12"), (1.5, "1.5"),
    (["a", "b"], "a, b"), ("a\0b", "ab"), ("a\ud800b", "ab"),
)  # fmt: skip
NAME_DAMAGE: Final[tuple[tuple[Any, Any], ...]] = (
    (None, REFUSED), (True, REFUSED), ([], REFUSED), ({}, REFUSED), (ABSENT, REFUSED), ("a\0b", REFUSED),
    ("a\ud800b", REFUSED), (12, "12"), (["a", "b"], "a, b"),
)  # fmt: skip
ID_DAMAGE: Final = tuple(
    (value, REFUSED) for value in (None, "abc", "", 1.5, True, [], {}, 2**63, "1.5", ABSENT)
)
TIME_DAMAGE: Final[tuple[Any, ...]] = (
    None,
    "yesterday",
    "",
    12,
    True,
    {},
    [],
    "2026-02-30T00:00:00",
    float("nan"),
    ABSENT,
)
OTHER_DAMAGE: Final[dict[str, tuple[tuple[Any, Any], ...]]] = {
    "duration": (
        (None, 0), ("abc", 0), (-5, 0), (True, 0), ({}, 0), ("", 0), (float("inf"), 0), ("3:99", 0),
        (ABSENT, 0),
    ),
    "audio_features": (
        ("x", None), ([], None), (1, None), ({"a\0": 1.0}, {}), ({"tempo": True}, {"tempo": None}),
        ({"tempo": "fast", "energy": 0.5}, {"tempo": None, "energy": 0.5}),
    ),
    "release_year": (("1999", 1999), (99_999, None), (-1, None), ("abc", None), (1999.0, 1999), ([], None)),
    "items": (
        ("abc", []), ({}, []), ([1, "2", None, "x", 3.0], [1, 2, 3]), ([[1]], []), (ABSENT, []), (5, []),
        ([2**63, 1], [1]),
    ),
}  # fmt: skip
NO_ROW: Final[tuple[Any, ...]] = (None, [], "text", 5, {}, [{"id": 1}], True)


@dataclass
class ListForm:
    """How one list is written on one day.

    Attributes:
        writers: field to the function that writes its value, in place of the contract's.
        renamed: field to its new name.
        damaged: place of a row in the day's order of making, to its damage.
        is_harmless: a run must succeed in spite of it.
    """

    name: str
    writers: dict[str, Writer] = field(default_factory=dict)
    renamed: dict[str, str] = field(default_factory=dict)
    extras: Row = field(default_factory=dict)
    damage: dict[Any, tuple[str, Any, Any]] = field(default_factory=dict)
    labels: list[str] = field(default_factory=list)
    is_harmless: bool = True

    def write(self, row: Row) -> Any:
        broken = self.damage.get(identity(self.name, row))
        if broken and broken[0] == "row":
            return broken[1]
        sent = {}
        for name, value in row.items():
            if name == "uid":
                continue
            writer = self.writers.get(name) or _DEFAULTS.get(name)
            sent[self.renamed.get(name, name)] = writer(value) if writer and value is not None else value
        if broken:
            name, value, _ = broken
            if value is ABSENT:
                sent.pop(name, None)
            else:
                sent[name] = value
        return sent | self.extras

    def expect(self, row: Row) -> Row | None:
        """What must be stored of the row; None if it must be rejected."""
        expected = {name: value for name, value in row.items() if name != "uid"}
        broken = self.damage.get(identity(self.name, row))
        for name in self.renamed:
            if broken is not None and broken[0] == name:
                continue  # `write` sends the damaged value under the old name
            if name in IDENTIFYING[self.name]:
                return None
            expected[name] = _left_of(name, row)
        if broken is None:
            return expected
        name, _, left = broken
        if left is REFUSED:
            return None
        if name in TIMES:
            other = TIMES[1 - TIMES.index(name)]
            return expected | {name: expected[other]}
        return expected | {name: left}

    def is_damaged(self, row: Row) -> bool:
        return identity(self.name, row) in self.damage


_DEFAULTS: Final[dict[str, Writer]] = {"duration": _clock, "created_at": _iso, "updated_at": _iso}


def identity(name: str, row: Row) -> Any:
    return row["uid"] if name == SESSIONS else row["id"]


def _left_of(name: str, row: Row) -> Any:
    if name in TIMES:
        return row[TIMES[1 - TIMES.index(name)]]
    return EMPTY.get(name, "")


def draw_form(rng: random.Random, name: str, rows: list[Row], resolution: str, wildness: float) -> ListForm:
    """Choose at random how the source writes a list: formats, damaged rows, a renamed or an unknown field.

    `wildness` scales the probabilities; at 0 the list is written as usual.
    """
    form = ListForm(name)
    if rng.random() < wildness:
        _draw_writers(rng, form, resolution)
    if rng.random() < wildness / 2:
        _draw_damage(rng, form, rows)
    if rng.random() < wildness / 6:
        _draw_rename(rng, form, rows)
    if rng.random() < wildness / 4:
        form.extras = rng.choice(
            ({"x\0y": 1}, {"k" * 500: None}, {"isrc": "abc"}, {"": 0}, {"nested": {"a\0": ["\ud800"]}})
        )
        form.labels.append("unknown field")
    return form


def _draw_writers(rng: random.Random, form: ListForm, resolution: str) -> None:
    kind = rng.choice(("ids", "times", "duration", "genres", "items"))
    times = EXACT_TIME_WRITERS if resolution == "micro" else SECOND_TIME_WRITERS
    if kind == "ids":
        writer = rng.choice(
            (str, lambda value: f" {value} ", lambda value: float(value) if abs(value) < 2**53 else value)
        )
        form.writers |= dict.fromkeys(IDS, writer)
    elif kind == "times":
        form.writers |= dict.fromkeys(TIMES, rng.choice(times))
    elif kind == "duration" and form.name == SONGS:
        form.writers["duration"] = rng.choice(DURATION_WRITERS)
    elif kind == "genres":
        form.writers |= dict.fromkeys(("genres", "favorite_genres"), lambda value: value.split(", "))
    elif kind == "items":
        form.writers["items"] = lambda value: [str(one) for one in value]
    form.labels.append(f"{kind} in another form")


def _draw_damage(rng: random.Random, form: ListForm, rows: list[Row]) -> None:
    share = rng.choice((0.03, 0.1, 0.4, 1.0))
    one_kind = rng.random() < 0.5
    chosen = _choose_damage(rng, form.name)
    hit = 0
    for row in rows:
        if rng.random() < share:
            damage = chosen if one_kind else _choose_damage(rng, form.name)
            form.damage[identity(form.name, row)] = damage
            hit += 1
    form.labels.append(f"{hit} of {len(rows)} rows damaged ({json.dumps(chosen[:2], default=repr)})")
    refused = sum(damage[2] is REFUSED for damage in form.damage.values())
    form.is_harmless = refused <= 0.04 * len(rows) and hit <= 0.12 * len(rows)


def _choose_damage(rng: random.Random, name: str) -> tuple[str, Any, Any]:
    if rng.random() < 0.15:
        return ("row", rng.choice(NO_ROW), REFUSED)
    fields = [*TEXT_FIELDS[name], *TIMES]
    fields += {
        SONGS: ["id", "duration", "audio_features", "release_year"],
        USERS: ["id"],
        SESSIONS: ["user_id", "items"],
    }[name]
    field_name = rng.choice(fields)
    identifying = field_name in IDENTIFYING[name]
    if field_name in IDS:
        return (field_name, *rng.choice(ID_DAMAGE))
    if field_name in TIMES:
        return (field_name, rng.choice(TIME_DAMAGE), REFUSED if identifying else ABSENT)
    if field_name in OTHER_DAMAGE:
        return (field_name, *rng.choice(OTHER_DAMAGE[field_name]))
    return (field_name, *rng.choice(NAME_DAMAGE if identifying else TEXT_DAMAGE))


def _draw_rename(rng: random.Random, form: ListForm, rows: list[Row]) -> None:
    if not rows:
        return
    name = rng.choice([name for name in rows[0] if name != "uid"])
    form.renamed[name] = f"{name}_new"
    form.labels.append(f"{name} renamed")
    form.is_harmless = False

"""Events of a simulation's scenario file, and a demo source that carries them out."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Final

import orjson

from ingestion.demo.source import TRACKS, Row, Snapshot
from ingestion.demo.world.styles import FEATURES, STYLES
from ingestion.demo.world.world import World


class ScenarioSource:
    """A demo source that can send wrong audio features or another catalogue."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._replacement: World | None = None
        self._broken: dict[str, float | None] = {}
        self._since = ""
        self._planted = 0
        self._seen: Snapshot | None = None

    def snapshot(self) -> Snapshot:
        base = (self._replacement or self._world).snapshot()
        if not self._broken:
            return Snapshot((base.version, self._planted), base.tables)
        version = (base.version, self._planted)
        if self._seen is None or self._seen.version != version:
            songs = [self._broken_row(row) for row in base.tables[TRACKS]]
            self._seen = Snapshot(version, {**base.tables, TRACKS: songs})
        return self._seen

    def new_catalogue(self) -> None:
        """Serve other songs and listeners under the same ids, until `restore_catalogue`."""
        world = self._world
        self._replacement = World.ending_on(
            world.today, seed=world.seed, songs=len(world.rows("tracks")), listeners=len(world.rows("users")),
            days=1, proportional_changes=True,
        )  # fmt: skip
        self._replacement.new_catalogue()
        self._planted += 1

    def restore_catalogue(self) -> None:
        self._replacement = None
        self._planted += 1

    def break_feature(self, feature: str, value: float | None, since: date) -> None:
        """Replace the feature's value in songs added or changed since this day."""
        self._broken[feature] = value
        self._since = format_day_start(since)
        self._planted += 1

    def restore_features(self) -> None:
        self._broken = {}
        self._planted += 1

    def _broken_row(self, row: Row) -> Row:
        if max(row["created_at"], row["updated_at"]) < self._since or row["audio_features"] is None:
            return row
        return {**row, "audio_features": {**row["audio_features"], **self._broken}}


def format_day_start(day: date) -> str:
    return f"{day.isoformat()}T00:00:00.000000"


DAYS_PER_WEEK: Final = 7
# Event kinds with their parameters and default values.
EVENT_DEFAULTS: Final[dict[str, dict[str, Any]]] = {
    "better": {},
    "outage": {"days": 2},
    "feed": {"days": 7, "feature": "energy", "value": None},
    "worse": {},
    "drift": {"styles": ["Metal", "Punk"], "weight": 0.6},
    "reset": {"days": 2},
}
EVENT_DESCRIPTIONS: Final = {
    "better": "the first champion is trained with the classic method, so the next candidate should be better",
    "outage": "the source can't be reached for `days` days",
    "feed": "an audio feature of new and changed songs is `value` (null: missing) for `days` days",
    "worse": "a candidate with corrupted listener data is proposed as a refresh",
    "drift": "all listeners want `styles` more: they make up `weight` (0 to 1) of their taste",
    "reset": "for `days` days the source serves other songs and listeners under the same ids",
}


@dataclass(frozen=True)
class ScenarioEvent:
    kind: str
    first_day: int  # 0 is the simulation's first day, a Monday
    days: int = 0  # duration; 0 for an event that happens once
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def begins_on(self, day: int) -> bool:
        return day == self.first_day

    def ends_on(self, day: int) -> bool:
        return self.days > 0 and day == self.first_day + self.days

    @property
    def description(self) -> str:
        days = f"{self.days} days" if self.days != 1 else "1 day"
        feature = self.parameters.get("feature")
        return {
            "better": "the first champion is of the classic method",
            "outage": f"source down for {days}",
            "feed": f"{feature} is {_describe_value(self.parameters.get('value'))} for {days}",
            "worse": "a corrupted candidate is proposed",
            "drift": f"tastes move towards {' and '.join(self.parameters.get('styles', ()))}",
            "reset": f"source has another catalogue for {days}",
        }[self.kind]


def parse_scenario(text: bytes | str, *, weeks: int) -> list[ScenarioEvent]:
    """The events by first day; those after the last week are left out.

    Raises:
        ValueError: invalid JSON, or an unknown event or parameter; the message lists the valid ones.
    """
    try:
        events = orjson.loads(text)["events"]
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(f'this is not a scenario, expected {{"events": [...]}}: {error}') from error
    parsed = [_parse_event(row) for row in events]
    return sorted(
        (event for event in parsed if event.first_day < weeks * DAYS_PER_WEEK),
        key=lambda event: event.first_day,
    )


def describe_events() -> str:
    return "\n".join(
        f"  {name:<8} {EVENT_DESCRIPTIONS[name]}"
        + (f" (default: {orjson.dumps(terms).decode()})" if terms else "")
        for name, terms in EVENT_DEFAULTS.items()
    )


def _parse_event(row: Any) -> ScenarioEvent:
    defaults = EVENT_DEFAULTS.get(str(row.get("event"))) if isinstance(row, dict) else None
    if defaults is None:
        raise ValueError(f"unknown event {row!r}; the events are:\n{describe_events()}")
    unknown = set(row) - {"event", "week", "day", *defaults}
    week, day = row.get("week"), row.get("day", 1)
    if unknown or not (isinstance(week, int) and week >= 1 and day in range(1, DAYS_PER_WEEK + 1)):
        raise ValueError(
            f"{row!r}: expected a week from 1, a day from 1 (Monday) to 7, and any of {sorted(defaults)}"
        )
    terms = {**defaults, **{name: row[name] for name in defaults if name in row}}
    _check_parameters(row, terms)
    return ScenarioEvent(row["event"], (week - 1) * DAYS_PER_WEEK + day - 1, int(terms.pop("days", 0)), terms)


def _check_parameters(row: Mapping[str, Any], terms: Mapping[str, Any]) -> None:
    names = {style.name for style in STYLES}
    if not (isinstance(terms.get("days", 1), int) and terms.get("days", 1) >= 1):
        raise ValueError(f"{row!r}: days must be a whole number from 1")
    if terms.get("feature", FEATURES[0]) not in FEATURES:
        raise ValueError(f"{row!r}: the features are {', '.join(FEATURES)}")
    if "styles" in terms and not (terms["styles"] and set(terms["styles"]) <= names):
        raise ValueError(f"{row!r}: the styles are {', '.join(sorted(names))}")
    if not 0 <= terms.get("weight", 0) <= 1:
        raise ValueError(f"{row!r}: the weight must be from 0 to 1")


def _describe_value(value: object) -> str:
    return "missing" if value is None else f"always {value}"

"""A simulation's scenario file, and a demo source that carries out its events."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any, Final

import orjson

from ingestion.demo.source import LISTEN_HISTORY, TRACKS, Row, Snapshot
from ingestion.demo.world.styles import FEATURES, STYLES
from ingestion.demo.world.world import World


class ScenarioSource:
    """A demo source that can send wrong audio features, late sessions or another catalogue."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._replacement: World | None = None
        self._broken: dict[str, float | None] = {}
        self._since = ""
        self._delay_days = 0
        self._delayed_since = world.today
        self._planted = 0
        self._seen: Snapshot | None = None

    def snapshot(self) -> Snapshot:
        base = (self._replacement or self._world).snapshot()
        version = (base.version, self._planted)
        if not self._broken and not self._delay_days:
            return Snapshot(version, base.tables)
        if self._seen is None or self._seen.version != version:
            songs = [self._broken_row(row) for row in base.tables[TRACKS]]
            # What was sent before the delay began stays.
            first_late = self._world.today - timedelta(days=self._delay_days - 1)
            until = format_day_start(max(self._delayed_since, first_late))
            sessions = base.tables[LISTEN_HISTORY]
            if self._delay_days:
                sessions = [row for row in sessions if row["created_at"] < until]
            self._seen = Snapshot(version, {**base.tables, TRACKS: songs, LISTEN_HISTORY: sessions})
        return self._seen

    def new_catalogue(self) -> None:
        """Send other songs and listeners under the same ids, until `restore_catalogue`."""
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
        """Send this value of a feature in all songs added or changed since this day."""
        self._broken[feature] = value
        self._since = format_day_start(since)
        self._planted += 1

    def delay_history(self, days: int) -> None:
        """Leave out the sessions of the last days; 0 sends all of them again."""
        self._delay_days, self._delayed_since = days, self._world.today + timedelta(days=1)
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
    "drift": {"styles": ["Metal", "Punk"], "weight": 0.6, "weeks": 1},
    "reset": {"days": 2},
    "fad": {"days": 14, "styles": ["Metal", "Punk"], "weight": 0.6},
    "late": {"days": 7, "delay": 4},
    "bots": {"days": 28, "share": 0.1},
    "broken": {"days": 7, "share": 0.1},
    "ratchet": {"days": 84, "strength": 0.05},
}
EVENT_DESCRIPTIONS: Final = {
    "better": "the first champion is trained with the classic method, so the next candidate should be better",
    "outage": "the source can't be reached for `days` days",
    "feed": "an audio feature of new and changed songs is `value` (null: missing) for `days` days",
    "worse": "a candidate with corrupted listener data is proposed as a refresh",
    "drift": "all listeners want `styles` more: they make up `weight` (0 to 1) of their taste, after `weeks`",
    "reset": "for `days` days the source serves other songs and listeners under the same ids",
    "fad": "like drift, but after `days` days all listeners want what they wanted before",
    "late": "for `days` days the source leaves out the sessions of the last `delay` days",
    "bots": "for `days` days a `share` of the listeners like all songs of a challenger and no others",
    "broken": "for `days` days every challenger fails for a `share` of the listeners",
    "ratchet": "every Sunday of `days` days a copy of the champion, of whose songs a share of `strength` is "
    "mixed up, is proposed as a refresh",
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

    def is_under_way(self, day: int) -> bool:
        return self.first_day <= day < self.first_day + self.days

    def weekly_weight(self, day: int) -> float:
        """How far a drift shifts tastes on this day: it grows over its weeks to its full weight."""
        weeks = self.parameters.get("weeks", 1)
        week, weekday = divmod(day - self.first_day, DAYS_PER_WEEK)
        if weekday or not 0 <= week < weeks:
            return 0.0
        return float(1 - (1 - self.parameters["weight"]) ** (1 / weeks))

    @property
    def _duration(self) -> str:
        weeks = self.parameters.get("weeks", 1)
        return f" over {weeks} weeks" if weeks > 1 else ""

    @property
    def description(self) -> str:
        days = f"{self.days} days" if self.days != 1 else "1 day"
        feature = self.parameters.get("feature")
        return {
            "better": "the first champion is of the classic method",
            "outage": f"source down for {days}",
            "feed": f"{feature} is {_describe_value(self.parameters.get('value'))} for {days}",
            "worse": "a corrupted candidate is proposed",
            "drift": f"tastes move towards {' and '.join(self.parameters.get('styles', ()))}{self._duration}",
            "reset": f"source has another catalogue for {days}",
            "fad": f"a fad of {' and '.join(self.parameters.get('styles', ()))} for {days}",
            "late": f"sessions arrive {self.parameters.get('delay')} days late for {days}",
            "bots": f"{self.parameters.get('share', 0):.0%} of the listeners are bots for {days}",
            "broken": f"challengers break for {self.parameters.get('share', 0):.0%} for {days}",
            "ratchet": f"refreshes are each a little worse for {days}",
        }[self.kind]


def parse_scenario(text: bytes | str, *, weeks: int) -> list[ScenarioEvent]:
    """The events of a scenario file by first day; events after the last week are left out.

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


def parse_last_day(text: bytes | str) -> date | None:
    """The Sunday on which the simulation ends; None for last Sunday.

    Raises:
        ValueError: it is not the date of a Sunday.
    """
    last_day = orjson.loads(text).get("last_day")
    if last_day is None:
        return None
    day = date.fromisoformat(last_day)
    if day.isoweekday() != DAYS_PER_WEEK:
        raise ValueError(f"last_day must be a Sunday, but {last_day} is not")
    return day


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
    for name in ("weeks", "delay"):
        if not (isinstance(terms.get(name, 1), int) and terms.get(name, 1) >= 1):
            raise ValueError(f"{row!r}: {name} must be a whole number from 1")
    if terms.get("feature", FEATURES[0]) not in FEATURES:
        raise ValueError(f"{row!r}: the features are {', '.join(FEATURES)}")
    if "styles" in terms and not (terms["styles"] and set(terms["styles"]) <= names):
        raise ValueError(f"{row!r}: the styles are {', '.join(sorted(names))}")
    for name in ("weight", "share", "strength"):
        if not 0 <= terms.get(name, 0) <= 1:
            raise ValueError(f"{row!r}: the {name} must be from 0 to 1")


def _describe_value(value: object) -> str:
    return "missing" if value is None else f"always {value}"

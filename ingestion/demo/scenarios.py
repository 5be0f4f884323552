"""What happens to a rehearsed world, and when: read from JSON, checked before anything begins."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from ingestion.demo.styles import FEATURES, STYLES

WEEK: Final = 7
# What may be planted, with what each may say of itself and what it says by default.
KINDS: Final[dict[str, dict[str, Any]]] = {
    "better": {},
    "outage": {"days": 2},
    "feed": {"days": 7, "feature": "energy", "value": None},
    "worse": {},
    "drift": {"styles": ["Metal", "Punk"], "weight": 0.6},
    "reset": {"days": 2},
}
ABOUT: Final = {
    "better": "the first champion is of the classic method: what the loop learns is better",
    "outage": "the source can't be reached for `days` days",
    "feed": "an audio feature of new and changed songs is `value` (null: missing) for `days` days",
    "worse": "a candidate whose learnt rows were shifted is proposed as a refresh",
    "drift": "all listeners want `styles` more: `weight`, 0 to 1, of what each wants",
    "reset": "for `days` days the source gives the known ids to other songs and listeners",
}


@dataclass(frozen=True)
class Event:
    """One planted event.

    Attributes:
        first: the day it begins, 0 the first of the rehearsal, which is a Monday.
        days: how many it lasts; 0: it happens once.
    """

    kind: str
    first: int
    days: int = 0
    terms: Mapping[str, Any] = field(default_factory=dict)

    def begins(self, day: int) -> bool:
        return day == self.first

    def ends(self, day: int) -> bool:
        """Whether this is the first day without it."""
        return self.days > 0 and day == self.first + self.days

    @property
    def told(self) -> str:
        """What is planted, in words."""
        days = f"{self.days} days" if self.days != 1 else "1 day"
        return {
            "better": "the first champion is of the classic method",
            "outage": f"source down for {days}",
            "feed": f"{self.terms.get('feature')} is {_said(self.terms.get('value'))} for {days}",
            "worse": "a spoiled candidate is proposed",
            "drift": f"tastes move towards {' and '.join(self.terms.get('styles', ()))}",
            "reset": f"source has another catalogue for {days}",
        }[self.kind]


def parse_scenario(text: bytes | str, *, weeks: int) -> list[Event]:
    """The events of a scenario, in order; those after the last week are left out.

    Raises:
        ValueError: it is no JSON, or names what there is not; the message says what there is.
    """
    try:
        events = orjson.loads(text)["events"]
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(f'this is no scenario, expected {{"events": [...]}}: {error}') from error
    found = [_event(row) for row in events]
    return sorted((event for event in found if event.first < weeks * WEEK), key=lambda event: event.first)


def describe_events() -> str:
    """One line for each kind of event: its name, what it takes by default, what it does."""
    return "\n".join(
        f"  {name:<8} {ABOUT[name]}{f' (default: {orjson.dumps(terms).decode()})' if terms else ''}"
        for name, terms in KINDS.items()
    )


def _event(row: Any) -> Event:
    known = KINDS.get(str(row.get("event"))) if isinstance(row, dict) else None
    if known is None:
        raise ValueError(f"no event {row!r}; there are:\n{describe_events()}")
    odd = set(row) - {"event", "week", "day", *known}
    week, day = row.get("week"), row.get("day", 1)
    if odd or not (isinstance(week, int) and week >= 1 and day in range(1, WEEK + 1)):
        raise ValueError(
            f"{row!r}: expected a week from 1, a day from 1 (Monday) to 7, and of {sorted(known)}"
        )
    terms = {**known, **{name: row[name] for name in known if name in row}}
    _check(row, terms)
    return Event(row["event"], (week - 1) * WEEK + day - 1, int(terms.pop("days", 0)), terms)


def _check(row: Mapping[str, Any], terms: Mapping[str, Any]) -> None:
    names = {style.name for style in STYLES}
    if not (isinstance(terms.get("days", 1), int) and terms.get("days", 1) >= 1):
        raise ValueError(f"{row!r}: days are whole and from 1")
    if terms.get("feature", FEATURES[0]) not in FEATURES:
        raise ValueError(f"{row!r}: the features are {', '.join(FEATURES)}")
    if "styles" in terms and not (terms["styles"] and set(terms["styles"]) <= names):
        raise ValueError(f"{row!r}: the styles are {', '.join(sorted(names))}")
    if not 0 <= terms.get("weight", 0) <= 1:
        raise ValueError(f"{row!r}: the weight is from 0 to 1")


def _said(value: object) -> str:
    return "missing" if value is None else f"always {value}"

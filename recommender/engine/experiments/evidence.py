"""Evidence on experiments, and verdicts.

Stored as JSON: a new field needs a default that means "unknown to this decision".
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Final, Self

LOG_LARGEST_RATIO: Final = math.log(1e6)  # larger e-values are shown as "over 1,000,000"
ONE_DECIMAL_BELOW: Final = 10.0


class DecisionOutcome(StrEnum):
    INVALID = "invalid"
    ROLLBACK = "rollback"
    WAITING = "waiting"
    PROMOTE = "promote"
    REJECT = "reject"
    INCONCLUSIVE = "inconclusive"


class ExperimentKind(StrEnum):
    """The kind of an experiment, by what it compares.

    A refresh has the champion's features and clusters; a change differs in them.

    An A/A test compares the champion with itself, the holdback with the champion of 28 days ago.
    """

    REFRESH = "refresh"
    CHANGE = "change"
    AA_TEST = "equals"
    HOLDBACK = "anchor"


@dataclass(frozen=True)
class AllocationCheck:
    """Counts inside and outside a randomly allocated group; `share` is the planned share inside."""

    name: str
    inside: int
    outside: int
    share: float


@dataclass(frozen=True)
class GuardrailDifference:
    """A metric in the A/B split: challenger's mean minus champion's, with confidence interval."""

    name: str
    difference: float
    low: float
    high: float
    challengers: int
    champions: int


@dataclass(frozen=True)
class ExperimentEvidence:
    """All data that a verdict depends on."""

    kind: str
    days: int  # whole days since the start
    # Decisive rounds (see `interleaving_credit`) won by the challenger; in the holdback, by the
    # champion. Version 2 counts those of the days and listeners that its rules name.
    wins: int = 0
    losses: int = 0
    late_wins: int = 0
    late_losses: int = 0
    listeners: int = 0  # number of listeners with a decisive round
    z: float = 0.0  # mean of the listeners' balances (wins minus losses) over its standard error
    coins: tuple[AllocationCheck, ...] = ()  # allocation checks
    crossed: float = 0.0  # share of listeners who got lists from both arms
    leaked: int = 0  # number of lists from an arm whose planned share is 0
    hard_failure: str = ""  # why the challenger must stop at once; empty if it may go on
    gate: bool | None = None  # whether the version passed the offline gates; None if they did not decide
    guardrails: tuple[GuardrailDifference, ...] = ()
    # --- Since version 2
    tested: str = ""  # the version whose rounds were counted: the challenger, or the holdback's champion
    winners: int = 0  # listeners with at least two decisive rounds who preferred the tested version
    losers: int = 0
    ties: int = 0
    # Rounds without the listeners who are most for the tested version and those who are most against it.
    trimmed_wins: int = 0
    trimmed_losses: int = 0
    # Rounds won and lost by the most active third of the listeners, and by the least active third.
    heavy: tuple[int, int] = (0, 0)
    light: tuple[int, int] = (0, 0)
    open_lists: int = 0  # lists of the counted days whose 48 hours of listening are not imported yet
    unproven: int = 0  # promoted refreshes in a row before this one that did not win
    feed: str = ""  # why the imported listening can't be trusted now; empty if it can
    # --- Since version 4: mean of the listeners' preferences, from -1 (the other) to 1 (the tested version)
    preference: float = 0.0
    preference_error: float = 0.0  # its standard error
    recent_wins: int = 0  # rounds of the last closed days
    recent_losses: int = 0
    capped_balance: float = (
        0.0  # sum of the listeners' limited balances, from which a refresh's z is computed
    )

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        nested: dict[str, Any] = {
            "coins": tuple(AllocationCheck(**check) for check in stored["coins"]),
            "guardrails": tuple(GuardrailDifference(**guardrail) for guardrail in stored["guardrails"]),
        }
        nested |= {name: tuple(stored[name]) for name in ("heavy", "light") if name in stored}
        return cls(**{**stored, **nested})


@dataclass(frozen=True)
class ExperimentVerdict:
    outcome: DecisionOutcome
    reason: str
    numbers: dict[str, float] = field(default_factory=dict)


OutcomeAndReason = tuple[DecisionOutcome, str]


def format_evidence_ratio(ln_e: float) -> str:
    """Write an e-value as a ratio, such as "9.2 : 1", "1 : 15" or "over 1,000,000 : 1"."""
    odds = math.exp(min(abs(ln_e), LOG_LARGEST_RATIO))
    number = (
        f"{odds:.1f}"
        if odds < ONE_DECIMAL_BELOW
        else f"{odds:,.0f}"
        if abs(ln_e) < LOG_LARGEST_RATIO
        else "over 1,000,000"
    )
    return f"{number} : 1" if ln_e >= 0 else f"1 : {number}"

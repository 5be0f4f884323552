"""Evidence on experiments, the thresholds of the decision rules, and verdicts.

Stored as JSON with every decision: a new field needs a default that means "unknown to this decision".
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
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
    """What an experiment compares.

    A refresh has the champion's features and clusters; a change differs in them. An A/A test compares
    the champion with itself. An anchor compares the champion with the champion of 28 days ago, and the
    holdback compares it with a reference whose recipe never changes.
    """

    REFRESH = "refresh"
    CHANGE = "change"
    AA_TEST = "equals"
    ANCHOR = "anchor"
    HOLDBACK = "holdback"


@dataclass(frozen=True)
class DecisionRules:
    """Thresholds of the decision rules, chosen by simulation: `python -m benchmarks calibration`.

    The defaults are those of version 1: a stored decision lacks what its version did not know.
    """

    better: float = 20.0  # e-value at which one model is better than the other
    mismatch: float = 100.0  # e-value at which an allocation check fails (sample-ratio mismatch)
    crossed: float = 0.01  # largest accepted share of listeners who got lists from both arms
    refresh_days: int = 6  # a refresh gets no verdict before this day
    refresh_z: float = -0.84  # a refresh is rejected if the z of its listeners' balances is lower
    refresh_deadline: int = 14
    # With fewer listeners or fewer decisive rounds a refresh waits until `refresh_deadline`.
    fewest_listeners: int = 20
    fewest_rounds: int = 30
    change_days: int = 21  # a change gets no verdict before this day, except that it is worse
    deadline: int = 60  # days after which a change that has not won is dropped
    late_days: int = 14  # version 1: a change must not lose in these last days
    equals_days: int = 60  # days after which an A/A test ends without a difference
    anchor: float = 10.0  # e-value at which the anchor's model is restored
    # An A/B split with fewer days or fewer listeners per arm is ignored.
    split_days: int = 7
    split_listeners: int = 30
    # --- Since version 2. Days count from the start, from 0.
    version: int = 1
    refresh_from: int = 0  # a refresh counts the lists of these days: whole weeks, without its novelty
    refresh_until: int = 0
    refresh_share: float = 0.0  # ... and is rejected only if it also won less than .5 minus this share
    unproven_share: float = 0.0  # the same if the test lasts `unproven_days` longer
    refresh_cap: int = 0  # largest balance of wins and losses that one listener counts with
    # After so many promoted refreshes in a row that did not win, the next one is tested for more days: many
    # small losses that no single test can show would add up.
    unproven_most: int = 0
    unproven_days: int = 0
    proven_z: float = 0.0  # a refresh has won from this z on
    late_from: int = 0  # a change must not lose in the lists from this day on
    trimmed: float = 0.0  # share of the listeners at either end without whom a change must win as well
    sign_z: float = 0.0  # smallest z of the sign test over listeners with which a change is promoted
    # --- Since version 3. `refresh_z` if the test lasts `unproven_days` longer; the default is version 2's.
    unproven_z: float = -0.75

    def extra_days(self, unproven: int) -> int:
        """How many more days a refresh is tested after so many refreshes that did not win."""
        return self.unproven_days if self.unproven_most and unproven >= self.unproven_most else 0

    def lowest_z(self, unproven: int) -> float:
        """The z below which a refresh after so many refreshes that did not win may be rejected."""
        return self.unproven_z if self.extra_days(unproven) else self.refresh_z


@dataclass(frozen=True)
class AllocationCheck:
    """Observed counts of a random allocation, and the share that was planned to be inside."""

    name: str
    inside: int
    outside: int
    share: float


@dataclass(frozen=True)
class GuardrailDifference:
    """One metric in the A/B split: challenger's mean minus champion's mean, with confidence interval."""

    name: str
    difference: float
    low: float
    high: float
    challengers: int
    champions: int


@dataclass(frozen=True)
class ExperimentEvidence:
    """All data that a verdict depends on; stored as JSON."""

    kind: str
    days: int  # whole days since the start
    # Decisive rounds (see `interleaving_credit`) won by the challenger; in an anchor and in the holdback, by
    # the champion. Version 2 counts those of the days and listeners that its rules name.
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
    tested: str = ""  # the version whose rounds were counted: the challenger, or an anchor's champion
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
    """An action, the reason in a sentence, and the numbers behind it."""

    outcome: DecisionOutcome
    reason: str
    numbers: dict[str, float] = field(default_factory=dict)


OutcomeAndReason = tuple[DecisionOutcome, str]

RULES_VERSION_1: Final = DecisionRules(equals_days=14)
RULES_VERSION_2: Final = DecisionRules(
    version=2,
    equals_days=14,
    refresh_days=13,
    refresh_z=-0.75,
    refresh_from=4,
    refresh_until=10,
    refresh_share=0.015,
    refresh_cap=4,
    unproven_most=2,
    unproven_days=21,
    unproven_share=0.0065,
    proven_z=0.84,
    change_days=31,
    late_from=14,
    trimmed=0.1,
    sign_z=1.64,
)
DEFAULT_RULES: Final = replace(
    RULES_VERSION_2, version=3, unproven_z=-0.3, unproven_share=0.002, proven_z=1.28
)


def format_evidence_ratio(ln_e: float) -> str:
    """Format an e-value as a ratio, such as "9.2 : 1", "1 : 15" or "over 1,000,000 : 1"."""
    odds = math.exp(min(abs(ln_e), LOG_LARGEST_RATIO))
    number = (
        f"{odds:.1f}"
        if odds < ONE_DECIMAL_BELOW
        else f"{odds:,.0f}"
        if abs(ln_e) < LOG_LARGEST_RATIO
        else "over 1,000,000"
    )
    return f"{number} : 1" if ln_e >= 0 else f"1 : {number}"

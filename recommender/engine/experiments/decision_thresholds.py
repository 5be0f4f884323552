"""Thresholds of the decision rules.

Stored with every decision: a new threshold needs a default that earlier versions of the rules had.
"""

import math
from dataclasses import dataclass, replace
from typing import Final


@dataclass(frozen=True)
class DecisionRules:
    """Thresholds chosen by simulation (`python -m benchmarks calibration`); defaults are version 1's."""

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
    anchor: float = 10.0  # e-value at which the holdback's model is restored
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
    # --- Since version 4, instead of `trimmed` and `sign_z`. The listeners' mean preference for a change must
    # exceed what this share of them, for instance bots, makes if all of them prefer it ...
    tolerated_share: float = 0.0
    # ... by so many standard errors on the last day, and by deadline / day times as many before.
    preference_z: float = 0.0
    preference_cap: float = 1.0  # standard deviations of a listener's balance that are a full preference
    recent_days: int = 0  # a change must not lose the lists of these last closed days
    # A refresh's share of the rounds is computed from limited balances too, whose limit grows with the test.
    capped_share: bool = False

    def extra_days(self, unproven: int) -> int:
        """Days by which a refresh is tested longer, after `unproven` refreshes in a row without a win."""
        return self.unproven_days if self.unproven_most and unproven >= self.unproven_most else 0

    def least_preference(self, day: int, error: float) -> float:
        """The mean preference from which a change is promoted on a day; `error` is its standard error."""
        # Of thirty daily checks one may pass by chance, so those with fewer rounds must be surer.
        return self.tolerated_share + self.preference_z * error * self.deadline / max(1, day)

    def balance_cap(self, unproven: int) -> float:
        """The largest balance of wins and losses that one listener counts with in a refresh."""
        days = self.refresh_until - self.refresh_from + 1
        # In four times the days, chance makes twice the balance.
        growth = math.sqrt((days + self.extra_days(unproven)) / days) if self.capped_share else 1.0
        return self.refresh_cap * growth

    def lowest_z(self, unproven: int) -> float:
        """The z below which a refresh may be rejected, after `unproven` refreshes in a row without a win."""
        return self.unproven_z if self.extra_days(unproven) else self.refresh_z


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
RULES_VERSION_3: Final = replace(
    RULES_VERSION_2, version=3, unproven_z=-0.3, unproven_share=0.002, proven_z=1.28
)
DEFAULT_RULES: Final = replace(
    RULES_VERSION_3,
    version=4,
    trimmed=0.0,
    sign_z=0.0,
    tolerated_share=0.1,
    preference_z=1.3,
    preference_cap=0.7,
    recent_days=7,
    capped_share=True,
)

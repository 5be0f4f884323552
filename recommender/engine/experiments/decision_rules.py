"""The verdict on a test: from its numbers alone, by rules fixed in advance, the same whenever repeated."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Final, Self

from recommender.engine.experiments.sequential import ln_e_of_losing, ln_e_of_share, ln_e_of_wins

# Odds beyond a million are told as that; below ten with a digit more.
LN_MANY: Final = math.log(1e6)
TEN: Final = 10.0


class Outcome(StrEnum):
    INVALID = "invalid"
    ROLLBACK = "rollback"
    WAITING = "waiting"
    PROMOTE = "promote"
    REJECT = "reject"
    INCONCLUSIVE = "inconclusive"


class Kind(StrEnum):
    """What is tested: a refresh (same features, same number of clusters), a change, equals, the anchor."""

    REFRESH = "refresh"
    CHANGE = "change"
    EQUALS = "equals"
    ANCHOR = "anchor"


@dataclass(frozen=True)
class Rules:
    """What decides. The numbers were chosen by simulation: `python -m benchmarks calibration`.

    Attributes:
        better: odds from which on one is better than the other.
        mismatch: odds from which on coins fell otherwise than they should.
        crossed: share of listeners seen in both arms that is still let pass.
        refresh_days, change_days: days before which there is no verdict.
        refresh_z: a refresh is rejected below this z of the listeners' balances.
        fewest_listeners, fewest_rounds: with less, a refresh waits for `refresh_deadline`.
        deadline: days after which a change that has not won is dropped.
        late_days: the last days, in which novelty has worn off.
        equals_days: days after which two arms of one model have not differed.
        anchor: odds from which on the anchor comes back.
        split_days, split_listeners: an A/B split says nothing with less, listeners an arm.
    """

    better: float = 20.0
    mismatch: float = 100.0
    crossed: float = 0.01
    refresh_days: int = 6
    refresh_z: float = -0.84
    refresh_deadline: int = 14
    fewest_listeners: int = 20
    fewest_rounds: int = 30
    change_days: int = 21
    deadline: int = 60
    late_days: int = 14
    # Of decisions that were stored before it was a rule of its own: they come out as they did.
    equals_days: int = 60
    anchor: float = 10.0
    split_days: int = 7
    split_listeners: int = 30


@dataclass(frozen=True)
class Coin:
    """Something that chance should have decided: how often it did `inside`, of how many, at which share."""

    name: str
    inside: int
    outside: int
    share: float


@dataclass(frozen=True)
class Guardrail:
    """A measure of the A/B split: the challenger's mean less the champion's, and how far that may be off."""

    name: str
    difference: float
    low: float
    high: float
    challengers: int
    champions: int


@dataclass(frozen=True)
class Evidence:
    """All that a verdict rests on; JSON can hold it.

    Attributes:
        days: whole days since the start.
        wins, losses: rounds that count, of the challenger (of the champion, against an anchor).
        late_wins, late_losses: those of the last `late_days`.
        listeners: with a round that counts.
        z: mean balance of the listeners over its standard error.
        coins: what chance should have decided.
        crossed: share of listeners seen in both arms.
        leaked: requests served by an arm whose share is 0.
        hard_failure: what broke; empty: nothing.
        gate: whether the offline gate would let it pass; None: it has no opinion.
    """

    kind: str
    days: int
    wins: int = 0
    losses: int = 0
    late_wins: int = 0
    late_losses: int = 0
    listeners: int = 0
    z: float = 0.0
    coins: tuple[Coin, ...] = ()
    crossed: float = 0.0
    leaked: int = 0
    hard_failure: str = ""
    gate: bool | None = None
    guardrails: tuple[Guardrail, ...] = ()

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        nested = {
            "coins": tuple(Coin(**coin) for coin in stored["coins"]),
            "guardrails": tuple(Guardrail(**rail) for rail in stored["guardrails"]),
        }
        return cls(**{**stored, **nested})


@dataclass(frozen=True)
class Verdict:
    """What is to be done, and the reason in a sentence."""

    outcome: Outcome
    reason: str
    numbers: dict[str, float] = field(default_factory=dict)


USUAL: Final = Rules(equals_days=14)


def verdict(evidence: Evidence, rules: Rules = USUAL) -> Verdict:
    """The first that applies: invalid, rollback, waiting, promote, reject, inconclusive."""
    found = (
        _invalid(evidence, rules)
        or _broken(evidence, rules)
        or _BY_KIND[Kind(evidence.kind)](evidence, rules)
    )
    numbers = {"ln_e": round(ln_e_of_wins(evidence.wins, evidence.losses), 6), "z": _rounded(evidence.z)}
    return Verdict(found[0], found[1], numbers)


Found = tuple[Outcome, str]


def _invalid(evidence: Evidence, rules: Rules) -> Found | None:
    for coin in evidence.coins:
        if 0 < coin.share < 1 and ln_e_of_share(coin.inside, coin.outside, coin.share) >= math.log(
            rules.mismatch
        ):
            of = coin.inside + coin.outside
            return Outcome.INVALID, (
                f"{coin.name}: {coin.inside} of {of} where {coin.share:.0%} was planned. "
                "The numbers can't be trusted."
            )
    if evidence.leaked:
        return Outcome.INVALID, f"{evidence.leaked} lists came from an arm whose share is 0."
    if evidence.crossed > rules.crossed:
        return Outcome.INVALID, f"{evidence.crossed:.1%} of the listeners were seen in both arms."
    return None


def _broken(evidence: Evidence, rules: Rules) -> Found | None:
    if evidence.hard_failure:
        return Outcome.ROLLBACK, evidence.hard_failure
    for rail in evidence.guardrails:
        enough = min(rail.challengers, rail.champions) >= rules.split_listeners
        if evidence.days >= rules.split_days and enough and rail.high < 0:
            return Outcome.ROLLBACK, (
                f"{rail.name} is lower with the challenger: {rail.difference:+.3f} a listener "
                f"({rail.low:+.3f} to {rail.high:+.3f})."
            )
    return None


def _of_refresh(evidence: Evidence, rules: Rules) -> Found:
    score = f"{evidence.wins} rounds won, {evidence.losses} lost by {evidence.listeners} listeners"
    if evidence.days < rules.refresh_days:
        return Outcome.WAITING, f"Day {evidence.days} of {rules.refresh_days}: {score}."
    few = evidence.listeners < rules.fewest_listeners or evidence.wins + evidence.losses < rules.fewest_rounds
    if not few and evidence.z < rules.refresh_z:
        return Outcome.REJECT, f"Worse: {score}, z = {evidence.z:.2f}, below {rules.refresh_z}."
    if not few:
        return Outcome.PROMOTE, f"Not worse: {score}, z = {evidence.z:.2f}."
    if evidence.days < rules.refresh_deadline:
        return Outcome.WAITING, f"Too few to tell, until day {rules.refresh_deadline}: {score}."
    # Too little traffic to ever tell: what was measured before any listener saw it has to do.
    if evidence.gate is False:
        return Outcome.REJECT, f"Too few to tell ({score}); the offline gate is against it."
    return Outcome.PROMOTE, f"Too few to tell ({score}); the offline gate is for it."


def _of_change(evidence: Evidence, rules: Rules) -> Found:
    ln_e = ln_e_of_wins(evidence.wins, evidence.losses)
    score = f"{evidence.wins} rounds won, {evidence.losses} lost, odds {odds_told(ln_e)}"
    if ln_e >= math.log(rules.better) and evidence.losses > evidence.wins:
        return Outcome.REJECT, f"Worse: {score}."
    if evidence.days < rules.change_days:
        return Outcome.WAITING, f"Day {evidence.days} of {rules.change_days}, for novelty wears off: {score}."
    if ln_e >= math.log(rules.better) and evidence.late_wins >= evidence.late_losses:
        return Outcome.PROMOTE, f"Better: {score}, and not worse in the last {rules.late_days} days."
    if evidence.days < rules.deadline:
        return Outcome.WAITING, f"Not decided on day {evidence.days} of {rules.deadline}: {score}."
    return Outcome.INCONCLUSIVE, f"Not decided in {rules.deadline} days: {score}. It is dropped."


def _of_equals(evidence: Evidence, rules: Rules) -> Found:
    ln_e = ln_e_of_wins(evidence.wins, evidence.losses)
    score = f"{evidence.wins} to {evidence.losses}, odds {odds_told(ln_e)}"
    if ln_e >= math.log(rules.better):
        return (
            Outcome.INVALID,
            f"Two arms of the same model differ: {score}. Look for a fault in the serving.",
        )
    if evidence.days < rules.equals_days:
        return Outcome.WAITING, f"Two arms of the same model: {score}."
    return Outcome.INCONCLUSIVE, f"Two arms of the same model do not differ: {score}."


def _of_anchor(evidence: Evidence, rules: Rules) -> Found:
    ln_e = ln_e_of_losing(evidence.wins, evidence.losses)
    score = f"{evidence.wins} rounds won, {evidence.losses} lost against the anchor, odds {odds_told(ln_e)}"
    if ln_e >= math.log(rules.anchor):
        return Outcome.ROLLBACK, f"The champion is worse than what served 28 days ago: {score}."
    return Outcome.WAITING, f"{score}."


_BY_KIND: Final = {
    Kind.REFRESH: _of_refresh,
    Kind.CHANGE: _of_change,
    Kind.EQUALS: _of_equals,
    Kind.ANCHOR: _of_anchor,
}


def odds_told(ln_e: float) -> str:
    """Odds as people say them, such as 9.2 : 1 or 1 : 15; beyond a million nobody counts."""
    odds = math.exp(min(abs(ln_e), LN_MANY))
    number = f"{odds:.1f}" if odds < TEN else f"{odds:,.0f}" if abs(ln_e) < LN_MANY else "over 1,000,000"
    return f"{number} : 1" if ln_e >= 0 else f"1 : {number}"


def _rounded(value: float) -> float:
    """JSON has no infinity."""
    return round(max(-1e9, min(1e9, value)), 6)

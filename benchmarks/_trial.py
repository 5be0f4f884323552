"""One test of two models, lived day by day through the code that decides in production."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from benchmarks._listening import PLACES, Crowd, Day, Life
from recommender.engine.experiments.decision_rules import USUAL, Coin, Evidence, Kind, Outcome, verdict
from recommender.engine.experiments.interleaving_credit import ListScore, score_list, tally

TEST_SHARE: Final = 0.7  # of all lists; the rest compares with the anchor
ANCHOR_DAYS: Final = 28
# A list is closed by the first ingestion that begins 48 hours after it: on the morning of day 6 of a test
# that began in the morning, those of days 0 to 3 are.
CLOSED_AFTER: Final = 3  # days
SONGS: Final = tuple(range(PLACES))


@dataclass(frozen=True)
class Trial:
    """How a test is run.

    Attributes:
        first: probability that the challenger fills a round's first place; a fair coin has .5.
        share: of the lists, that which falls to the test; TEST_SHARE is planned.
    """

    kind: Kind = Kind.CHANGE
    crowd: Crowd = field(default_factory=Crowd)
    first: float = 0.5
    share: float = TEST_SHARE


@dataclass(frozen=True)
class Ended:
    """How it ended, and on which day."""

    outcome: Outcome
    day: int


Decide = Callable[[Evidence, Sequence[Day]], Outcome]


def by_rounds(evidence: Evidence, days: Sequence[Day]) -> Outcome:
    """As in production."""
    return verdict(evidence).outcome


def by_events(evidence: Evidence, days: Sequence[Day]) -> Outcome:
    """What must not be done: every place shown is a witness, and each day's look is the only one."""
    engaged = np.concatenate([day.engaged.ravel() for day in days])
    challengers = np.concatenate([day.by_challenger.ravel() for day in days])
    ours, theirs = engaged[challengers], engaged[~challengers]
    error = np.sqrt(ours.var() / len(ours) + theirs.var() / len(theirs)) or 1.0
    z = (ours.mean() - theirs.mean()) / error
    if abs(z) < 1.96:
        return verdict(evidence).outcome if evidence.days >= USUAL.deadline else Outcome.WAITING
    return Outcome.PROMOTE if z > 0 else Outcome.REJECT


def live(trial: Trial, seed: int, decide: Decide = by_rounds) -> Ended:
    """Live the test until it has a verdict."""
    life = Life(trial.crowd, seed)
    scored: list[list[ListScore]] = []
    days: list[Day] = []
    for number in range(USUAL.deadline + 1):
        lists = _closed(scored, number)
        outcome = decide(_evidence(trial.kind, lists, days, number), days) if number else Outcome.WAITING
        if outcome != Outcome.WAITING:
            return Ended(outcome, number)
        days.append(life.day(number, share=trial.share, first=trial.first))
        scored.append(scored_lists(days[-1], number))
    return Ended(Outcome.WAITING, USUAL.deadline)


def is_brought_back(crowd: Crowd, seed: int) -> bool:
    """Whether the anchor returns, within its 28 days, after a model with the crowd's effect was promoted."""
    life = Life(replace(crowd, novelty=0.0), seed)
    scored: list[list[ListScore]] = []
    for number in range(ANCHOR_DAYS + 1):
        found = verdict(_evidence(Kind.ANCHOR, _closed(scored, number), [], number)).outcome
        if found == Outcome.ROLLBACK:
            return True
        scored.append(scored_lists(life.day(number, share=1 - TEST_SHARE), number))
    return False


def _closed(scored: Sequence[list[ListScore]], number: int) -> list[ListScore]:
    """The lists, day by day, that count on the morning of this day."""
    return [one for day in scored[: max(0, number - CLOSED_AFTER + 1)] for one in day]


def _evidence(kind: Kind, lists: Sequence[ListScore], days: Sequence[Day], number: int) -> Evidence:
    found = tally(lists, day=number, late_days=USUAL.late_days)
    firsts = (
        np.concatenate([day.by_challenger[:, ::2].ravel() for day in days]) if days else np.empty(0, bool)
    )
    ours = int(firsts.sum())
    return Evidence(
        kind=kind, days=number, wins=found.wins, losses=found.losses, late_wins=found.late_wins,
        late_losses=found.late_losses, listeners=found.listeners, z=found.z, gate=True,
        coins=(
            Coin("First picks", ours, len(firsts) - ours, 0.5),
            Coin("Lists", sum(len(day.listeners) for day in days), sum(day.others for day in days),
                 TEST_SHARE),
        ),
    )  # fmt: skip


def scored_lists(day: Day, number: int) -> list[ListScore]:
    rows = zip(day.listeners.tolist(), day.by_challenger.tolist(), day.engaged, strict=True)
    return [
        ListScore(listener, number, score_list(SONGS, teams, set(np.flatnonzero(liked).tolist()), ()))
        for listener, teams, liked in rows
    ]

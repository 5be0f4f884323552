"""Tests between versions: proposed, started, judged every day, ended. The only writer of their state."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from django.db import transaction

from recommender.engine.artifact import ArtifactError
from recommender.engine.experiments.decision_rules import Outcome, Verdict
from recommender.experiments import decisions, interleaving_scores, serving_errors, statistics
from recommender.experiments.eligibility import BY_ITSELF, is_left_behind, why_senseless
from recommender.models import Decision, Experiment, ModelVersion, Promotion, ServedList
from recommender.registry import registry
from recommender.registry.registry import Verify

logger = logging.getLogger(__name__)

Kind, Status = Experiment.Kind, Experiment.Status
LIST_SHARE: Final = 0.7
ANCHOR_SHARE: Final = 0.3
ANCHOR_AGE: Final = timedelta(days=28)
ACTIVE: Final = timedelta(days=28)
MOST_PLANNED: Final = 500  # listeners, beyond which a confidence sequence need not be tightest


class NotDecidable(Exception):
    """A test can't be started, stopped or decided as asked; nothing was changed."""


@dataclass(frozen=True)
class Judged:
    """What came of looking at a running test.

    Attributes:
        decision: None where the test was void before anything was counted.
        promotion: the ledger's line, where the champion changed.
    """

    experiment: Experiment
    decision: Decision | None = None
    promotion: Promotion | None = None


def propose(
    version: ModelVersion,
    *,
    kind: str,
    gates: dict[str, Any],
    by: str,
    now: datetime,
    list_share: float = LIST_SHARE,
    split_share: float = 0.0,
    purpose: str = "",
) -> Experiment:
    """Line a version up for a test against the champion, and start it if nothing else is tested.

    A newer candidate replaces one that waits, never one under test. What is proposed twice is tested once.

    Raises:
        NotDecidable: there is no champion to test against.
        NotPromotable: the version is champion, or was withdrawn.
    """
    champion = registry.champion_row()
    if champion is None:
        raise NotDecidable("There is no champion to test against: promote a version first.")
    challenger = champion if kind == Kind.EQUALS else version
    with _one_at_a_time():
        same = Experiment.objects.exclude(status=Status.ENDED).filter(kind=kind, challenger=challenger)
        if going_on := same.first():
            return going_on
        if kind != Kind.EQUALS:
            for older in Experiment.objects.filter(status=Status.WAITING).exclude(kind=Kind.EQUALS):
                _end(older, Experiment.Outcome.VOID, f"{version.label} is newer.", now)
        experiment = Experiment.objects.create(
            kind=kind, champion=champion, challenger=challenger, list_share=list_share,
            split_share=split_share, created_at=now, by=by, gates=gates, purpose=purpose,
        )  # fmt: skip
    start_next(now)
    experiment.refresh_from_db()
    return experiment


def start_next(now: datetime) -> Experiment | None:
    """Start the test that waits, if none is running; None where there is nothing to start.

    A test of equals keeps no candidate waiting: it comes after it, and ends for it.
    """
    with _one_at_a_time():
        queue = Experiment.objects.filter(status=Status.WAITING).order_by("pk")
        waiting = queue.exclude(kind=Kind.EQUALS).first() or queue.first()
        if waiting is None or not _makes_room(running(), waiting, now):
            return None
        champion = registry.champion_row()
        if champion is None:
            return None
        if is_left_behind(waiting, champion):
            _end(waiting, Experiment.Outcome.VOID, f"It was made to follow {waiting.champion}.", now)
            return None
        if waiting.kind != Kind.EQUALS:
            try:
                registry.challenge(waiting.challenger)
            except registry.NotPromotable as error:
                _end(waiting, Experiment.Outcome.VOID, str(error), now)
                return None
        waiting.champion = champion
        waiting.challenger = champion if waiting.kind == Kind.EQUALS else waiting.challenger
        waiting.status, waiting.started_at = Status.RUNNING, now
        waiting.planned_listeners = min(MOST_PLANNED, _active_listeners(now))
        waiting.save()
    logger.info("experiment_started experiment=%s kind=%s", waiting.pk, waiting.kind)
    return waiting


def _makes_room(current: Experiment | None, waiting: Experiment, now: datetime) -> bool:
    if current is None:
        return True
    if current.kind != Kind.EQUALS or waiting.kind == Kind.EQUALS:
        return False
    _end(current, Experiment.Outcome.VOID, f"It made room for the test of {waiting.challenger}.", now)
    return True


def running() -> Experiment | None:
    """The test that runs, the anchor's left aside."""
    return Experiment.objects.filter(status=Status.RUNNING).exclude(kind=Kind.ANCHOR).first()


def keep_anchor(now: datetime) -> Experiment | None:
    """Keep the champion of 28 days ago as an anchor; a new one every 28 days, not at promotions."""
    with _one_at_a_time():
        current = Experiment.objects.filter(status=Status.RUNNING, kind=Kind.ANCHOR).first()
        if current is not None and current.started_at and now - current.started_at < ANCHOR_AGE:
            return current
        if current is not None:
            _end(current, Experiment.Outcome.INCONCLUSIVE, "Its 28 days are over.", now)
        champion, anchor = registry.champion_row(), registry.champion_at(now - ANCHOR_AGE)
        if champion is None or anchor is None or anchor == champion or serving_errors.may_not_serve(anchor):
            return None
        return Experiment.objects.create(
            kind=Kind.ANCHOR, status=Status.RUNNING, champion=champion, challenger=anchor, by=BY_ITSELF,
            list_share=ANCHOR_SHARE, created_at=now, started_at=now,
            planned_listeners=min(MOST_PLANNED, _active_listeners(now)),
        )  # fmt: skip


def judge(now: datetime, verify: Verify) -> list[Judged]:
    """Look at every running test, and do what its verdict says."""
    at_work = list(Experiment.objects.filter(status=Status.RUNNING).order_by("pk"))
    judged = [_judge(experiment, now, verify) for experiment in at_work]
    keep_anchor(now)
    start_next(now)
    return judged


def stop(experiment: Experiment, *, reason: str, by: str, now: datetime) -> None:
    """End a test without a verdict; the challenger is a candidate again.

    Raises:
        NotDecidable: it is over, or there is no reason.
    """
    with _one_at_a_time():
        _require_open(experiment, reason)
        registry.stand_down(experiment.challenger, waiting=True)
        _end(experiment, Experiment.Outcome.VOID, f"Stopped by {by}: {reason}", now)


def decide_by_hand(
    experiment: Experiment, *, promote: bool, reason: str, by: str, now: datetime, verify: Verify
) -> Promotion | None:
    """End a test as a person wants it; the evidence so far is stored with it.

    Raises:
        NotDecidable: it is over, or there is no reason.
        RegistryError: the challenger can't become champion.
    """
    outcome = Experiment.Outcome.PROMOTE if promote else Experiment.Outcome.REJECT
    with _one_at_a_time():
        _require_open(experiment, reason)
        numbers, scores = statistics.gather(experiment, now)
        decision, _ = decisions.decide(experiment, numbers, interleaving_scores.digest_of(scores), now)
        said = f"Decided by {by}: {reason}"
        promotion = None
        if promote:
            promotion = registry.promote(experiment.challenger, reason=said, by=by, verify=verify)
        else:
            registry.stand_down(experiment.challenger)
        decisions.seal(decision, promotion)
        _end(experiment, outcome, said, now)
    return promotion


def void_dethroned(now: datetime) -> int:
    """Close tests whose champion, or whose anchor, is it no longer; how many there were."""
    closed = 0
    with _one_at_a_time():
        champion = registry.champion_row()
        for experiment in Experiment.objects.filter(status=Status.RUNNING).order_by("pk"):
            if why := why_senseless(champion, experiment):
                _void(experiment, why, now)
                closed += 1
    return closed


def _judge(experiment: Experiment, now: datetime, verify: Verify) -> Judged:
    # One that came before may have ended this one.
    void_dethroned(now)
    experiment.refresh_from_db()
    if experiment.status == Status.ENDED:
        return Judged(experiment)
    failure = serving_errors.hard_failure(experiment, now, verify)
    if failure and experiment.kind == Kind.ANCHOR:
        # Of the anchor, which is not on trial: the champion must not pay for it.
        _void(experiment, failure, now)
        return Judged(experiment)
    numbers, scores = statistics.gather(experiment, now, hard_failure=failure)
    decision, found = decisions.decide(experiment, numbers, interleaving_scores.digest_of(scores), now)
    if found.outcome == Outcome.WAITING:
        return Judged(experiment, decision)
    return _act(experiment, decision, found, now, verify)


def _act(experiment: Experiment, decision: Decision, found: Verdict, now: datetime, verify: Verify) -> Judged:
    """Do what the verdict says, end the test and seal the decision: all of it, or nothing."""
    promotion, challenger, reason = None, experiment.challenger, found.reason
    with _one_at_a_time():
        void_dethroned(now)
        experiment.refresh_from_db()
        if experiment.status == Status.ENDED:
            # While this one was counting somebody else has decided, or changed the champion.
            decision.delete()
            return Judged(experiment)
        if experiment.kind == Kind.ANCHOR and found.outcome == Outcome.ROLLBACK:
            promotion = _bring_back(challenger, reason, verify)
        elif found.outcome == Outcome.PROMOTE:
            promotion = registry.promote(challenger, reason=reason, by=BY_ITSELF, verify=verify)
        elif experiment.kind not in {Kind.ANCHOR, Kind.EQUALS}:
            ruled = found.outcome
            registry.stand_down(
                challenger, withdrawn=ruled == Outcome.ROLLBACK, waiting=ruled == Outcome.INVALID
            )
        _end(experiment, Experiment.Outcome(found.outcome.value), reason, now)
        decisions.seal(decision, promotion)
        if promotion is not None:
            void_dethroned(now)
    logger.info("experiment_ended experiment=%s outcome=%s", experiment.pk, found.outcome)
    return Judged(experiment, decision, promotion)


def _bring_back(anchor: ModelVersion, reason: str, verify: Verify) -> Promotion:
    """The anchor, or where it can't serve any more the last good version there is."""
    try:
        return registry.bring_back(anchor, reason=reason, by=BY_ITSELF, verify=verify)
    except (ArtifactError, registry.NotPromotable) as error:
        logger.warning("anchor_unusable version=%s reason=%r", anchor.label, str(error))
        return registry.roll_back(reason=f"{reason} {error}", by=BY_ITSELF, verify=verify)


def _void(experiment: Experiment, reason: str, now: datetime) -> None:
    if experiment.kind != Kind.ANCHOR:
        registry.stand_down(experiment.challenger, waiting=True)
    _end(experiment, Experiment.Outcome.VOID, reason, now)


def _end(experiment: Experiment, outcome: str, reason: str, now: datetime) -> None:
    """What has ended stays as it ended."""
    going_on = Experiment.objects.filter(pk=experiment.pk).exclude(status=Status.ENDED)
    going_on.update(status=Status.ENDED, ended_at=now, outcome=outcome, reason=reason)
    experiment.refresh_from_db()


def _require_open(experiment: Experiment, reason: str) -> None:
    experiment.refresh_from_db()
    if experiment.status == Status.ENDED:
        raise NotDecidable(f"{experiment} is over: {experiment.outcome}.")
    if not reason.strip():
        raise NotDecidable("Say why: the ledger keeps the reason.")


def _active_listeners(now: datetime) -> int:
    lately = ServedList.objects.filter(generated_at__gte=now - ACTIVE, generated_at__lte=now)
    return lately.values("listener").distinct().count() or 1


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    """A transaction in which nobody else changes a test: the lock is that of the roles."""
    with transaction.atomic():
        ModelVersion.objects.select_for_update().order_by("pk").first()
        yield

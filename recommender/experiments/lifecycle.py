"""Tests between versions: proposed, started, judged every day, ended. The only writer of their state."""

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from recommender.engine.artifact import ArtifactError
from recommender.engine.experiments.decision_rules import DecisionOutcome, ExperimentVerdict
from recommender.experiments import decisions, interleaving_scores, serving_errors, statistics
from recommender.experiments.eligibility import AUTOMATIC_ACTOR, was_champion_replaced, why_obsolete
from recommender.models import Decision, Experiment, ModelVersion, Promotion, ServedList
from recommender.registry import registry
from recommender.registry.registry import Verify

logger = logging.getLogger(__name__)

ExperimentKind, ExperimentStatus = Experiment.Kind, Experiment.Status
LIST_SHARE: Final = 0.7
HOLDBACK_LIST_SHARE: Final = 0.3
HOLDBACK_AGE: Final = timedelta(days=28)
ACTIVE_WINDOW: Final = timedelta(days=28)
MAX_PLANNED_LISTENERS: Final = 500  # listeners, beyond which a confidence sequence need not be tightest


class ExperimentNotAllowed(Exception):
    """A test can't be started, stopped or decided as asked; nothing was changed."""


@dataclass(frozen=True)
class JudgedExperiment:
    """What came of looking at a running test.

    Attributes:
        decision: None where the test was void before anything was counted.
        promotion: the ledger's line, where the champion changed.
    """

    experiment: Experiment
    decision: Decision | None = None
    promotion: Promotion | None = None


def propose_experiment(
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
        ExperimentNotAllowed: there is no champion to test against.
        NotPromotable: the version is champion, or was withdrawn.
    """
    champion = registry.current_champion()
    if champion is None:
        raise ExperimentNotAllowed("There is no champion to test against: promote a version first.")
    challenger = champion if kind == ExperimentKind.EQUALS else version
    with registry.role_lock():
        same = Experiment.objects.exclude(status=ExperimentStatus.ENDED).filter(
            kind=kind, challenger=challenger
        )
        if going_on := same.first():
            return going_on
        if kind != ExperimentKind.EQUALS:
            for older in Experiment.objects.filter(status=ExperimentStatus.WAITING).exclude(
                kind=ExperimentKind.EQUALS
            ):
                _end_experiment(older, Experiment.Outcome.VOID, f"{version.label} is newer.", now)
        experiment = Experiment.objects.create(
            kind=kind, champion=champion, challenger=challenger, list_share=list_share,
            split_share=split_share, created_at=now, by=by, gates=gates, purpose=purpose,
        )  # fmt: skip
    start_next_experiment(now)
    experiment.refresh_from_db()
    return experiment


def start_next_experiment(now: datetime) -> Experiment | None:
    """Start the test that waits, if none is running; None where there is nothing to start.

    A test of equals keeps no candidate waiting: it comes after it, and ends for it.
    """
    with registry.role_lock():
        queue = Experiment.objects.filter(status=ExperimentStatus.WAITING).order_by("pk")
        waiting = queue.exclude(kind=ExperimentKind.EQUALS).first() or queue.first()
        if waiting is None or not _make_room(running_experiment(), waiting, now):
            return None
        champion = registry.current_champion()
        if champion is None:
            return None
        if was_champion_replaced(waiting, champion):
            _end_experiment(
                waiting, Experiment.Outcome.VOID, f"It was made to follow {waiting.champion}.", now
            )
            return None
        if waiting.kind != ExperimentKind.EQUALS:
            try:
                registry.make_challenger(waiting.challenger)
            except registry.NotPromotable as error:
                _end_experiment(waiting, Experiment.Outcome.VOID, str(error), now)
                return None
        waiting.champion = champion
        waiting.challenger = champion if waiting.kind == ExperimentKind.EQUALS else waiting.challenger
        waiting.status, waiting.started_at = ExperimentStatus.RUNNING, now
        waiting.planned_listeners = min(MAX_PLANNED_LISTENERS, _active_listeners(now))
        waiting.save()
    logger.info("experiment_started experiment=%s kind=%s", waiting.pk, waiting.kind)
    return waiting


def _make_room(current: Experiment | None, waiting: Experiment, now: datetime) -> bool:
    if current is None:
        return True
    if current.kind != ExperimentKind.EQUALS or waiting.kind == ExperimentKind.EQUALS:
        return False
    _end_experiment(
        current, Experiment.Outcome.VOID, f"It made room for the test of {waiting.challenger}.", now
    )
    return True


def running_experiment() -> Experiment | None:
    """The test that runs, the anchor's left aside."""
    return (
        Experiment.objects.filter(status=ExperimentStatus.RUNNING).exclude(kind=ExperimentKind.ANCHOR).first()
    )


def renew_holdback(now: datetime) -> Experiment | None:
    """Keep the champion of 28 days ago as an anchor; a new one every 28 days, not at promotions."""
    with registry.role_lock():
        current = Experiment.objects.filter(
            status=ExperimentStatus.RUNNING, kind=ExperimentKind.ANCHOR
        ).first()
        if current is not None and current.started_at and now - current.started_at < HOLDBACK_AGE:
            return current
        if current is not None:
            _end_experiment(current, Experiment.Outcome.INCONCLUSIVE, "Its 28 days are over.", now)
        champion, anchor = registry.current_champion(), registry.champion_at(now - HOLDBACK_AGE)
        if champion is None or anchor is None or anchor == champion or serving_errors.is_unservable(anchor):
            return None
        return Experiment.objects.create(
            kind=ExperimentKind.ANCHOR,
            status=ExperimentStatus.RUNNING,
            champion=champion,
            challenger=anchor,
            by=AUTOMATIC_ACTOR,
            list_share=HOLDBACK_LIST_SHARE,
            created_at=now,
            started_at=now,
            planned_listeners=min(MAX_PLANNED_LISTENERS, _active_listeners(now)),
        )


def judge_experiments(now: datetime, verify: Verify) -> list[JudgedExperiment]:
    """Look at every running test, and do what its verdict says."""
    at_work = list(Experiment.objects.filter(status=ExperimentStatus.RUNNING).order_by("pk"))
    judged = [_judge_experiment(experiment, now, verify) for experiment in at_work]
    renew_holdback(now)
    start_next_experiment(now)
    return judged


def stop_experiment(experiment: Experiment, *, reason: str, by: str, now: datetime) -> None:
    """End a test without a verdict; the challenger is a candidate again.

    Raises:
        ExperimentNotAllowed: it is over, or there is no reason.
    """
    with registry.role_lock():
        _require_open(experiment, reason)
        registry.release_challenger(experiment.challenger, as_candidate=True)
        _end_experiment(experiment, Experiment.Outcome.VOID, f"Stopped by {by}: {reason}", now)


def decide_manually(
    experiment: Experiment, *, promote: bool, reason: str, by: str, now: datetime, verify: Verify
) -> Promotion | None:
    """End a test as a person wants it; the evidence so far is stored with it.

    Raises:
        ExperimentNotAllowed: it is over, or there is no reason.
        RegistryError: the challenger can't become champion.
    """
    outcome = Experiment.Outcome.PROMOTE if promote else Experiment.Outcome.REJECT
    with registry.role_lock():
        _require_open(experiment, reason)
        numbers, scores = statistics.gather_evidence(experiment, now)
        decision, _ = decisions.store_decision(
            experiment, numbers, interleaving_scores.hash_scores(scores), now
        )
        said = f"Decided by {by}: {reason}"
        promotion = None
        if promote:
            promotion = registry.promote(experiment.challenger, reason=said, by=by, verify=verify)
        else:
            registry.release_challenger(experiment.challenger)
        decisions.mark_final(decision, promotion)
        _end_experiment(experiment, outcome, said, now)
    return promotion


def void_obsolete_experiments(now: datetime) -> int:
    """Close tests whose champion, or whose anchor, is it no longer; how many there were."""
    closed = 0
    with registry.role_lock():
        champion = registry.current_champion()
        for experiment in Experiment.objects.filter(status=ExperimentStatus.RUNNING).order_by("pk"):
            if why := why_obsolete(champion, experiment):
                _void_experiment(experiment, why, now)
                closed += 1
    return closed


def _judge_experiment(experiment: Experiment, now: datetime, verify: Verify) -> JudgedExperiment:
    # One that came before may have ended this one.
    void_obsolete_experiments(now)
    experiment.refresh_from_db()
    if experiment.status == ExperimentStatus.ENDED:
        return JudgedExperiment(experiment)
    failure = serving_errors.find_hard_failure(experiment, now, verify)
    if failure and experiment.kind == ExperimentKind.ANCHOR:
        # Of the anchor, which is not on trial: the champion must not pay for it.
        _void_experiment(experiment, failure, now)
        return JudgedExperiment(experiment)
    numbers, scores = statistics.gather_evidence(experiment, now, hard_failure=failure)
    decision, found = decisions.store_decision(
        experiment, numbers, interleaving_scores.hash_scores(scores), now
    )
    if found.outcome == DecisionOutcome.WAITING:
        return JudgedExperiment(experiment, decision)
    return _apply_verdict(experiment, decision, found, now, verify)


def _apply_verdict(
    experiment: Experiment, decision: Decision, ruling: ExperimentVerdict, now: datetime, verify: Verify
) -> JudgedExperiment:
    """Do what the verdict says, end the test and seal the decision: all of it, or nothing."""
    promotion, challenger, reason = None, experiment.challenger, ruling.reason
    with registry.role_lock():
        void_obsolete_experiments(now)
        experiment.refresh_from_db()
        if experiment.status == ExperimentStatus.ENDED:
            # While this one was counting somebody else has decided, or changed the champion.
            decision.delete()
            return JudgedExperiment(experiment)
        if experiment.kind == ExperimentKind.ANCHOR and ruling.outcome == DecisionOutcome.ROLLBACK:
            promotion = _restore_holdback(challenger, reason, verify)
        elif ruling.outcome == DecisionOutcome.PROMOTE:
            promotion = registry.promote(challenger, reason=reason, by=AUTOMATIC_ACTOR, verify=verify)
        elif experiment.kind not in {ExperimentKind.ANCHOR, ExperimentKind.EQUALS}:
            ruled = ruling.outcome
            registry.release_challenger(
                challenger,
                withdrawn=ruled == DecisionOutcome.ROLLBACK,
                as_candidate=ruled == DecisionOutcome.INVALID,
            )
        _end_experiment(experiment, Experiment.Outcome(ruling.outcome.value), reason, now)
        decisions.mark_final(decision, promotion)
        if promotion is not None:
            void_obsolete_experiments(now)
    logger.info("experiment_ended experiment=%s outcome=%s", experiment.pk, ruling.outcome)
    return JudgedExperiment(experiment, decision, promotion)


def _restore_holdback(holdback: ModelVersion, reason: str, verify: Verify) -> Promotion:
    """The anchor, or where it can't serve any more the last good version there is."""
    try:
        return registry.restore_champion(holdback, reason=reason, by=AUTOMATIC_ACTOR, verify=verify)
    except (ArtifactError, registry.NotPromotable) as error:
        logger.warning("anchor_unusable version=%s reason=%r", holdback.label, str(error))
        return registry.roll_back(reason=f"{reason} {error}", by=AUTOMATIC_ACTOR, verify=verify)


def _void_experiment(experiment: Experiment, reason: str, now: datetime) -> None:
    if experiment.kind != ExperimentKind.ANCHOR:
        registry.release_challenger(experiment.challenger, as_candidate=True)
    _end_experiment(experiment, Experiment.Outcome.VOID, reason, now)


def _end_experiment(experiment: Experiment, outcome: str, reason: str, now: datetime) -> None:
    """What has ended stays as it ended."""
    going_on = Experiment.objects.filter(pk=experiment.pk).exclude(status=ExperimentStatus.ENDED)
    going_on.update(status=ExperimentStatus.ENDED, ended_at=now, outcome=outcome, reason=reason)
    experiment.refresh_from_db()


def _require_open(experiment: Experiment, reason: str) -> None:
    experiment.refresh_from_db()
    if experiment.status == ExperimentStatus.ENDED:
        raise ExperimentNotAllowed(f"{experiment} is over: {experiment.outcome}.")
    if not reason.strip():
        raise ExperimentNotAllowed("Say why: the ledger keeps the reason.")


def _active_listeners(now: datetime) -> int:
    lately = ServedList.objects.filter(generated_at__gte=now - ACTIVE_WINDOW, generated_at__lte=now)
    return lately.values("listener").distinct().count() or 1

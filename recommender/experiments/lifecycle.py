"""Life cycle of experiments. Only this module sets their status."""

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from django.db import transaction

from ingestion.audit import Action, record_audit
from ingestion.english import english_name
from recommender.engine.artifact import ArtifactError
from recommender.engine.experiments.evidence import DecisionOutcome, ExperimentVerdict
from recommender.experiments import (
    decisions,
    interleaving_scores,
    refresh_limits,
    serving_errors,
    statistics,
)
from recommender.experiments.eligibility import AUTOMATIC_ACTOR, was_champion_replaced, why_obsolete
from recommender.models import Decision, Experiment, ExperimentNote, ModelVersion, Promotion, ServedList
from recommender.registry import registry
from recommender.registry.registry import Verify

logger = logging.getLogger(__name__)

ExperimentKind, ExperimentStatus = Experiment.Kind, Experiment.Status
LIST_SHARE: Final = 0.7
HOLDBACK_LIST_SHARE: Final = 0.3
HOLDBACK_AGE: Final = timedelta(days=28)
ACTIVE_WINDOW: Final = timedelta(days=28)
MAX_PLANNED_LISTENERS: Final = (
    500  # upper limit of the sample size at which confidence sequences are tightest
)


class ExperimentNotAllowed(Exception):
    """The request is not allowed now, and nothing was changed."""


@dataclass(frozen=True)
class JudgedExperiment:
    experiment: Experiment
    decision: Decision | None = None  # None if the experiment was void before anything was counted
    promotion: Promotion | None = None  # set if the champion changed


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
    """Queue an experiment of a version against the champion; start it if none is running.

    A newer candidate replaces a waiting one. A version's open experiment is returned.

    Raises:
        ExperimentNotAllowed: there is no champion.
        NotPromotable: the version is champion, or was withdrawn.
    """
    champion = registry.current_champion()
    if champion is None:
        raise ExperimentNotAllowed("There is no champion to test against: promote a version first.")
    challenger = champion if kind == ExperimentKind.AA_TEST else version
    with registry.role_lock():
        same = Experiment.objects.exclude(status=ExperimentStatus.ENDED).filter(
            kind=kind, challenger=challenger
        )
        if open_experiment := same.first():
            return open_experiment
        if kind != ExperimentKind.AA_TEST:
            for older in Experiment.objects.filter(status=ExperimentStatus.WAITING).exclude(
                kind=ExperimentKind.AA_TEST
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
    """Start and return the next waiting experiment; None if none may start.

    Waiting candidates take precedence over A/A tests: a running A/A test is ended.
    """
    with registry.role_lock():
        queue = Experiment.objects.filter(status=ExperimentStatus.WAITING).order_by("pk")
        waiting = queue.exclude(kind=ExperimentKind.AA_TEST).first() or queue.first()
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
        if waiting.kind == ExperimentKind.REFRESH and (frozen := refresh_limits.why_frozen(now)):
            # What a person starts ends the freeze.
            _end_experiment(waiting, Experiment.Outcome.VOID, f"Refreshes are frozen: {frozen}", now)
            return None
        if waiting.kind != ExperimentKind.AA_TEST:
            try:
                registry.make_challenger(waiting.challenger)
            except registry.NotPromotable as error:
                _end_experiment(waiting, Experiment.Outcome.VOID, str(error), now)
                return None
        waiting.champion = champion
        waiting.challenger = champion if waiting.kind == ExperimentKind.AA_TEST else waiting.challenger
        waiting.status, waiting.started_at = ExperimentStatus.RUNNING, now
        waiting.planned_listeners = min(MAX_PLANNED_LISTENERS, _active_listeners(now))
        waiting.save()
    logger.info("experiment_started experiment=%s kind=%s", waiting.pk, waiting.kind)
    return waiting


def _make_room(current: Experiment | None, waiting: Experiment, now: datetime) -> bool:
    if current is None:
        return True
    if current.kind != ExperimentKind.AA_TEST or waiting.kind == ExperimentKind.AA_TEST:
        return False
    _end_experiment(
        current, Experiment.Outcome.VOID, f"It made room for the test of {waiting.challenger}.", now
    )
    return True


def running_experiment() -> Experiment | None:
    """The running experiment, apart from the holdback."""
    return (
        Experiment.objects.filter(status=ExperimentStatus.RUNNING)
        .exclude(kind=ExperimentKind.HOLDBACK)
        .first()
    )


def renew_holdback(now: datetime) -> Experiment | None:
    """Return the running holdback; after its 28 days, end it and start the next one.

    The next one tests the version that was champion 28 days ago. None if there was none, if it is still
    champion, or if it can't serve.
    """
    with registry.role_lock():
        current = Experiment.objects.filter(
            status=ExperimentStatus.RUNNING, kind=ExperimentKind.HOLDBACK
        ).first()
        if current is not None and current.started_at and now - current.started_at < HOLDBACK_AGE:
            return current
        if current is not None:
            _end_experiment(current, Experiment.Outcome.INCONCLUSIVE, "Its 28 days are over.", now)
        champion, former = registry.current_champion(), registry.champion_at(now - HOLDBACK_AGE)
        if champion is None or former is None or former == champion or serving_errors.is_unservable(former):
            return None
        return Experiment.objects.create(
            kind=ExperimentKind.HOLDBACK,
            status=ExperimentStatus.RUNNING,
            champion=champion,
            challenger=former,
            by=AUTOMATIC_ACTOR,
            list_share=HOLDBACK_LIST_SHARE,
            created_at=now,
            started_at=now,
            planned_listeners=min(MAX_PLANNED_LISTENERS, _active_listeners(now)),
        )


def judge_experiments(now: datetime, verify: Verify) -> list[JudgedExperiment]:
    running = list(Experiment.objects.filter(status=ExperimentStatus.RUNNING).order_by("pk"))
    judged = [_judge_experiment(experiment, now, verify) for experiment in running]
    renew_holdback(now)
    start_next_experiment(now)
    return judged


def add_note(experiment: Experiment, text: str, *, by: str, now: datetime) -> ExperimentNote:
    """Store a person's remark on the experiment, ended or not, and record it in the audit trail."""
    with transaction.atomic():
        record_audit(Action.NOTE_ADDED, by, f"experiment {experiment.pk}")
        return experiment.notes.create(text=text, by=by, at=now)


def stop_experiment(experiment: Experiment, *, reason: str, by: str, now: datetime) -> None:
    """End the experiment without a verdict; the challenger becomes a candidate again.

    Raises:
        ExperimentNotAllowed: it has ended, or the reason is empty.
    """
    with registry.role_lock():
        _require_open(experiment, reason)
        registry.release_challenger(experiment.challenger, as_candidate=True)
        _end_experiment(experiment, Experiment.Outcome.VOID, f"Stopped by {by}: {reason}", now)


def decide_manually(
    experiment: Experiment, *, promote: bool, reason: str, by: str, now: datetime, verify: Verify
) -> Promotion | None:
    """Store a person's decision with the evidence so far, and carry it out.

    Raises:
        ExperimentNotAllowed: it has ended, or the reason is empty.
        RegistryError: the challenger can't become champion.
    """
    outcome = Experiment.Outcome.PROMOTE if promote else Experiment.Outcome.REJECT
    with registry.role_lock():
        _require_open(experiment, reason)
        evidence, scores = statistics.gather_evidence(experiment, now)
        decision, _ = decisions.store_decision(
            experiment, evidence, interleaving_scores.hash_scores(scores), now
        )
        signed_reason = f"Decided by {by}: {reason}"
        promotion = None
        if promote:
            promotion = registry.promote(experiment.challenger, reason=signed_reason, by=by, verify=verify)
        else:
            registry.release_challenger(experiment.challenger)
        decisions.mark_final(decision, promotion, decided_by=by)
        _end_experiment(experiment, outcome, signed_reason, now)
    return promotion


def void_obsolete_experiments(now: datetime) -> int:
    """End experiments that can no longer reach a decision; return how many."""
    closed = 0
    with registry.role_lock():
        champion = registry.current_champion()
        for experiment in Experiment.objects.filter(status=ExperimentStatus.RUNNING).order_by("pk"):
            if why := why_obsolete(champion, experiment):
                _void_experiment(experiment, why, now)
                closed += 1
    return closed


def _judge_experiment(experiment: Experiment, now: datetime, verify: Verify) -> JudgedExperiment:
    # The check of the previous experiment may have changed the champion.
    void_obsolete_experiments(now)
    experiment.refresh_from_db()
    if experiment.status == ExperimentStatus.ENDED:
        return JudgedExperiment(experiment)
    failure = serving_errors.find_hard_failure(experiment, now, verify)
    if failure and experiment.kind == ExperimentKind.HOLDBACK:
        # Only the reference model failed; a holdback tests the champion.
        _void_experiment(experiment, failure, now)
        return JudgedExperiment(experiment)
    evidence, scores = statistics.gather_evidence(experiment, now, hard_failure=failure)
    decision, verdict = decisions.store_decision(
        experiment, evidence, interleaving_scores.hash_scores(scores), now
    )
    if verdict.outcome == DecisionOutcome.WAITING:
        return JudgedExperiment(experiment, decision)
    return _apply_verdict(experiment, decision, verdict, now, verify)


def _apply_verdict(
    experiment: Experiment, decision: Decision, verdict: ExperimentVerdict, now: datetime, verify: Verify
) -> JudgedExperiment:
    promotion, challenger, reason = None, experiment.challenger, verdict.reason
    with registry.role_lock():
        void_obsolete_experiments(now)
        experiment.refresh_from_db()
        if experiment.status == ExperimentStatus.ENDED or _tests_former_champion(experiment, decision):
            # Another process decided or changed the champion while this process gathered the evidence.
            decision.delete()
            return JudgedExperiment(experiment)
        if experiment.kind == ExperimentKind.HOLDBACK and verdict.outcome == DecisionOutcome.ROLLBACK:
            promotion = _restore_holdback(challenger, reason, verify)
        elif verdict.outcome == DecisionOutcome.PROMOTE:
            promotion = registry.promote(challenger, reason=reason, by=AUTOMATIC_ACTOR, verify=verify)
        elif experiment.kind not in {ExperimentKind.HOLDBACK, ExperimentKind.AA_TEST}:
            registry.release_challenger(
                challenger,
                withdrawn=verdict.outcome == DecisionOutcome.ROLLBACK,
                as_candidate=verdict.outcome == DecisionOutcome.INVALID,
            )
        _end_experiment(experiment, Experiment.Outcome(verdict.outcome.value), reason, now)
        decisions.mark_final(decision, promotion)
        if promotion is not None:
            void_obsolete_experiments(now)
    logger.info("experiment_ended experiment=%s outcome=%s", experiment.pk, verdict.outcome)
    return JudgedExperiment(experiment, decision, promotion)


def _tests_former_champion(experiment: Experiment, decision: Decision) -> bool:
    """Whether the holdback's rounds belong to a version that is not champion any more."""
    return experiment.tests_champion and decision.evidence["tested"] != str(registry.current_champion())


def _restore_holdback(holdback: ModelVersion, reason: str, verify: Verify) -> Promotion:
    try:
        return registry.restore_champion(holdback, reason=reason, by=AUTOMATIC_ACTOR, verify=verify)
    except (ArtifactError, registry.NotPromotable) as error:
        logger.warning("holdback_cannot_serve version=%s reason=%r", holdback.label, str(error))
        return registry.roll_back(reason=f"{reason} {error}", by=AUTOMATIC_ACTOR, verify=verify)


def _void_experiment(experiment: Experiment, reason: str, now: datetime) -> None:
    if experiment.kind != ExperimentKind.HOLDBACK:
        registry.release_challenger(experiment.challenger, as_candidate=True)
    _end_experiment(experiment, Experiment.Outcome.VOID, reason, now)


def _end_experiment(experiment: Experiment, outcome: str, reason: str, now: datetime) -> None:
    # An experiment that has ended keeps its first outcome.
    unended = Experiment.objects.filter(pk=experiment.pk).exclude(status=ExperimentStatus.ENDED)
    unended.update(status=ExperimentStatus.ENDED, ended_at=now, outcome=outcome, reason=reason)
    experiment.refresh_from_db()


def _require_open(experiment: Experiment, reason: str) -> None:
    experiment.refresh_from_db()
    if experiment.status == ExperimentStatus.ENDED:
        raise ExperimentNotAllowed(f"{english_name(experiment)} is over.")
    if not reason.strip():
        raise ExperimentNotAllowed("Give a reason: it is stored with the promotion.")


def _active_listeners(now: datetime) -> int:
    recent = ServedList.objects.filter(generated_at__gte=now - ACTIVE_WINDOW, generated_at__lte=now)
    return recent.values("listener").distinct().count() or 1

"""What the loop did about each planted event, told and judged from the tables alone."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.db.models import QuerySet

from ingestion.models import Incident, IngestionRun
from recommender.models import DriftReport, Experiment, ModelVersion, Promotion, TrainingRun

DAY: Final = timedelta(days=1)
# A drift must be found by the second look after it, of weeks that end on Sundays.
MAX_DRIFT_DELAY: Final = timedelta(days=22)
RunStatus: Final = IngestionRun.Status


@dataclass(frozen=True)
class PlantedEvent:
    """One event as it happened.

    Attributes:
        until: the first moment without it; `since` for what happens once.
        subject: what it is about: a version's label, or an audio feature.
    """

    kind: str
    description: str
    since: datetime
    until: datetime
    subject: str = ""


@dataclass(frozen=True)
class EventFinding:
    """What the loop did about it, when it began to, and whether that was right."""

    event: PlantedEvent
    reaction: str
    at: datetime | None
    is_right: bool | None  # None: the weeks were over before it could be


JudgedReaction = tuple[str, datetime | None, bool | None]
NO_REACTION: Final[JudgedReaction] = ("nothing", None, False)


def judge_events(events: list[PlantedEvent]) -> list[EventFinding]:
    """One finding for each planted event, in order."""
    return [EventFinding(one, *_JUDGES[one.kind](one)) for one in events]


def _judge_outage(planted: PlantedEvent) -> JudgedReaction:
    return _judge_runs(planted, RunStatus.FAILED, "failed")


def _judge_catalogue_reset(planted: PlantedEvent) -> JudgedReaction:
    return _judge_runs(planted, RunStatus.REFUSED, "refused: nothing was written")


def _judge_runs(planted: PlantedEvent, wanted: str, word: str) -> JudgedReaction:
    """Right where every run of the time ended so, an incident told of it, and the next run ended both."""
    during = _between(IngestionRun.objects.order_by("pk"), "started_at", planted)
    count = during.filter(status=wanted).count()
    incident = _between(Incident.objects.filter(key="run"), "opened_at", planted).first()
    after = IngestionRun.objects.filter(started_at__gte=planted.until).order_by("pk").first()
    if incident is None or not count:
        return (f"{count} of {during.count()} runs {word}, no incident", None, False)
    did = f"{count} runs {word}; incident {incident.pk} open"
    is_over = incident.resolved_at is not None and incident.resolved_by_run_id == (after and after.pk)
    if is_over and after is not None:
        did += f", over with run {after.pk} on {after.started_at:%d %b}"
    return did, incident.opened_at, is_over and count == during.count()


def _judge_feed_fault(planted: PlantedEvent) -> JudgedReaction:
    """Right where the fault was told of, was over in the end, and no model was made anew because of it."""
    until = planted.until + DAY
    incidents = Incident.objects.filter(
        key=f"feed_fault:{planted.subject}", opened_at__gte=planted.since, opened_at__lt=until
    )
    incident = incidents.order_by("pk").first()
    full = TrainingRun.objects.filter(
        trigger=TrainingRun.Trigger.DRIFT, started_at__gte=planted.since, started_at__lt=until
    )
    if incident is None:
        return NO_REACTION
    is_over = incident.resolved_at is not None
    did = f"incident {incident.pk}: {incident.facts.get('fault', '')}"
    did += f"; over on {incident.resolved_at:%d %b}" if incident.resolved_at else "; still open"
    did += ", no retrain" if not full.exists() else ", and a full retrain"
    return did, incident.opened_at, is_over and not full.exists()


def _judge_drift(planted: PlantedEvent) -> JudgedReaction:
    """Right where it was found in time, led to a full retrain, and that to a test or a refusal by a gate."""
    found = DriftReport.objects.filter(
        alarm=True, at__gte=planted.since, kind=DriftReport.Kind.LISTENING
    ).order_by("at")
    alarm = found.first()
    if alarm is None:
        return NO_REACTION
    training = TrainingRun.objects.filter(
        trigger=TrainingRun.Trigger.DRIFT, full=True, started_at__gte=alarm.at
    ).order_by("pk").first()  # fmt: skip
    did = f"alarm (effect {alarm.effect:.2f}, limit {alarm.limit:.2f})"
    is_early = alarm.at < planted.since + MAX_DRIFT_DELAY
    if training is None or training.version is None:
        return f"{did}, no full retrain", alarm.at, False
    test = Experiment.objects.filter(challenger=training.version).first()
    ended = f"{test.outcome or test.status}" if test is not None else "refused by its gates"
    did += f"; full retrain {training.version} on {training.started_at:%d %b}, its test: {ended}"
    return did, alarm.at, is_early


def _judge_worse_version(planted: PlantedEvent) -> JudgedReaction:
    """Right where it was tested and lost, or never tested; and no listener had it as champion."""
    version = ModelVersion.objects.filter(label=planted.subject).first()
    if version is None:
        return NO_REACTION
    test = Experiment.objects.filter(challenger=version).first()
    reigned = Promotion.objects.filter(promoted=version).exists()
    if test is None:
        return f"{version.label} was refused by its gates", planted.since, not reigned
    lost = test.outcome in {Experiment.Outcome.REJECT, Experiment.Outcome.ROLLBACK}
    did = f"{version.label}, {_describe_experiment(test)}"
    return did, test.ended_at, lost and not reigned


def _judge_better_method(planted: PlantedEvent) -> JudgedReaction:
    """Right where a version of the other method won a test against the champion that was planted."""
    tests = Experiment.objects.filter(champion__label=planted.subject, kind=Experiment.Kind.CHANGE)
    tests = tests.exclude(outcome=Experiment.Outcome.VOID).order_by("pk")
    won = tests.filter(outcome=Experiment.Outcome.PROMOTE).first()
    test = won or tests.first()
    if test is None:
        return NO_REACTION
    is_over = test.status == Experiment.Status.ENDED
    return (
        f"{test.challenger}, {_describe_experiment(test)}",
        test.ended_at,
        won is not None if is_over else None,
    )


def _describe_experiment(test: Experiment) -> str:
    last = test.decisions.first()
    rounds = f" {last.evidence['wins']} : {last.evidence['losses']} rounds" if last else ""
    return f"experiment {test.pk}: {test.get_outcome_display() or test.get_status_display()}{rounds}"


def _between(rows: QuerySet, name: str, planted: PlantedEvent) -> QuerySet:  # type: ignore[type-arg]
    return rows.filter(**{f"{name}__gte": planted.since, f"{name}__lt": planted.until})


_JUDGES: Final[Mapping[str, Callable[[PlantedEvent], JudgedReaction]]] = {
    "outage": _judge_outage,
    "reset": _judge_catalogue_reset,
    "feed": _judge_feed_fault,
    "drift": _judge_drift,
    "worse": _judge_worse_version,
    "better": _judge_better_method,
}

"""Report of a simulation: how the system reacted to each injected event, read from the database."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.db.models import QuerySet

from ingestion.models import Incident, IngestionRun
from recommender.models import DriftReport, Experiment, ModelVersion, Promotion, TrainingRun

DAY: Final = timedelta(days=1)
# The weekly drift check must find a drift by its second run; its weeks end on Sundays.
MAX_DRIFT_DELAY: Final = timedelta(days=22)
RunStatus: Final = IngestionRun.Status


@dataclass(frozen=True)
class PlantedEvent:
    kind: str
    description: str
    since: datetime
    until: datetime  # its end; equal to `since` for an event without a duration
    subject: str = ""  # a version's label or an audio feature


@dataclass(frozen=True)
class EventFinding:
    event: PlantedEvent
    reaction: str
    at: datetime | None  # when it first reacted; None if it did not
    is_right: bool | None  # whether it reacted as it should; None if the simulation ended too early


JudgedReaction = tuple[str, datetime | None, bool | None]
NO_REACTION: Final[JudgedReaction] = ("nothing", None, False)


def judge_events(events: list[PlantedEvent]) -> list[EventFinding]:
    return [EventFinding(one, *_JUDGES[one.kind](one)) for one in events]


def _judge_outage(planted: PlantedEvent) -> JudgedReaction:
    return _judge_runs(planted, RunStatus.FAILED, "failed")


def _judge_catalogue_reset(planted: PlantedEvent) -> JudgedReaction:
    return _judge_runs(planted, RunStatus.REFUSED, "refused: nothing was written")


def _judge_runs(planted: PlantedEvent, wanted: str, word: str) -> JudgedReaction:
    during = _between(IngestionRun.objects.order_by("pk"), "started_at", planted)
    count = during.filter(status=wanted).count()
    incident = _between(Incident.objects.filter(key="run"), "opened_at", planted).first()
    after = IngestionRun.objects.filter(started_at__gte=planted.until).order_by("pk").first()
    if incident is None or not count:
        return (f"{count} of {during.count()} runs {word}, no incident", None, False)
    reaction = f"{count} runs {word}; incident {incident.pk} opened"
    is_over = incident.resolved_at is not None and incident.resolved_by_run_id == (after and after.pk)
    if is_over and after is not None:
        reaction += f", resolved by run {after.pk} on {after.started_at:%d %b}"
    return reaction, incident.opened_at, is_over and count == during.count()


def _judge_feed_fault(planted: PlantedEvent) -> JudgedReaction:
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
    reaction = f"incident {incident.pk}: {incident.facts.get('fault', '')}"
    reaction += f"; resolved on {incident.resolved_at:%d %b}" if incident.resolved_at else "; still open"
    reaction += ", no full retrain" if not full.exists() else ", but a full retrain"
    return reaction, incident.opened_at, is_over and not full.exists()


def _judge_drift(planted: PlantedEvent) -> JudgedReaction:
    found = DriftReport.objects.filter(
        alarm=True, at__gte=planted.since, kind=DriftReport.Kind.LISTENING
    ).order_by("at")
    alarm = found.first()
    if alarm is None:
        return NO_REACTION
    training = TrainingRun.objects.filter(
        trigger=TrainingRun.Trigger.DRIFT, full=True, started_at__gte=alarm.at
    ).order_by("pk").first()  # fmt: skip
    reaction = f"drift found (effect {alarm.effect:.2f}, limit {alarm.limit:.2f})"
    in_time = alarm.at < planted.since + MAX_DRIFT_DELAY
    if training is None or training.version is None:
        return f"{reaction}, no full retrain", alarm.at, False
    experiment = Experiment.objects.filter(challenger=training.version).first()
    result = (
        f"experiment: {experiment.outcome or experiment.status}" if experiment else "rejected by its gates"
    )
    reaction += f"; full retrain {training.version} on {training.started_at:%d %b}, {result}"
    return reaction, alarm.at, in_time


def _judge_worse_version(planted: PlantedEvent) -> JudgedReaction:
    version = ModelVersion.objects.filter(label=planted.subject).first()
    if version is None:
        return NO_REACTION
    experiment = Experiment.objects.filter(challenger=version).first()
    was_champion = Promotion.objects.filter(promoted=version).exists()
    if experiment is None:
        return f"{version.label} was rejected by its gates", planted.since, not was_champion
    lost = experiment.outcome in {Experiment.Outcome.REJECT, Experiment.Outcome.ROLLBACK}
    reaction = f"{version.label}, {_describe_experiment(experiment)}"
    return reaction, experiment.ended_at, lost and not was_champion


def _judge_better_method(planted: PlantedEvent) -> JudgedReaction:
    experiments = Experiment.objects.filter(champion__label=planted.subject, kind=Experiment.Kind.CHANGE)
    experiments = experiments.exclude(outcome=Experiment.Outcome.VOID).order_by("pk")
    won = experiments.filter(outcome=Experiment.Outcome.PROMOTE).first()
    experiment = won or experiments.first()
    if experiment is None:
        return NO_REACTION
    is_over = experiment.status == Experiment.Status.ENDED
    return (
        f"{experiment.challenger}, {_describe_experiment(experiment)}",
        experiment.ended_at,
        won is not None if is_over else None,
    )


def _describe_experiment(experiment: Experiment) -> str:
    last = experiment.decisions.first()
    score = f", lists won {last.evidence['wins']}, lost {last.evidence['losses']}" if last else ""
    outcome = experiment.get_outcome_display() or experiment.get_status_display()
    return f"experiment {experiment.pk}: {outcome}{score}"


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

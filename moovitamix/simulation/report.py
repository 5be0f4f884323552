"""Report of a simulation: how the system reacted to each injected event, read from the database."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.db.models import Q, QuerySet

from ingestion.english import english_label
from ingestion.models import Incident, IngestionRun
from recommender.models import DriftReport, Experiment, ModelVersion, Promotion, TrainingRun
from recommender.registry.cohesion import compare_cohesion, far_less_cohesive

DAY: Final = timedelta(days=1)
# The weekly drift check must find a drift by its second run; its weeks end on Sundays.
MAX_DRIFT_DELAY: Final = timedelta(days=22)
# A fad may still be learnt and unlearnt for two weekly trainings.
FAD_AFTERMATH: Final = timedelta(days=14)
# The hourly trial comes once a simulated day, and the clock runs meanwhile: the next morning is in time.
WITHDRAWN_WITHIN: Final = DAY + timedelta(hours=1)
# On the third morning without sessions the first lists are older than 72 hours and can't be closed.
LISTS_ARE_OVERDUE_AFTER: Final = 3 * DAY
RATCHET_INCIDENT_WITHIN: Final = timedelta(weeks=12)
MOST_SILENT_PROMOTIONS: Final = 2  # worse refreshes that may become champion without an incident
TESTED_KINDS: Final = (Experiment.Kind.REFRESH, Experiment.Kind.CHANGE)
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
    in_time = alarm.at < planted.until + MAX_DRIFT_DELAY
    if training is None or training.version is None:
        return f"{reaction}, no full retrain", alarm.at, False
    experiment = Experiment.objects.filter(challenger=training.version).first()
    result = (
        f"experiment: {experiment.outcome or experiment.status}" if experiment else "rejected by its gates"
    )
    reaction += f"; full retrain {training.version} on {training.started_at:%d %b}, {result}"
    # While the new version is under test, nothing is known about it yet.
    is_over = experiment is None or experiment.status == Experiment.Status.ENDED
    return reaction, alarm.at, in_time if is_over or not in_time else None


def _judge_fad(planted: PlantedEvent) -> JudgedReaction:
    rollbacks = Promotion.objects.filter(
        rollback=True, at__gte=planted.since, at__lt=planted.until + FAD_AFTERMATH
    ).count()
    alarm = DriftReport.objects.filter(
        alarm=True, at__gte=planted.since, at__lt=planted.until + FAD_AFTERMATH,
        kind=DriftReport.Kind.LISTENING,
    ).order_by("at").first()  # fmt: skip
    reaction = f"{rollbacks} rollbacks; {'drift alarm' if alarm else 'no drift alarm'}"
    return reaction, alarm.at if alarm else None, rollbacks == 0


def _judge_late_history(planted: PlantedEvent) -> JudgedReaction:
    """Check that no experiment is decided while sessions arrive late, and that an incident reports the wait.

    The incident is required only if an experiment was running all the time, and lists were overdue.
    """
    # Lists whose sessions came in time may still be decided on the first morning.
    tested = Experiment.objects.filter(kind__in=TESTED_KINDS)
    decided = tested.filter(
        ended_at__gte=planted.since + DAY, ended_at__lt=planted.until,
        outcome__in=(Experiment.Outcome.PROMOTE, Experiment.Outcome.REJECT),
    )  # fmt: skip
    ran = tested.filter(started_at__lt=planted.since).filter(
        Q(ended_at=None) | Q(ended_at__gte=planted.until)
    )
    incident = _between(Incident.objects.filter(kind="experiment_waits"), "opened_at", planted).first()
    reaction = f"{decided.count()} experiments decided; "
    reaction += f"incident {incident.pk}: experiment_waits" if incident else "no experiment had to wait"
    has_to_wait = ran.exists() and planted.until - planted.since >= LISTS_ARE_OVERDUE_AFTER
    is_reported = incident is not None or not has_to_wait
    return reaction, incident.opened_at if incident else None, not decided.exists() and is_reported


def _judge_bots(planted: PlantedEvent) -> JudgedReaction:
    promoted = _between(Experiment.objects.filter(outcome=Experiment.Outcome.PROMOTE), "ended_at", planted)
    changes = promoted.filter(kind=Experiment.Kind.CHANGE)
    first = changes.order_by("ended_at").first()
    reaction = f"{changes.count()} changes and {promoted.count() - changes.count()} refreshes promoted"
    return reaction, first.ended_at if first else None, not changes.exists()


def _judge_broken_challenger(planted: PlantedEvent) -> JudgedReaction:
    """Check that each challenger is withdrawn within a day of its start or of the fault."""
    tested = Experiment.objects.filter(kind__in=TESTED_KINDS, started_at__lt=planted.until).filter(
        Q(ended_at=None) | Q(ended_at__gte=planted.since)
    )
    if not tested.exists():
        return "no challenger was under test", None, None
    late = [
        one for one in tested
        if one.outcome != Experiment.Outcome.ROLLBACK or one.started_at is None or one.ended_at is None
        or one.ended_at > max(planted.since, one.started_at) + WITHDRAWN_WITHIN
    ]  # fmt: skip
    ended = tested.filter(outcome=Experiment.Outcome.ROLLBACK).order_by("ended_at").first()
    incident = Incident.objects.filter(kind="challenger_failed", opened_at__gte=planted.since).first()
    reaction = f"{tested.count() - len(late)} of {tested.count()} challengers withdrawn within a day"
    reaction += ", told as challenger_failed" if incident else ", no incident"
    return reaction, ended.ended_at if ended else None, not late and incident is not None


def _judge_ratchet(planted: PlantedEvent) -> JudgedReaction:
    """Check that refreshes, each a little worse, open an incident within 12 weeks or are not promoted."""
    kinds = ("refreshes_unproven", "refreshes_frozen", "yardstick_fell", "rolled_back")
    incident = Incident.objects.filter(kind__in=kinds, opened_at__gte=planted.since).order_by("pk").first()
    worse = ModelVersion.objects.filter(seconds=0.0, created_at__gte=planted.since)
    promoted = Promotion.objects.filter(promoted__in=worse, rollback=False).count()
    reaction = f"{promoted} of {worse.count()} worse refreshes promoted; "
    reaction += f"incident {incident.pk}: {incident.kind}" if incident else "no incident"
    if incident is None and promoted >= MOST_SILENT_PROMOTIONS:
        return reaction, None, False
    in_time = incident is None or incident.opened_at < planted.since + RATCHET_INCIDENT_WITHIN
    return reaction, incident.opened_at if incident else None, in_time


def _judge_worse_version(planted: PlantedEvent) -> JudgedReaction:
    version = ModelVersion.objects.filter(label=planted.subject).first()
    if version is None:
        return NO_REACTION
    experiment = Experiment.objects.filter(challenger=version).first()
    was_champion = Promotion.objects.filter(promoted=version).exists()
    if experiment is None:
        return f"{version.label} was rejected by its gates", planted.since, not was_champion
    is_over = experiment.status == Experiment.Status.ENDED
    if is_over and experiment.started_at is None:
        reaction = (
            f"{version.label}, experiment {experiment.pk}: ended before it started: {experiment.reason}"
        )
        return reaction, experiment.ended_at, not was_champion
    lost = experiment.outcome in {Experiment.Outcome.REJECT, Experiment.Outcome.ROLLBACK}
    reaction = f"{version.label}, {_describe_experiment(experiment)}"
    return reaction, experiment.ended_at, lost and not was_champion if is_over else None


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
    outcome = english_label(experiment, "outcome") or english_label(experiment, "status")
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
    "fad": _judge_fad,
    "late": _judge_late_history,
    "bots": _judge_bots,
    "broken": _judge_broken_challenger,
    "ratchet": _judge_ratchet,
}


# Beside the kinds of incidents: an experiment with another method, other features or new clusters. Only a
# better method or a full retrain makes one.
CHANGE_TESTED: Final = "change_tested"
# What may open, by the kind of the planted event that explains it, until so long after the event's end.
EXPLAINED: Final[Mapping[str, tuple[frozenset[str], timedelta]]] = {
    "outage": (frozenset({"run_failed", "data_stale", "experiment_waits", "unusual"}), 3 * DAY),
    "reset": (
        frozenset({"run_refused", "run_failed", "data_stale", "experiment_waits", "unusual"}), 3 * DAY
    ),
    "feed": (frozenset({"feed_fault", "unusual", "drift_found"}), 28 * DAY),
    "late": (frozenset({"experiment_waits", "data_stale", "unusual", "engagement_deviates"}), 7 * DAY),
    "fad": (frozenset({"drift_found", "engagement_deviates", "unusual", CHANGE_TESTED}), 70 * DAY),
    "drift": (
        frozenset({"drift_found", "engagement_deviates", "cohesion_deviates", "rolled_back", "yardstick_fell",
                   "refreshes_frozen", CHANGE_TESTED}),
        70 * DAY,
    ),
    "worse": (frozenset({"challenger_failed", "rolled_back", "cohesion_deviates"}), 70 * DAY),
    "broken": (frozenset({"challenger_failed"}), DAY),
    "bots": (frozenset({"engagement_deviates", "drift_found"}), 28 * DAY),
    "ratchet": (
        frozenset({"rolled_back", "refreshes_frozen", "yardstick_fell", "cohesion_deviates"}), 70 * DAY
    ),
    "better": (frozenset({"engagement_deviates", "cohesion_deviates", CHANGE_TESTED}), 70 * DAY),
}  # fmt: skip
# True of most healthy installations too: refreshes of equal quality do not win.
ALWAYS_EXPLAINED: Final = frozenset({"refreshes_unproven"})


@dataclass(frozen=True)
class UnplannedFinding:
    """A kind of finding that is an error unless a planted event explains it."""

    name: str
    found: list[str]  # a phrase each; empty if all is well

    @property
    def is_right(self) -> bool:
        return not self.found


def judge_unplanned(events: list[PlantedEvent]) -> list[UnplannedFinding]:
    """False alarms, rollbacks, invalid experiments, and champions below their baselines or predecessors."""
    incidents = [
        f"{one.key} on {one.opened_at:%d %b}" for one in Incident.objects.order_by("pk")
        if one.kind not in ALWAYS_EXPLAINED and not _is_explained(one.kind, one.opened_at, events)
    ]  # fmt: skip
    alarms = [
        f"{english_label(one, 'kind')} on {one.at:%d %b}"
        for one in DriftReport.objects.filter(alarm=True).order_by("pk")
        if not _is_explained("drift_found", one.at, events)
    ]
    full = [
        f"training {one.pk} on {one.started_at:%d %b}"
        for one in TrainingRun.objects.filter(trigger=TrainingRun.Trigger.DRIFT).order_by("pk")
        if not _is_explained("drift_found", one.started_at, events)
    ]
    rollbacks = [
        f"{one.replaced} by {one.promoted} on {one.at:%d %b}"
        for one in Promotion.objects.filter(rollback=True).select_related("promoted", "replaced")
        if not _is_explained("rolled_back", one.at, events)
    ]
    invalid = [
        f"experiment {one.pk}: {one.reason}"
        for one in Experiment.objects.filter(outcome=Experiment.Outcome.INVALID).order_by("pk")
    ]
    changes = [
        f"experiment {one.pk} of {one.challenger} on {one.created_at:%d %b}"
        for one in Experiment.objects.filter(kind=Experiment.Kind.CHANGE).order_by("pk")
        if not _is_explained(CHANGE_TESTED, one.created_at, events)
    ]
    withdrawn = [
        f"experiment {one.pk}: {one.reason}"
        for one in Experiment.objects.filter(
            outcome=Experiment.Outcome.ROLLBACK, kind__in=TESTED_KINDS
        ).order_by("pk")
        if one.ended_at is None or not _is_explained("challenger_failed", one.ended_at, events)
    ]
    return [
        UnplannedFinding("incidents without a cause", incidents),
        UnplannedFinding("drift alarms without a drift", alarms),
        UnplannedFinding("full retrains without a drift", full),
        UnplannedFinding("rollbacks without a cause", rollbacks),
        UnplannedFinding("invalid experiments", invalid),
        UnplannedFinding("changes tested without a cause", changes),
        UnplannedFinding("challengers withdrawn without a fault", withdrawn),
        UnplannedFinding("champions below a simple baseline", _champions_below_baselines(events)),
        UnplannedFinding("champions with far less cohesive clusters", _incohesive_champions()),
    ]


def _is_explained(kind: str, at: datetime, events: list[PlantedEvent]) -> bool:
    """Whether a planted event may have caused this; an alarm before the event began counts as false."""
    return any(
        kind in kinds and event.since <= at < event.until + after
        for event in events
        for kinds, after in (EXPLAINED.get(event.kind, (frozenset(), DAY)),)
    )


def _champions_below_baselines(events: list[PlantedEvent]) -> list[str]:
    """Champions that were clearly worse than popularity or RP3beta on the week before their training."""
    handicapped = [event.subject for event in events if event.kind == "better"]
    promotions = Promotion.objects.filter(rollback=False).exclude(promoted__label__in=handicapped)
    return [
        f"{one.promoted}: {pair['difference']:+.4f} against {name}"
        for one in promotions.select_related("promoted").order_by("pk")
        for name, pair in (one.promoted.metrics.get("against_baselines") or {}).items()
        if pair["high"] < 0
    ]


def _incohesive_champions() -> list[str]:
    promotions = Promotion.objects.filter(rollback=False, replaced__isnull=False)
    return [
        f"{one.promoted} after {one.replaced}"
        for one in promotions.select_related("promoted", "replaced").order_by("pk")
        if one.replaced is not None and far_less_cohesive(compare_cohesion(one.promoted, one.replaced))
    ]

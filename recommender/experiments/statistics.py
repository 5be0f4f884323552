"""Evidence on an experiment from the database: wins, losses, allocation checks and guardrails."""

from datetime import UTC, datetime, timedelta
from typing import Any, Final

import numpy as np
from django.db.models import Count, Q, Sum
from django.db.models.functions import TruncDate
from numpy.typing import NDArray

from recommender.engine.experiments.decision_rules import (
    DEFAULT_RULES,
    AllocationCheck,
    ExperimentEvidence,
    GuardrailDifference,
)
from recommender.engine.experiments.interleaving_credit import ListCredit, total_by_listener
from recommender.engine.experiments.sequential import adjust_by_cuped, confidence_sequence
from recommender.experiments import interleaving_scores
from recommender.models import EngagedList, Experiment, Exposure, ScoredList, ServedList

PRE_PERIOD: Final = timedelta(days=28)  # engagement in this time before the start is CUPED's covariate
N_GUARDRAILS: Final = 1
ALPHA: Final = 0.05
Arm = ServedList.Arm


def gather_evidence(
    experiment: Experiment, now: datetime, *, hard_failure: str = ""
) -> tuple[ExperimentEvidence, list[ListCredit]]:
    started = experiment.started_at or experiment.created_at
    scores = interleaving_scores.read_closed_scores(experiment)
    # The clock may have been set back since the start, but durations must not be negative.
    now = max(now, started)
    day = (now.astimezone(UTC).date() - started.astimezone(UTC).date()).days
    totals = total_by_listener(scores, day=day, late_days=DEFAULT_RULES.late_days)
    evidence = ExperimentEvidence(
        kind=experiment.kind,
        days=(now - started).days,
        wins=totals.wins,
        losses=totals.losses,
        late_wins=totals.late_wins,
        late_losses=totals.late_losses,
        listeners=totals.listeners,
        z=totals.z,
        coins=tuple(allocation_checks(experiment, now)),
        crossed=crossover_share(experiment),
        leaked=count_leaked_lists(experiment),
        hard_failure=hard_failure,
        gate=experiment.gates.get("passed"),
        guardrails=tuple(measure_guardrails(experiment, now)),
    )
    return evidence, scores


def allocation_checks(experiment: Experiment, now: datetime) -> list[AllocationCheck]:
    """Counts of each random allocation (first picks, lists, listeners), for sample-ratio tests."""
    picks = ScoredList.objects.filter(experiment=experiment).aggregate(
        first=Sum("first_picks", default=0), rounds=Sum("rounds", default=0)
    )
    first, rounds = picks["first"], picks["rounds"]
    checks = [AllocationCheck("First picks by the challenger", first, rounds - first, 0.5)]
    inside, outside = _count_list_days(experiment, now)
    if 0 < experiment.list_share < 1:
        checks.append(AllocationCheck("Lists of the test", inside, outside, experiment.list_share))
    if experiment.split_share:
        arms = _listeners_per_arm(experiment)
        name = "Listeners of the challenger"
        checks.append(AllocationCheck(name, arms.get(Arm.CHALLENGER, 0), arms.get(Arm.CHAMPION, 0), 0.5))
    return checks


def crossover_share(experiment: Experiment) -> float:
    exposures = Exposure.objects.filter(experiment=experiment)
    listeners = exposures.values("listener").annotate(arms=Count("arm"))
    total = listeners.count()
    return listeners.filter(arms__gt=1).count() / total if total else 0.0


def count_leaked_lists(experiment: Experiment) -> int:
    served = ServedList.objects.filter(experiment=experiment)
    leaks = Q(pk__in=[])
    if not experiment.split_share:
        leaks |= Q(arm=Arm.CHALLENGER)
    if not experiment.list_share:
        leaks |= Q(arm=Arm.INTERLEAVED)
    return served.filter(leaks).count()


def measure_guardrails(experiment: Experiment, now: datetime) -> list[GuardrailDifference]:
    """Difference between the A/B split's arms in engaged songs per list, adjusted by CUPED."""
    # Each listener counts as one value. The covariate is the listener's engagement in the 28 days before.
    if not experiment.split_share or experiment.started_at is None:
        return []
    arms = {arm: _mean_engagement(experiment, arm, now) for arm in (Arm.CHALLENGER, Arm.CHAMPION)}
    (challenger, challenger_before), (champion, champion_before) = arms[Arm.CHALLENGER], arms[Arm.CHAMPION]
    adjusted = adjust_by_cuped(
        np.concatenate([challenger, champion]), np.concatenate([challenger_before, champion_before])
    )
    n = len(challenger)
    interval = confidence_sequence(
        adjusted[:n], adjusted[n:], planned=max(1, experiment.planned_listeners),
        alpha=ALPHA / N_GUARDRAILS,
    )  # fmt: skip
    largest = float(np.finfo(np.float32).max)  # JSON has no infinity
    return [
        GuardrailDifference(
            "Engaged songs a list", interval.difference, max(-largest, interval.low),
            min(largest, interval.high), n, len(champion),
        )
    ]  # fmt: skip


def _count_list_days(experiment: Experiment, now: datetime) -> tuple[int, int]:
    # A person may decide a waiting experiment, which has no lists.
    since = experiment.started_at or now
    served = ServedList.objects.filter(
        generated_at__gte=since, generated_at__lte=experiment.ended_at or now
    ).exclude(arm__in=(Arm.FALLBACK, Arm.CHALLENGER))
    if experiment.split_share:
        served = served.exclude(
            listener__in=Exposure.objects.filter(experiment=experiment).values("listener")
        )
    days = served.annotate(day=TruncDate("generated_at", tzinfo=UTC)).values("listener", "day").distinct()
    total, inside = days.count(), days.filter(experiment=experiment).count()
    return inside, total - inside


def _listeners_per_arm(experiment: Experiment) -> dict[str, int]:
    rows = Exposure.objects.filter(experiment=experiment).values("arm").annotate(number=Count("listener"))
    return {row["arm"]: row["number"] for row in rows}


def _mean_engagement(
    experiment: Experiment, arm: str, now: datetime
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    exposed = Exposure.objects.filter(experiment=experiment, arm=arm)
    listeners = list(exposed.order_by("listener_id").values_list("listener_id", flat=True))
    started: Any = experiment.started_at
    since = _engaged_songs_per_list(listeners, started, experiment.ended_at or now)
    before = _engaged_songs_per_list(listeners, started - PRE_PERIOD, started)
    return (
        np.array([since.get(one, 0.0) for one in listeners], dtype=np.float64),
        np.array([before.get(one, 0.0) for one in listeners], dtype=np.float64),
    )


def _engaged_songs_per_list(listeners: list[int], since: datetime, until: datetime) -> dict[int, float]:
    rows = (
        EngagedList.objects.filter(listener_id__in=listeners, at__gte=since, at__lt=until)
        .values("listener_id")
        .annotate(songs=Sum("engaged"), lists=Count("pk"))
    )
    return {row["listener_id"]: row["songs"] / row["lists"] for row in rows}

"""Collects the evidence on an experiment from the database."""

from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import numpy as np
from django.db.models import Count, Q, Sum
from django.utils.translation import gettext_noop as _n
from numpy.typing import NDArray

from recommender.engine.experiments.decision_thresholds import DEFAULT_RULES, DecisionRules
from recommender.engine.experiments.evidence import AllocationCheck, ExperimentEvidence, GuardrailDifference
from recommender.engine.experiments.interleaving_credit import (
    ClosedLists,
    ListCredit,
    count_rounds,
    total_by_listener,
)
from recommender.engine.experiments.sequential import adjust_by_cuped, confidence_sequence
from recommender.experiments import assignment, feed_health, interleaving_scores, refresh_limits
from recommender.models import EngagedList, Experiment, Exposure, ScoredList, ServedList, sql
from recommender.registry import registry

PRE_PERIOD: Final = timedelta(days=28)  # engagement in this time before the start is CUPED's covariate
N_GUARDRAILS: Final = 1
ALPHA: Final = 0.05
Arm = ServedList.Arm


FIRST_VERSION: Final = 1


def gather_evidence(
    experiment: Experiment, now: datetime, *, hard_failure: str = "", rules: DecisionRules = DEFAULT_RULES
) -> tuple[ExperimentEvidence, list[ListCredit]]:
    tested = _tested_version(experiment)
    rows, scores = count_rows(experiment, now, rules=rules, tested=tested)
    evidence = replace(
        rows,
        hard_failure=hard_failure,
        gate=experiment.gates.get("passed"),
        guardrails=tuple(measure_guardrails(experiment, now)),
        feed=feed_health.why_not_trusted(now),
    )
    return evidence, scores


def count_rows(
    experiment: Experiment, now: datetime, *, rules: DecisionRules, tested: str
) -> tuple[ExperimentEvidence, list[ListCredit]]:
    """Count the evidence from rows of lists as of `now`; later rows do not change it.

    Args:
        tested: label of the tested version. The holdback counts the lists of this champion only.
    """
    started = experiment.started_at or experiment.created_at
    # The clock may have been set back since the start, but durations must not be negative.
    now = max(now, started)
    day = (now.astimezone(UTC).date() - started.astimezone(UTC).date()).days
    is_first_version = rules.version == FIRST_VERSION
    served_by = tested if experiment.kind == Experiment.Kind.HOLDBACK and not is_first_version else ""
    scores = interleaving_scores.read_closed_scores(experiment, now, served_by=served_by)
    if is_first_version:
        counts = asdict(total_by_listener(scores, day=day, late_days=rules.late_days))
    else:
        unproven = count_unproven_refreshes(experiment, rules)
        counts = count_rounds(ClosedLists.from_credits(scores), experiment.kind, rules, unproven=unproven)
        counts |= {"tested": tested, "unproven": unproven}
        counts["open_lists"] = _count_open_lists(experiment, now, rules, unproven)
    evidence = ExperimentEvidence(
        kind=experiment.kind,
        days=(now - started).days,
        coins=tuple(allocation_checks(experiment, now, is_ramped=not is_first_version)),
        crossed=crossover_share(experiment, now),
        leaked=count_leaked_lists(experiment, now),
        **counts,
    )
    return evidence, scores


def _tested_version(experiment: Experiment) -> str:
    champion = registry.current_champion() if experiment.tests_champion else experiment.challenger
    return str(champion or "")


def count_unproven_refreshes(experiment: Experiment, rules: DecisionRules) -> int:
    """How many refreshes in a row before this one had no win; 0 for another kind of experiment."""
    if experiment.kind != Experiment.Kind.REFRESH or experiment.started_at is None:
        return 0
    return len(refresh_limits.unproven_refreshes(experiment.started_at, rules))


def _count_open_lists(experiment: Experiment, now: datetime, rules: DecisionRules, unproven: int) -> int:
    """The number of lists with an open score on the days that decide a refresh; 0 for other experiments."""
    if experiment.kind != Experiment.Kind.REFRESH or experiment.started_at is None:
        return 0
    first = experiment.started_at.astimezone(UTC).date()
    until = rules.refresh_until + rules.extra_days(unproven)
    counted = first + timedelta(days=rules.refresh_from), first + timedelta(days=until)
    rows = ScoredList.objects.filter(experiment=experiment, day__range=counted)
    return rows.filter(Q(closed_at=None) | Q(closed_at__gt=now), served_list__generated_at__lte=now).count()


def allocation_checks(
    experiment: Experiment, now: datetime, *, is_ramped: bool = True
) -> list[AllocationCheck]:
    """Counts of first picks, lists and listeners, for sample-ratio tests."""
    picks = ScoredList.objects.filter(experiment=experiment, served_list__generated_at__lte=now).aggregate(
        first=Sum("first_picks", default=0), rounds=Sum("rounds", default=0)
    )
    first, rounds = picks["first"], picks["rounds"]
    checks = [AllocationCheck(_n("First picks by the challenger"), first, rounds - first, 0.5)]
    # The first days have smaller shares.
    began = experiment.started_at or now
    since = assignment.full_share_from(experiment, began) if is_ramped else began
    inside, outside = _count_list_days(experiment, since, now)
    if 0 < experiment.list_share < 1:
        checks.append(AllocationCheck(_n("Lists of the test"), inside, outside, experiment.list_share))
    if experiment.split_share:
        arms = _listeners_per_arm(experiment, now)
        name = _n("Listeners of the challenger")
        checks.append(AllocationCheck(name, arms.get(Arm.CHALLENGER, 0), arms.get(Arm.CHAMPION, 0), 0.5))
    return checks


def crossover_share(experiment: Experiment, now: datetime) -> float:
    exposures = Exposure.objects.filter(experiment=experiment, first_at__lte=now)
    listeners = exposures.values("listener").annotate(arms=Count("arm"))
    total = listeners.count()
    return listeners.filter(arms__gt=1).count() / total if total else 0.0


def count_leaked_lists(experiment: Experiment, now: datetime) -> int:
    """How many lists came from an arm whose planned share is 0."""
    served = ServedList.objects.filter(experiment=experiment, generated_at__lte=now)
    leaks = Q(pk__in=[])
    if not experiment.split_share:
        leaks |= Q(arm=Arm.CHALLENGER)
    if not experiment.list_share:
        leaks |= Q(arm=Arm.INTERLEAVED)
    return served.filter(leaks).count()


def measure_guardrails(experiment: Experiment, now: datetime) -> list[GuardrailDifference]:
    """Differences in engaged songs per list in the A/B split, adjusted by CUPED."""
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
            _n("Engaged songs a list"), interval.difference, max(-largest, interval.low),
            min(largest, interval.high), n, len(champion),
        )
    ]  # fmt: skip


def _count_list_days(experiment: Experiment, since: datetime, now: datetime) -> tuple[int, int]:
    until = min(now, experiment.ended_at or now)
    served = ServedList.objects.filter(generated_at__gte=since, generated_at__lte=until).exclude(
        arm__in=(Arm.FALLBACK, Arm.CHALLENGER)
    )
    if experiment.split_share:
        served = served.exclude(
            listener__in=Exposure.objects.filter(experiment=experiment).values("listener")
        )
    days = served.annotate(day=sql.utc_day("generated_at")).values("listener", "day").distinct()
    total, inside = days.count(), days.filter(experiment=experiment).count()
    return inside, total - inside


def _listeners_per_arm(experiment: Experiment, now: datetime) -> dict[str, int]:
    rows = (
        Exposure.objects.filter(experiment=experiment, first_at__lte=now)
        .values("arm")
        .annotate(number=Count("listener"))
    )
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

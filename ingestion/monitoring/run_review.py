"""After a run: hold it against the runs before it, and open and resolve the incidents that it is about.

Every finished run is followed up once, and in order, by whoever comes first: the process that ran it, or the
watchdog where that process died.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from django.db import transaction

from ingestion.alerts import incidents
from ingestion.alerts.incidents import Condition, Severity
from ingestion.models import AnomalyCheck, BaselineReset, IngestionRun
from ingestion.monitoring.anomaly_detection import (
    HISTORY_WINDOW,
    AnomalyResult,
    ExpectedRange,
    detect_anomalies,
)
from ingestion.monitoring.run_metrics import APPLIED_STATUSES, load_run_metrics
from ingestion.schedules import next_due

Status = IngestionRun.Status
RUN, PARTIAL, UNUSUAL = "run", "run_partial", "unusual"
# A trouble of days ago that nobody was told of is history: after an update, years of runs may be waiting.
REPORT_WITHIN: Final = timedelta(days=2)
# A partial run has an incident that says so, and nothing counts as missing in it.
COVERED_BY_PARTIAL: Final = {"rejected_share", "missing"}


def follow_up(run: IngestionRun, now: datetime) -> None:
    """Follow up every finished run up to this one that nobody has followed up yet."""
    while _review_next(now, until=run.pk):
        pass


def follow_up_all(now: datetime) -> int:
    """Follow up every finished run that nobody has followed up yet; returns how many."""
    followed = 0
    while _review_next(now):
        followed += 1
    return followed


def reset_baseline(
    measure: str, resource: str, run: IngestionRun, by: str, reason: str, now: datetime
) -> BaselineReset:
    """From `run` on, this is what is usual; the measure is learnt anew, and its incident ends.

    Args:
        resource: empty for a measure of the whole run.
        by: who says so.
    """
    with transaction.atomic():
        reset = BaselineReset.objects.create(
            measure=measure, resource=resource, since=run, at=now, by=by, reason=reason
        )
        incidents.resolve(anomaly_key(measure, resource), now, facts={"new_normal_by": by, "reason": reason})
    return reset


def anomaly_key(measure: str, resource: str) -> str:
    """The key of the incident of an unusual measure."""
    return ":".join(filter(None, (UNUSUAL, measure, resource)))


def _review_next(now: datetime, until: int | None = None) -> bool:
    """Follow up the first run that waits for it; False if none does."""
    waiting = IngestionRun.objects.filter(followed_up_at=None).exclude(status=Status.RUNNING)
    if until is not None:
        waiting = waiting.filter(pk__lte=until)
    with transaction.atomic():
        # Locked: a later run must not be followed up by somebody else before this one is done.
        run = waiting.select_for_update().order_by("pk").first()
        if run is None:
            return False
        IngestionRun.objects.filter(pk=run.pk).update(followed_up_at=now)
        if not run.dry_run and run.trigger != IngestionRun.Trigger.LEGACY:
            _review(run, now)
    return True


def _review(run: IngestionRun, now: datetime) -> None:
    judgements = _detect_anomalies(run) if run.status in APPLIED_STATUSES else []
    if run.finished_at is None or run.finished_at < now - REPORT_WITHIN:
        return
    _sync_run_incident(run, now)
    if run.accept_reset and run.status in APPLIED_STATUSES:
        incidents.sync_scope(UNUSUAL, [], now, run_id=run.pk)
    for judgement in judgements:
        _sync_anomaly_incident(run, judgement, now)


def _detect_anomalies(run: IngestionRun) -> Sequence[AnomalyResult]:
    """Write what the bands say of each measure of a run."""
    past = load_run_metrics(until_run=run.pk, since=run.started_at - HISTORY_WINDOW)
    resets = {
        (measure, resource): since
        for measure, resource, since in BaselineReset.objects.order_by("pk").values_list(
            "measure", "resource", "since_id"
        )
    }
    judgements = list(detect_anomalies(past[-1], past[:-1], resets))
    AnomalyCheck.objects.bulk_create([_anomaly_check(run, one) for one in judgements])
    return judgements


def _anomaly_check(run: IngestionRun, one: AnomalyResult) -> AnomalyCheck:
    check = AnomalyCheck(
        run=run, measure=one.measure, resource=one.resource, value=one.value, n=one.n, verdict=one.verdict
    )
    if one.expected is not None:
        check.median, check.mad, check.low, check.high = one.expected[:4]
    return check


def _sync_run_incident(run: IngestionRun, now: datetime) -> None:
    """A failure stays open until a run has taken rows in."""
    if run.status not in APPLIED_STATUSES:
        kind = {Status.FAILED: "run_failed", Status.REFUSED: "run_refused"}.get(
            Status(run.status), "run_abandoned"
        )
        incidents.open_or_update(Condition(RUN, kind, Severity.CRITICAL, _run_facts(run, now), run.pk), now)
        return
    incidents.resolve(RUN, now, run_id=run.pk)
    if run.status == Status.PARTIAL:
        incidents.open_or_update(
            Condition(PARTIAL, PARTIAL, Severity.WARNING, _run_facts(run, now), run.pk), now
        )
    else:
        incidents.resolve(PARTIAL, now, run_id=run.pk)


def _sync_anomaly_incident(run: IngestionRun, one: AnomalyResult, now: datetime) -> None:
    is_told = run.status == Status.PARTIAL and one.measure in COVERED_BY_PARTIAL
    key = anomaly_key(one.measure, one.resource)
    if not one.is_anomaly:
        incidents.resolve(key, now, run_id=run.pk, facts={"value": one.value})
    elif one.expected is not None and not is_told:
        facts = _anomaly_facts(one, one.expected) | {"run": run.pk}
        incidents.open_or_update(Condition(key, UNUSUAL, Severity.WARNING, facts, run.pk), now)


def _run_facts(run: IngestionRun, now: datetime) -> dict[str, Any]:
    """What a message says of a run; what is empty is left out."""
    due = next_due(now)
    facts = {
        "run": run.pk,
        "started_at": run.started_at.isoformat(),
        "error_kind": run.error_kind,
        "error": run.error,
        "stage": run.stage,
        "heartbeat_at": run.heartbeat_at.isoformat() if run.stage else "",
        "next_due_at": due.isoformat() if due else "",
    }
    return {name: value for name, value in facts.items() if value}


def _anomaly_facts(one: AnomalyResult, band: ExpectedRange) -> dict[str, Any]:
    return {
        "measure": one.measure,
        "resource": one.resource,
        "verdict": str(one.verdict),
        "value": one.value,
        "median": band.median,
        "mad": band.mad,
        "low": band.low,
        "high": band.high,
        "n": band.n,
    }

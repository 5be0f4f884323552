"""Review of a finished run: detects anomalies, and opens and resolves incidents.

Each run is reviewed once, in order, by its own process or, if that died, by the watchdog.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from django.db import transaction
from django.db.models import Min

from ingestion.alerts import incidents
from ingestion.alerts.incidents import Condition, Severity
from ingestion.audit import Action, record_audit
from ingestion.models import AnomalyCheck, BaselineReset, IngestionRun, ListeningHistory, ResourceReport
from ingestion.monitoring.anomaly_detection import (
    HISTORY_WINDOW,
    AnomalyResult,
    ExpectedRange,
    detect_anomalies,
)
from ingestion.monitoring.run_metrics import APPLIED_STATUSES, load_run_metrics
from ingestion.pipeline.run_report import describe_rejections
from ingestion.schedules import next_due

Status = IngestionRun.Status
RUN, PARTIAL, UNUSUAL = "run", "run_partial", "unusual"
HISTORY_WINDOW_FOUND: Final = "history_window"
# Older failures open no incident: after an update, years of runs may be waiting for a review.
REPORT_WITHIN: Final = timedelta(days=2)
# Metrics that the incident of a partial run already covers.
COVERED_BY_PARTIAL: Final = {"rejected_share", "missing"}


def follow_up_all(now: datetime) -> int:
    """Review all finished runs that need it; return how many.

    The watchdog uses it as a check, so its name is part of an incident key and must stay.
    """
    reviewed = 0
    while _review_next(now):
        reviewed += 1
    return reviewed


def sync_history_window(now: datetime, *, is_promised: bool) -> None:
    """Open or resolve the incident about a source that keeps only recent sessions.

    Args:
        is_promised: HISTORY_RETENTION states this limit, so no incident is opened.
    """
    if is_promised:
        incidents.resolve(HISTORY_WINDOW_FOUND, now)
        return
    last = ResourceReport.objects.filter(expired__gt=0, run__dry_run=False).order_by("-run_id").first()
    if last is None:
        return
    kept = ListeningHistory.objects.filter(unavailable_at=None, expired_at=None)
    oldest = kept.order_by().aggregate(at=Min("created_at"))["at"]
    facts = {"expired": last.expired, "oldest_at": oldest.isoformat() if oldest else ""}
    incidents.open_or_update(
        Condition(HISTORY_WINDOW_FOUND, HISTORY_WINDOW_FOUND, Severity.WARNING, facts, last.run_id), now
    )


def reset_baseline(
    measure: str, resource: str, run: IngestionRun, by: str, reason: str, now: datetime
) -> BaselineReset:
    """Compare a metric only with runs from `run` on, and resolve its incident.

    `resource` is empty for a metric of the whole run.
    """
    with transaction.atomic():
        reset = BaselineReset.objects.create(
            measure=measure, resource=resource, since=run, at=now, by=by, reason=reason
        )
        incidents.resolve(anomaly_key(measure, resource), now, facts={"new_normal_by": by, "reason": reason})
        record_audit(Action.RANGE_RESET, by, f"{anomaly_key(measure, resource)} from run {run.pk}: {reason}")
    return reset


def anomaly_key(measure: str, resource: str) -> str:
    return ":".join(filter(None, (UNUSUAL, measure, resource)))


def _review_next(now: datetime) -> bool:
    waiting = IngestionRun.objects.filter(followed_up_at=None).exclude(status=Status.RUNNING)
    with transaction.atomic():
        # Locked, so that no other process reviews a later run before this one.
        run = waiting.select_for_update().order_by("pk").first()
        if run is None:
            return False
        IngestionRun.objects.filter(pk=run.pk).update(followed_up_at=now)
        if not run.dry_run and run.trigger != IngestionRun.Trigger.LEGACY:
            _review(run, now)
    return True


def _review(run: IngestionRun, now: datetime) -> None:
    results = _detect_anomalies(run) if run.status in APPLIED_STATUSES else []
    if run.finished_at is None or run.finished_at < now - REPORT_WITHIN:
        return
    _sync_run_incident(run, now)
    if run.accept_reset and run.status in APPLIED_STATUSES:
        incidents.sync_scope(UNUSUAL, [], now, run_id=run.pk)
    for result in results:
        _sync_anomaly_incident(run, result, now)


def _detect_anomalies(run: IngestionRun) -> Sequence[AnomalyResult]:
    past = load_run_metrics(until_run=run.pk, since=run.started_at - HISTORY_WINDOW)
    resets = {
        (measure, resource): since
        for measure, resource, since in BaselineReset.objects.order_by("pk").values_list(
            "measure", "resource", "since_id"
        )
    }
    results = list(detect_anomalies(past[-1], past[:-1], resets))
    AnomalyCheck.objects.bulk_create([_anomaly_check(run, one) for one in results])
    return results


def _anomaly_check(run: IngestionRun, one: AnomalyResult) -> AnomalyCheck:
    check = AnomalyCheck(
        run=run, measure=one.measure, resource=one.resource, value=one.value, n=one.n, verdict=one.verdict
    )
    if one.expected is not None:
        check.median, check.mad, check.low, check.high = one.expected[:4]
    return check


def _sync_run_incident(run: IngestionRun, now: datetime) -> None:
    """Open or resolve the incident about a failed run.

    A failure stays open until a run imports data; a stopped run changes nothing.
    """
    if run.status == Status.STOPPED:
        return
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
    is_covered = run.status == Status.PARTIAL and one.measure in COVERED_BY_PARTIAL
    key = anomaly_key(one.measure, one.resource)
    if not one.is_anomaly:
        incidents.resolve(key, now, run_id=run.pk, facts={"value": one.value})
    elif one.expected is not None and not is_covered:
        facts = _anomaly_facts(one, one.expected) | {"run": run.pk}
        incidents.open_or_update(Condition(key, UNUSUAL, Severity.WARNING, facts, run.pk), now)


def _run_facts(run: IngestionRun, now: datetime) -> dict[str, Any]:
    due = next_due(now)
    facts = {
        "run": run.pk,
        "started_at": run.started_at.isoformat(),
        "error_kind": run.error_kind,
        "error": run.error,
        "rejections": describe_rejections(run),
        "stage": run.stage,
        "heartbeat_at": run.heartbeat_at.isoformat() if run.stage else "",
        "next_due_at": due.isoformat() if due else "",
    }
    return {name: value for name, value in facts.items() if value}


def _anomaly_facts(one: AnomalyResult, expected: ExpectedRange) -> dict[str, Any]:
    return {
        "measure": one.measure,
        "resource": one.resource,
        "verdict": str(one.verdict),
        "value": one.value,
        "median": expected.median,
        "mad": expected.mad,
        "low": expected.low,
        "high": expected.high,
        "n": expected.n,
    }

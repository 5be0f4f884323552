"""Fill the tables of imports: runs, reports, anomaly checks, rejections, incidents and notifications."""

import sys
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from functools import cache
from typing import Any, Final

import orjson
from django.contrib.auth.models import User
from django.utils import timezone
from django_celery_results.models import TaskResult

from ingestion import schedules as ingestion_schedules
from ingestion.alerts.incidents import Condition, open_or_update
from ingestion.alerts.messages.render import render_message
from ingestion.english import english_plural
from ingestion.jobs.heartbeats import record_heartbeat
from ingestion.models import (
    RESOURCES,
    AnomalyCheck,
    BaselineReset,
    Heartbeat,
    Incident,
    IngestionRun,
    Notification,
    Rejection,
    ResourceReport,
    TaskUsage,
)
from recommender import schedules as recommender_schedules
from recommender.api.authentication import issue_key

BLOCK: Final = 2_000
DAY: Final = timedelta(days=1)
MINUTE: Final = timedelta(minutes=1)
# Every how many runs one fails, is partial, or opens an incident.
FAILED_EVERY, PARTIAL_EVERY, INCIDENT_EVERY = 37, 23, 2
REJECTIONS_PER_RUN: Final = 50
STAGES: Final = ("waiting for the lock", "reading songs", "reading users", "reading listening_history",
                 "judging", "writing", "finishing")  # fmt: skip
RESOURCE_MEASURES: Final = (
    "received",
    "new",
    "changed",
    "missing",
    "rejected_share",
    "latency_p95",
    "duration",
)
RUN_MEASURES: Final = ("duration", "error_share", "bytes", "cpu_seconds", "peak_memory")
TASKS: Final = (
    "ingestion.tasks.ingest",
    "recommender.tasks.prepare_shelves",
    "recommender.tasks.learn_weekly",
)
TASK_RESULTS_PER_RUN: Final = 10
USERS_WITH_KEYS: Final = 30


def fill_run_history(runs: int) -> None:
    """Add one run a day with its reports and checks; the last one was two hours ago."""
    now = timezone.now()
    made = IngestionRun.objects.bulk_create((_run(day, runs, now) for day in range(runs)), BLOCK)
    _insert_rows(ResourceReport, (_report(run, name) for run in made for name, _ in RESOURCES))
    _insert_rows(AnomalyCheck, (check for run in made if run.status == "succeeded" for check in _checks(run)))
    _insert_rows(Rejection, (_rejection(run, made, n) for run in made for n in range(REJECTIONS_PER_RUN)))
    _incidents(made, now)
    _insert_rows(TaskUsage, (_task_usage(run, n) for run in made for n in range(TASK_RESULTS_PER_RUN)))
    _insert_rows(TaskResult, (_task_result(run, n) for run in made for n in range(TASK_RESULTS_PER_RUN)))
    _schedules_and_users(made, now)


def _insert_rows(table: Any, rows: Iterable[Any]) -> None:
    kept = len(table.objects.bulk_create(rows, BLOCK))
    sys.stderr.write(f"pages: {kept} {english_plural(table)}\n")


def _run(day: int, runs: int, now: datetime) -> IngestionRun:
    started = now - timedelta(hours=2) - (runs - 1 - day) * DAY
    status = "failed" if day % FAILED_EVERY == 5 else "partial" if day % PARTIAL_EVERY == 7 else "succeeded"
    error = "The source answered 503 five times: /tracks?page=12" if status == "failed" else ""
    stages = [
        {"name": name, "started_at": (started + n * MINUTE).isoformat(), "seconds": 60.0}
        for n, name in enumerate(STAGES)
    ]
    return IngestionRun(
        trigger="schedule", slot=f"daily {day}", status=status, stage=STAGES[-1], stages=stages,
        started_at=started, heartbeat_at=started, finished_at=started + 7 * MINUTE, host="worker-1", pid=40,
        process_started=0.0, received=1_000_000, new=900, changed=200, unchanged=998_850, rejected=50,
        bytes=400_000_000, cpu_seconds=31.0, peak_memory=222_000_000, rows_per_second=2400.0, error=error,
        error_kind="unavailable" if error else "", summary="1 000 000 rows: 900 new, 200 changed",
        followed_up_at=started + 8 * MINUTE,
    )  # fmt: skip


def _report(run: IngestionRun, resource: str) -> ResourceReport:
    sample = [
        {"key": pk, "field": "genres", "old": "Rock, Indie", "new": "Rock, Indie, Dream Pop"}
        for pk in range(1, 21)
    ]
    return ResourceReport(
        run=run, resource=resource, total=330_000, pages=660, requests=662, retries=2, received=330_000,
        new=300, changed=60, unchanged=329_624, rejected=16, latency_p50=900.0, latency_p95=4000.0,
        latency_max=9000.0, seconds=120.0, sample=sample, errors={"http_503": 2},
    )  # fmt: skip


def _checks(run: IngestionRun) -> Iterator[AnomalyCheck]:
    measures = [(measure, "") for measure in RUN_MEASURES]
    measures += [(measure, name) for measure in RESOURCE_MEASURES for name, _ in RESOURCES]
    for measure, resource in measures:
        yield AnomalyCheck(
            run=run, measure=measure, resource=resource, value=100.0 + run.pk % 7, median=102.0, mad=2.0,
            low=90.0, high=115.0, n=30, verdict="usual" if run.pk % 50 else "high",
        )  # fmt: skip


def _rejection(run: IngestionRun, runs: list[IngestionRun], n: int) -> Rejection:
    """A rejection: most are resolved after some days, the latest are still open."""
    last = runs[min(run.pk - runs[0].pk + n % 5, len(runs) - 1)]
    row = {
        "id": run.pk * REJECTIONS_PER_RUN + n,
        "name": "",
        "artist": "Nobody",
        "duration": "3:61",
        "genres": "Rock",
    }
    waits = run.pk > runs[-1].pk - 20
    return Rejection(
        run=run, last_run=last, resource=RESOURCES[n % 3][0], payload=orjson.dumps(row).decode(),
        fingerprint=f"{run.pk}-{n}", field=("duration", "name", "created_at")[n % 3],
        reason=f"is not of the shape that was promised ({n % 7})",
        resolved_at=None if waits else last.finished_at, resolution="" if waits else "taken in",
    )  # fmt: skip


def _incidents(runs: list[IngestionRun], now: datetime) -> None:
    """Incidents: one every two days, resolved within the day, and four open ones."""
    kinds = (("run_failed", "critical"), ("run_partial", "warning"), ("unusual", "warning"))
    over = [
        Incident(
            key=f"{kinds[n % 3][0]}:{run.pk}", kind=kinds[n % 3][0], severity=kinds[n % 3][1],
            opened_at=run.started_at, seen_at=run.started_at, count=3, run=run, told_at=run.started_at,
            facts={"run": run.pk, "measure": "duration", "value": 900.0, "low": 300.0, "high": 500.0},
            end_told_at=run.started_at + DAY / 2, resolved_at=run.started_at + DAY / 2, resolved_by_run=run,
        )
        for n, run in enumerate(runs[:-1:INCIDENT_EVERY])
    ]  # fmt: skip
    made = Incident.objects.bulk_create(over, BLOCK)
    for key in ("data_stale:songs", "queue_growing", "model_stale", "delivery_failing:slack"):
        condition = Condition(key, key.split(":", maxsplit=1)[0], "warning", {"length": 140, "limit": 100})
        made.append(open_or_update(condition, now - timedelta(hours=5)))
    _insert_rows(Notification, (message for incident in made for message in _notifications(incident)))


def _notifications(incident: Incident) -> Iterator[Notification]:
    for event in ("opened", "resolved") if incident.resolved_at else ("opened",):
        subject, content = _message_content(incident.kind, incident.severity, event, incident)
        for channel in ("email", "slack"):
            is_sent = incident.resolved_at is not None or channel == "email"
            yield Notification(
                incident=incident, event=event, channel=channel, subject=subject, content=content,
                state="sent" if is_sent else "waiting", created_at=incident.opened_at, attempts=1,
                due_at=incident.opened_at, sent_at=incident.opened_at if is_sent else None,
            )  # fmt: skip


@cache
def _message_contents() -> dict[tuple[str, str, str], tuple[str, dict[str, Any]]]:
    return {}


def _message_content(kind: str, severity: str, event: str, incident: Incident) -> tuple[str, dict[str, Any]]:
    """A message, rendered once per kind, because rendering is not measured."""
    key = (kind, severity, event)
    if key not in _message_contents():
        _message_contents()[key] = render_message(incident, event, "http://127.0.0.1:8000/", "en")
    return _message_contents()[key]


def _task_usage(run: IngestionRun, n: int) -> TaskUsage:
    return TaskUsage(
        task=TASKS[n % 3], task_id=f"{run.pk}-{n}", started_at=run.started_at, succeeded=True, seconds=12.0,
        cpu_seconds=9.0, peak_memory=300_000_000,
    )  # fmt: skip


def _task_result(run: IngestionRun, n: int) -> TaskResult:
    return TaskResult(
        task_id=f"{run.pk}-{n}", task_name=TASKS[n % 3], status="SUCCESS", result='"done"', worker="worker@1",
        content_type="application/json", content_encoding="utf-8", periodic_task_name="Daily ingestion",
    )  # fmt: skip


def _schedules_and_users(runs: list[IngestionRun], now: datetime) -> None:
    """Add the schedules, heartbeats, and users with API keys."""
    ingestion_schedules.sync_timetable(timezone.now().time().replace(microsecond=0, tzinfo=None), "UTC")
    recommender_schedules.sync_timetable("UTC")
    for part in Heartbeat.Part.values:
        record_heartbeat(part, now)
    for n in range(USERS_WITH_KEYS):
        issue_key(f"app {n}", User.objects.create(username=f"person {n}", email=f"p{n}@example.org"))
    for run in runs[:: max(1, len(runs) // 20)]:
        BaselineReset.objects.create(
            measure="duration", since=run, at=run.started_at, by="ada", reason="new server"
        )

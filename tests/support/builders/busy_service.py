"""Rows of a service in which everything happens at once, so that every metric exists."""

from datetime import datetime, timedelta

from ingestion.alerts.incidents import Condition, open_or_update
from ingestion.jobs.heartbeats import record_heartbeat
from ingestion.models import Heartbeat, IngestionRun, Notification, Rejection, ResourceReport
from recommender.models import CandidateList, Feedback, ServedList, TrainingRun
from tests.support.builders.daily_runs import make_daily_runs
from tests.support.builders.experiments import make_listeners_and_songs, make_version

MINUTE = timedelta(minutes=1)


def fill_service(now: datetime) -> None:
    """Add three days of runs, a running one, an incident with notifications, heartbeats and a champion."""
    _fill_runs(now)
    opened = open_or_update(Condition("run", "run_partial", "warning", {}), now)
    for channel, state in (("email", "sent"), ("slack", "waiting")):
        Notification.objects.create(
            incident=opened, event="opened", channel=channel, subject="s", content={}, state=state,
            created_at=now, due_at=now, sent_at=now if state == "sent" else None,
        )  # fmt: skip
    for part in Heartbeat.Part.values:
        record_heartbeat(part, now - MINUTE)
    _fill_models(now)


def _fill_runs(now: datetime) -> None:
    runs = make_daily_runs(3, until=now - timedelta(hours=2), status="partial")
    ResourceReport.objects.filter(run=runs[-1], resource="songs").update(errors={"http_500": 2, "timeout": 1})
    Rejection.objects.create(
        run=runs[0], last_run=runs[-1], resource="songs", payload="{}", fingerprint="a", reason="too short"
    )
    IngestionRun.objects.create(
        trigger="schedule", started_at=now - MINUTE, heartbeat_at=now, host="h", pid=1, process_started=0.0,
        stage="reading songs", stage_done=40, stage_total=100,
    )  # fmt: skip


def _fill_models(now: datetime) -> None:
    make_listeners_and_songs()
    champion = make_version(
        "2026w48.1", "champion", created_at=now - timedelta(days=1), metrics={"mix": {"ndcg": 0.18}}
    )
    TrainingRun.objects.create(
        trigger="schedule", status="succeeded", started_at=now - 5 * MINUTE, heartbeat_at=now,
        finished_at=now - MINUTE, host="h", pid=1, process_started=0.0, version=champion, cpu_seconds=200.0,
        peak_memory=400_000_000,
    )  # fmt: skip
    shelf = CandidateList.objects.create(
        listener_id=1, version=champion, made_at=now - MINUTE, candidates=b""
    )
    ServedList.objects.create(
        listener_id=1,
        candidate_list=shelf,
        version=champion,
        arm="champion",
        generated_at=now - MINUTE,
        seed="s",
        discovery=0.3,
        temperature=0.1,
        pages=[],
        items=[],
        milliseconds=4.0,
    )
    Feedback.objects.create(
        event_id="e", listener_id=1, song_id=10, kind="like", at=now - MINUTE, received_at=now - MINUTE
    )

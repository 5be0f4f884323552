"""The watchdog: each check runs even if others fail, then alerts are sent; once a minute."""

import socket
from datetime import UTC, datetime, time, timedelta
from threading import Event

import pytest
from django.conf import settings
from django.core import mail
from django.utils import timezone
from django.utils.module_loading import import_string
from django_celery_beat.models import PeriodicTask

from ingestion.alerts import incidents
from ingestion.alerts.incidents import Condition
from ingestion.jobs.heartbeats import latest_heartbeats
from ingestion.models import Heartbeat, HostRound, Incident, IngestionRun
from ingestion.monitoring.watchdog import WatchdogResult, run_checks
from ingestion.schedules import run_scheduler, sync_timetable
from ingestion.services import run_watchdog
from ingestion.tasks import check_health, delete_expired, record_worker_heartbeat
from moovitamix.celery import app
from tests.support.builders.finished_runs import make_finished_run

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
looked: list[str] = []


@pytest.fixture(autouse=True)
def _nobody_has_looked() -> None:
    looked.clear()


def first(now: datetime) -> None:
    looked.append("first")


def last(now: datetime) -> None:
    looked.append("last")


def send(now: datetime) -> None:
    looked.append("send")


def broken(now: datetime) -> None:
    raise ValueError("The disk is gone\nand this line may hold an e-mail")


def test_every_check_is_made_in_order_and_then_the_messages_are_sent() -> None:
    made = run_checks(NOW, [first, last], send)

    assert made == WatchdogResult(("first", "last", "send"), ())
    assert looked == ["first", "last", "send"]
    assert Heartbeat.objects.get(part="watchdog").at == NOW


def test_a_check_that_raises_is_an_incident_and_keeps_no_other_from_being_made() -> None:
    made = run_checks(NOW, [first, broken, last], send)

    assert made == WatchdogResult(("first", "last", "send"), ("broken",))
    incident = Incident.objects.get()
    assert (incident.key, incident.severity) == ("watchdog_check_failed:broken", "warning")
    assert incident.facts == {"error": "ValueError: The disk is gone"}


def test_a_check_that_works_again_or_is_not_made_any_more_ends_its_incident() -> None:
    def flaky(now: datetime) -> None:
        if now == NOW:
            raise ValueError

    run_checks(NOW, [flaky, broken], send)

    run_checks(NOW + MINUTE, [flaky], send)

    assert Incident.objects.count() == 2
    assert not Incident.objects.filter(resolved_at=None).exists()


def test_a_machine_on_which_a_check_works_does_not_end_the_incident_of_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    is_broken = True

    def check(now: datetime) -> None:
        if is_broken:
            raise PermissionError("The folder belongs to somebody else")

    for minute, host in enumerate(("web-1", "web-2", "web-1", "web-2")):
        monkeypatch.setattr(socket, "gethostname", lambda host=host: host)
        is_broken = host == "web-1"
        run_checks(NOW + minute * MINUTE, [], send, host_checks=[check])
    [incident] = Incident.objects.all()
    still_open = incident.resolved_at is None
    monkeypatch.setattr(socket, "gethostname", lambda: "web-1")
    run_checks(NOW + 4 * MINUTE, [], send, host_checks=[check])

    incident.refresh_from_db()
    assert still_open
    assert list(incident.facts["hosts"]) == ["web-1"]
    assert incident.resolved_at is not None


def test_a_check_for_all_hosts_that_works_on_another_host_ends_its_incident(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "web-1")
    run_checks(NOW, [broken], broken)
    monkeypatch.setattr(socket, "gethostname", lambda: "web-2")

    def repaired(now: datetime) -> None:
        looked.append("repaired")

    repaired.__name__ = "broken"
    run_checks(NOW + MINUTE, [repaired], repaired)

    assert looked == ["repaired", "repaired"]
    assert not Incident.objects.filter(resolved_at=None).exists()


def test_a_host_check_that_takes_minutes_delays_no_other_check_and_no_alert() -> None:
    def download(now: datetime) -> None:
        looked.append("download")

    made = run_checks(NOW, [first], send, host_checks=[download])

    # The second time for what the host's checks found.
    assert looked == ["first", "send", "download", "send"]
    assert made == WatchdogResult(("first", "send", "download"), ())
    assert Heartbeat.objects.get(part="watchdog").facts == {"checks": 2, "failed": []}


def test_after_a_download_of_minutes_alerts_are_sent_at_the_current_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    passed, sent_at = [0.0], []
    monkeypatch.setattr("ingestion.monitoring.watchdog.time.monotonic", lambda: passed[0])

    def note_time(now: datetime) -> None:
        sent_at.append(now)

    def download(now: datetime) -> None:
        passed[0] += 360.0

    run_checks(NOW, [], note_time, host_checks=[download])

    assert sent_at == [NOW, NOW + 6 * MINUTE]


def test_a_round_that_a_download_delays_does_not_overwrite_the_results_of_a_later_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def download(now: datetime) -> None:
        monkeypatch.setattr(socket, "gethostname", lambda: "web-2")
        run_checks(NOW + MINUTE, [first, broken], send)

    run_checks(NOW, [first], send, host_checks=[download])

    assert Heartbeat.objects.get(part="watchdog").facts == {"checks": 3, "failed": ["broken"]}


def test_a_sender_that_raises_is_an_incident_too() -> None:
    made = run_checks(NOW, [first], broken)

    assert made is not None
    assert made.failed == ("broken",)


def test_who_comes_within_the_minute_does_nothing_and_who_comes_on_time_does() -> None:
    rounds = [run_checks(NOW + timedelta(seconds=seconds), [first], send) for seconds in (0, 30, 60, 61, 120)]

    assert [made is not None for made in rounds] == [True, False, True, False, True]
    assert looked.count("first") == 3


def test_a_watchdog_whose_last_round_lies_in_the_future_looks_all_the_same() -> None:
    run_checks(NOW + timedelta(hours=3), [first], send)

    assert run_checks(NOW, [first], send) is not None


def test_each_host_runs_its_own_checks_every_minute_whoever_comes_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Each process tries once a minute, always at the same second.
    phases = {0: "web-1", 15: "web-2", 20: "web-2"}
    rounds: dict[str, list[int]] = {host: [] for host in phases.values()}

    def disk(now: datetime) -> None:
        host = socket.gethostname()
        rounds[host].append(int((now - NOW).total_seconds()))
        full = [Condition("disk", "disk_nearly_full", "critical")] if host == "web-2" else []
        incidents.sync_scope_here("disk", full, now)

    for minute in range(65):
        for second, host in phases.items():
            monkeypatch.setattr(socket, "gethostname", lambda host=host: host)
            run_checks(NOW + timedelta(seconds=60 * minute + second), [first], send, host_checks=[disk])

    assert rounds == {"web-1": list(range(0, 3900, 60)), "web-2": list(range(15, 3900, 60))}
    assert looked.count("first") == 65
    [incident] = Incident.objects.all()
    assert (incident.resolved_at, list(incident.facts["hosts"])) == (None, ["web-2"])


def test_hosts_that_are_gone_are_forgotten_after_a_day(monkeypatch: pytest.MonkeyPatch) -> None:
    for hours, host in ((0, "old"), (1, "web-1"), (25, "new")):
        monkeypatch.setattr(socket, "gethostname", lambda host=host: host)
        run_checks(NOW + timedelta(hours=hours), [], send)

    assert list(HostRound.objects.values_list("host", flat=True)) == ["new", "web-1"]


def test_every_check_of_the_settings_can_be_called() -> None:
    checks = [import_string(path) for path in (*settings.WATCHDOG_CHECKS, *settings.WATCHDOG_HOST_CHECKS)]

    assert len({check.__name__ for check in checks}) == len(checks) == 17


def test_nothing_alarms_where_nothing_was_set_up() -> None:
    for days in (0, 1, 30, 400):
        made = run_watchdog(timezone.now() + timedelta(days=days))

        assert made is not None
        assert made.failed == ()
    assert not Incident.objects.exists()


def test_nothing_alarms_after_runs_by_hand() -> None:
    run = make_finished_run(0, trigger="command", reports={"songs": {"received": 3, "new": 3}})
    IngestionRun.objects.filter(pk=run.pk).update(started_at=NOW, finished_at=NOW + MINUTE)

    for days in (0, 1, 30, 400):
        run_watchdog(NOW + timedelta(days=days))

    assert not Incident.objects.exists()


def test_a_dead_run_is_told_of_in_the_round_that_finds_it(settings: pytest.FixtureRequest) -> None:
    settings.ALERT_EMAILS = ["ada@example.org"]  # type: ignore[attr-defined]
    now = timezone.now()
    run = make_finished_run(0)
    IngestionRun.objects.filter(pk=run.pk).update(
        status="running", finished_at=None, started_at=now - 20 * MINUTE, heartbeat_at=now - 6 * MINUTE
    )

    run_watchdog(now)

    assert IngestionRun.objects.get().status == "abandoned"
    assert [message.subject for message in mail.outbox] == [
        "[MoovitaMix] Critical: The ingestion run stopped before it finished"
    ]


def test_the_timetable_has_an_entry_for_each_task_of_operation_made_once() -> None:
    sync_timetable(time(2), "Europe/Paris")
    sync_timetable(time(2), "Europe/Paris")

    entries = {entry.task: entry for entry in PeriodicTask.objects.filter(task__startswith="ingestion.")}

    assert set(entries) <= set(app.tasks)
    assert PeriodicTask.objects.filter(task__startswith="ingestion.").count() == 5
    for task in (record_worker_heartbeat, check_health):
        assert str(entries[task.name].interval) == "every minute"
        assert entries[task.name].expire_seconds == 60
    cleanup = entries[delete_expired.name].crontab
    assert (cleanup.hour, cleanup.minute, str(cleanup.timezone)) == ("3", "30", "Europe/Paris")


def test_the_tasks_leave_signs_of_life() -> None:
    record_worker_heartbeat()
    alone = set(latest_heartbeats())

    check_health()

    assert alone == {"worker"}
    assert set(latest_heartbeats()) == {"worker", "watchdog"}
    assert delete_expired()["runs"] == 0


@pytest.mark.django_db(transaction=True)
def test_the_foreground_scheduler_gives_signs_of_life_and_looks_too() -> None:
    stop = Event()

    def look(now: datetime) -> None:
        stop.set()
        run_watchdog(now)

    run_scheduler(lambda slot: make_finished_run(0), stop, lambda: NOW, look)

    assert {part: one.at for part, one in latest_heartbeats().items()} == {"scheduler": NOW, "watchdog": NOW}


def test_a_round_asks_the_database_a_bounded_number_of_times(
    django_assert_max_num_queries: type,
) -> None:
    for day in range(30):
        make_finished_run(day, reports={"songs": {"received": 3}}, followed_up_at=NOW)
    run_watchdog(NOW)

    with django_assert_max_num_queries(107):
        run_watchdog(NOW + MINUTE)

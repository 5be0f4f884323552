"""Incidents: one problem is one incident, however often and by whichever check it is reported."""

import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection

from ingestion.alerts import incidents
from ingestion.alerts.incidents import Condition
from ingestion.models import Incident, IngestionRun

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 11, 23, 2, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)


def condition(key: str = "run", severity: str = "critical", **fields: Any) -> Condition:
    return Condition(key, fields.pop("kind", "run_failed"), severity, **fields)


def make_run() -> IngestionRun:
    return IngestionRun.objects.create(
        trigger="command", status="succeeded", started_at=NOW, heartbeat_at=NOW, finished_at=NOW,
        host="here", pid=1, process_started=1.0,
    )  # fmt: skip


def test_a_trouble_that_is_seen_three_times_is_one_incident_with_its_newest_numbers() -> None:
    run = make_run()
    incidents.open_or_update(condition(facts={"error": "first"}), NOW)
    incidents.open_or_update(condition(), NOW + HOUR)

    seen = incidents.open_or_update(condition(facts={"error": "third"}, run_id=run.pk), NOW + 2 * HOUR)

    assert Incident.objects.get() == seen
    assert (seen.count, seen.opened_at, seen.seen_at) == (3, NOW, NOW + 2 * HOUR)
    assert (seen.facts, seen.run) == ({"error": "third"}, run)


def test_what_ended_opens_anew_when_it_comes_back() -> None:
    run = make_run()
    first = incidents.open_or_update(condition(), NOW)

    ended = incidents.resolve("run", NOW + HOUR, run_id=run.pk, facts={"received": 3})
    second = incidents.open_or_update(condition(), NOW + 2 * HOUR)

    assert ended == first
    assert ended is not None
    assert (ended.resolved_at, ended.resolved_by_run, ended.resolution) == (NOW + HOUR, run, {"received": 3})
    assert second.pk != first.pk
    assert list(incidents.open_incidents()) == [second]


def test_clearing_what_is_not_there_changes_nothing() -> None:
    assert incidents.resolve("run", NOW) is None
    assert not Incident.objects.exists()


def test_a_check_settles_its_own_scope_and_no_other() -> None:
    for key in ("data_stale:songs", "data_stale:users", "data_stale_too", "run"):
        incidents.open_or_update(condition(key, "warning"), NOW)

    incidents.sync_scope(
        "data_stale",
        [condition("data_stale:users", "warning"), condition("data_stale:listening_history", "warning")],
        NOW + HOUR,
    )

    assert {incident.key: incident.count for incident in incidents.open_incidents()} == {
        "data_stale:users": 2,
        "data_stale:listening_history": 1,
        "data_stale_too": 1,
        "run": 1,
    }


def test_a_check_that_reports_beside_its_scope_is_refused() -> None:
    with pytest.raises(ValueError, match="do not belong to data_stale"):
        incidents.sync_scope("data_stale", [condition("run")], NOW)


def test_a_warning_that_becomes_critical_is_told_anew_and_has_to_be_acknowledged_anew() -> None:
    incident = incidents.open_or_update(condition("disk_nearly_full:database", "warning"), NOW)
    Incident.objects.update(told_at=NOW)
    incidents.acknowledge(incident, "ada", NOW)

    worse = incidents.open_or_update(condition("disk_nearly_full:database", "critical"), NOW + HOUR)

    assert (worse.severity, worse.told_at, worse.acknowledged_at, worse.acknowledged_by) == (
        "critical", None, None, "",
    )  # fmt: skip
    again = incidents.open_or_update(condition("disk_nearly_full:database", "warning"), NOW + HOUR)
    assert again.severity == "critical"


def test_the_first_to_acknowledge_stands_in_the_incident() -> None:
    incident = incidents.open_or_update(condition(), NOW)

    assert incidents.acknowledge(incident, "ada", NOW)
    assert not incidents.acknowledge(incident, "bob", NOW + HOUR)

    incident.refresh_from_db()
    assert (incident.acknowledged_by, incident.acknowledged_at) == ("ada", NOW)


def test_a_muted_trouble_that_comes_and_goes_stays_muted_until_the_hour_is_over() -> None:
    first = incidents.open_or_update(condition(), NOW)
    incidents.mute(first, NOW + HOUR, NOW)
    incidents.resolve("run", NOW + timedelta(minutes=10))

    second = incidents.open_or_update(condition(), NOW + timedelta(minutes=20))
    incidents.resolve("run", NOW + timedelta(minutes=30))
    third = incidents.open_or_update(condition(), NOW + 2 * HOUR)

    assert second.muted_until == NOW + HOUR
    assert third.muted_until is None


def test_nobody_mutes_into_the_past_or_what_is_over() -> None:
    incident = incidents.open_or_update(condition(), NOW)
    with pytest.raises(ValueError, match="is in the past"):
        incidents.mute(incident, NOW, NOW)
    incidents.resolve("run", NOW)

    assert not incidents.mute(incident, NOW + HOUR, NOW)
    assert not incidents.acknowledge(incident, "ada", NOW)


def test_open_incidents_come_critical_first_and_then_oldest_first() -> None:
    incidents.open_or_update(condition("a", "warning"), NOW)
    incidents.open_or_update(condition("b", "critical"), NOW + 2 * HOUR)
    incidents.open_or_update(condition("c", "critical"), NOW + HOUR)

    assert [incident.key for incident in incidents.open_incidents()] == ["c", "b", "a"]


@pytest.mark.django_db(transaction=True)
def test_eight_who_see_the_same_trouble_at_once_open_one_incident_and_each_is_counted() -> None:
    together = threading.Barrier(8)

    def see(_: int) -> int:
        together.wait()
        try:
            return incidents.open_or_update(condition(), NOW).pk
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as pool:
        seen = set(pool.map(see, range(8)))

    incident = Incident.objects.get()
    assert seen == {incident.pk}
    assert incident.count == 8


@pytest.mark.django_db(transaction=True)
def test_eight_hosts_that_report_the_same_problem_at_once_are_all_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: threading.current_thread().name)
    together = threading.Barrier(8)

    def report(_: int) -> None:
        together.wait()
        try:
            incidents.open_or_update_here(condition(facts={"reason": socket.gethostname()}), NOW)
        finally:
            connection.close()

    with ThreadPoolExecutor(8, thread_name_prefix="web") as pool:
        list(pool.map(report, range(8)))

    hosts = Incident.objects.get().facts["hosts"]
    assert sorted(hosts) == [f"web_{number}" for number in range(8)]
    assert all(facts["reason"] == host for host, facts in hosts.items())


def test_the_facts_of_a_host_that_is_well_leave_the_incident(monkeypatch: pytest.MonkeyPatch) -> None:
    minute = HOUR / 60
    for number, host in enumerate(("web-1", "web-2", "web-3")):
        monkeypatch.setattr(socket, "gethostname", lambda host=host: host)
        facts = {"free_bytes": number, "path": f"/{host}"}
        incidents.open_or_update_here(condition(facts=facts), NOW + number * minute)

    incidents.resolve_here("run", NOW + 3 * minute)

    [incident] = incidents.open_incidents()
    shown = {name: value for name, value in incident.facts.items() if name != "hosts"}
    assert shown == {"free_bytes": 1, "path": "/web-2"}
    assert list(incident.facts["hosts"]) == ["web-1", "web-2"]


@pytest.mark.parametrize("reports_too", [False, True])
def test_an_incident_that_an_earlier_release_opened_without_a_host_ends_an_hour_after_it_was_seen(
    reports_too: bool,
) -> None:
    incidents.open_or_update(condition(facts={"path": "/srv"}), NOW)

    if reports_too:
        incidents.open_or_update_here(condition(facts={"path": "/srv"}), NOW + HOUR / 4)
    incidents.resolve_here("run", NOW + HOUR / 2)
    [still_open] = incidents.open_incidents()
    incidents.resolve_here("run", NOW + HOUR)

    assert list(still_open.facts["hosts"]) == ["?"]
    assert still_open.facts["path"] == "/srv"
    assert not incidents.open_incidents().exists()

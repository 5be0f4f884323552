"""The operations page: its headline, its charts, its queries, and who may see it."""

import re
from datetime import UTC, datetime, timedelta
from html import unescape
from typing import Any

import pytest
from django.contrib import admin
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from ingestion.alerts import incidents
from ingestion.alerts.incidents import Condition
from ingestion.models import Heartbeat, Incident, IngestionRun, ResourceReport
from ingestion.schedules import sync_timetable
from moovitamix.dashboard.navigation import SIDEBAR_SECTIONS
from moovitamix.dashboard.tabs import GROUPS
from moovitamix.operations import service_state
from recommender import services
from tests.support.builders.daily_runs import make_daily_runs

pytestmark = pytest.mark.django_db


@pytest.fixture
def staff(client: Client, django_user_model: Any) -> Client:
    client.force_login(django_user_model.objects.create_superuser("ada"))
    return client


def text_of(staff: Client, path: str = "/") -> str:
    """The page as it is read: without tags, with single spaces."""
    page = staff.get(path).content.decode()
    bare = re.sub(r"<script.*?</script>|<[^>]+>", " ", page, flags=re.DOTALL)
    return " ".join(unescape(bare).replace("\N{NARROW NO-BREAK SPACE}", " ").split())


def an_hour_ago() -> datetime:
    return timezone.now() - timedelta(hours=1)


def condition(key: str, kind: str, severity: str, **facts: Any) -> Condition:
    return Condition(key, kind, severity, facts)


def test_visitors_are_redirected_to_the_login(client: Client) -> None:
    for path in ("/", "/runs/1/"):
        answer = client.get(path)

        assert answer.status_code == 302
        assert answer["Location"] == f"/admin/login/?next={path}"


def test_users_who_are_not_staff_are_redirected_to_the_login(client: Client, django_user_model: Any) -> None:
    client.force_login(django_user_model.objects.create_user("listener"))

    assert client.get("/").status_code == 302


def test_before_the_first_run_it_says_how_to_start_one(staff: Client) -> None:
    text = text_of(staff)

    assert "No data has been imported yet" in text
    assert "python manage.py runingest" in text
    assert "Run now" in text
    assert "Succeeded runs" not in text


def test_a_healthy_day_is_one_sentence(staff: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    now = timezone.now()
    monkeypatch.setattr(service_state, "_check_artifact", lambda: "ok")
    sync_timetable((now + timedelta(hours=6, minutes=5)).time(), "UTC")
    make_daily_runs(30, until=now - timedelta(minutes=5))

    text = text_of(staff)

    assert re.search(
        r"All is well: last run [\d:\- ]+, 1 000 songs received, 12 new, data 4 minutes old; "
        r"next run in 6 hours\.",
        text,
    )
    assert "No open incidents." in text


def test_a_critical_incident_is_the_headline_and_the_others_are_counted(staff: Client) -> None:
    make_daily_runs(3, until=an_hour_ago())
    now = timezone.now()
    incidents.open_or_update(condition("run_partial", "run_partial", "warning"), now)
    incidents.open_or_update(
        condition("delivery_failing:slack", "delivery_failing", "critical", channel="slack"), now
    )

    text = text_of(staff)

    assert "All is well" not in text
    assert "Alerts can't be delivered by Slack, and 1 more incident" in text


@pytest.mark.parametrize(
    ("status", "phrase"),
    [
        ("failed", "failed; the catalogue is unchanged"),
        ("refused", "was refused: the source looks like a different catalogue"),
        ("abandoned", "stopped before it finished; the next run continues from there"),
        ("partial", "imported only part of the data"),
        ("stopped", "was stopped by a person or a shutdown"),
    ],
)
def test_a_failed_run_is_the_headline_before_any_incident_is_open(
    staff: Client, status: str, phrase: str
) -> None:
    runs = make_daily_runs(3, until=an_hour_ago(), status=status, error_kind="x", error="y")

    text = text_of(staff)

    assert f"Run {runs[-1].pk} {phrase}" in text
    assert f"Run again Why run {runs[-1].pk} did not succeed" in text
    assert "All is well" not in text


def test_stale_data_is_the_headline_even_if_the_last_run_succeeded(staff: Client) -> None:
    make_daily_runs(3, until=timezone.now() - timedelta(hours=27))

    assert "The data is stale: no recent run has updated it" in text_of(staff)


def test_a_silent_watchdog_is_the_headline(staff: Client) -> None:
    make_daily_runs(3, until=an_hour_ago())
    past = timezone.now() - timedelta(minutes=20)
    Heartbeat.objects.create(part="watchdog", at=past, since=past, host="here", pid=1)

    assert "The watchdog is not running: its last heartbeat was 20 minutes ago" in text_of(staff)


def test_a_dry_run_is_listed_and_does_not_count_as_an_update_of_the_data(staff: Client) -> None:
    make_daily_runs(3, until=an_hour_ago())
    make_daily_runs(1, until=timezone.now() - timedelta(minutes=2), dry_run=True)

    text = text_of(staff)

    assert "data 59 minutes old" in text
    assert "dry run" in text


@pytest.mark.parametrize(
    ("requested", "days", "runs"), [("7", 7, 7), ("90", 90, 90), ("", 30, 30), ("5", 30, 30)]
)
def test_the_reader_chooses_the_charts_window(staff: Client, requested: str, days: int, runs: int) -> None:
    make_daily_runs(100, until=an_hour_ago())

    text = text_of(staff, f"/?days={requested}")

    assert f"The last {days} days" in text
    assert f"{runs} of {runs}" in text
    assert f"Last {days} days, {runs} runs, newest" in text


def test_each_chart_states_its_formula_and_can_be_read_as_a_table(staff: Client) -> None:
    make_daily_runs(3, until=an_hour_ago())

    page = staff.get("/").content.decode()
    text = text_of(staff)

    assert page.count("<canvas") == page.count('role="img"') == 11
    assert "Share of rejected rows: rejections / rows received" in text
    assert text.count("How is this computed?") == 6
    assert "commit time - max(created_at, updated_at) over new and changed rows" in text
    for title in ("Status", "Duration", "Data volume", "Resource use", "Errors", "Data latency"):
        assert f"{title} as a table" in text


def test_charts_say_what_is_drawn_and_metrics_that_no_run_measured_are_hidden(staff: Client) -> None:
    make_daily_runs(3, until=an_hour_ago())
    ResourceReport.objects.update(latency_p95=None, latency_p50=None)

    page = staff.get("/").content.decode()
    text = text_of(staff)

    assert "Songs received 1 000 One point per run; vertical axis: rows." in text
    assert "One point per run; vertical axis: time; shaded: expected range, red point: outside of it." in text
    assert '"unit_title": "rows"' in page
    assert "Data latency" not in text


def test_the_expected_range_stands_beside_the_value(staff: Client) -> None:
    make_daily_runs(3, until=an_hour_ago())

    text = text_of(staff)

    assert "Whole run 60 s expected: 30 s to 1.5 min" in text


@pytest.mark.slow
def test_a_thousand_runs_and_many_incidents_take_eighteen_queries(staff: Client) -> None:
    make_daily_runs(1000, until=an_hour_ago())
    sync_timetable(datetime(2026, 1, 1, 2, tzinfo=UTC).time(), "UTC")
    for n in range(30):
        incidents.open_or_update(condition(f"data_stale:{n}", "data_stale", "warning"), timezone.now())
    services.current_model()  # loaded once per process, then checked every five seconds

    with CaptureQueriesContext(
        connection,
    ) as queries:
        answer = staff.get("/?days=90")

    assert answer.status_code == 200
    # Ten of the page, and eight that readiness asks too: both must come to the same result.
    assert 8 <= len(queries) <= 18
    assert not [query["sql"] for query in queries if "COUNT(" in query["sql"].upper()]


def test_a_running_run_shows_its_progress(staff: Client) -> None:
    make_daily_runs(2, until=an_hour_ago())
    run = start_run(stage="reading songs", stage_done=250, stage_total=1000)

    text = text_of(staff)
    page = staff.get("/").content.decode()

    assert f"Run {run.pk} in progress: reading songs" in text
    assert "25 % of this stage: 250 of 1 000 rows" in text
    assert 'value="0.250"' in page
    assert "Run now" not in text


def test_the_page_reloads_only_when_a_run_starts_or_ends(staff: Client) -> None:
    run = start_run()
    while_running = staff.get(f"/operations/live/?seen={run.pk}-running")
    IngestionRun.objects.update(status="succeeded", finished_at=timezone.now())
    at_the_end = staff.get(f"/operations/live/?seen={run.pk}-running")
    afterwards = staff.get(f"/operations/live/?seen={run.pk}-succeeded")

    assert "HX-Refresh" not in while_running
    assert at_the_end["HX-Refresh"] == "true"
    assert "HX-Refresh" not in afterwards
    assert "in progress" not in afterwards.content.decode()


def test_the_page_reloads_when_an_incident_is_resolved_after_its_run(staff: Client) -> None:
    make_daily_runs(2, until=an_hour_ago())
    now = timezone.now()
    incident = Incident.objects.create(
        key="run", kind="run_failed", severity="critical", opened_at=now, seen_at=now
    )
    shown = re.search(r'hx-get="([^"]*)"', staff.get("/").content.decode())
    assert shown is not None
    link = unescape(shown[1])

    while_open = staff.get(link)
    incident.resolved_at = now
    incident.save()
    at_the_end = staff.get(link)

    assert "HX-Refresh" not in while_open
    assert unescape(while_open.content.decode()).count(link) == 1
    assert at_the_end["HX-Refresh"] == "true"


def test_an_open_page_reloads_when_the_session_has_expired(client: Client) -> None:
    answer = client.get("/operations/live/?seen=1-running")

    assert answer.status_code == 204
    assert answer["HX-Refresh"] == "true"


def start_run(**fields: Any) -> IngestionRun:
    now = timezone.now()
    return IngestionRun.objects.create(
        trigger="admin", status="running", started_at=now, heartbeat_at=now, host="here", pid=1,
        process_started=0.0, **fields,
    )  # fmt: skip


def test_the_sidebar_marks_the_page_that_is_open_and_no_other(staff: Client) -> None:
    active = {
        path: [
            item["title"]
            for group in staff.get(path).context["sidebar_navigation"]
            for item in group["items"]
            if item["active"]
        ]
        for path in ("/", "/admin/ingestion/incident/", "/admin/ingestion/rejection/")
    }

    # Lists on one subject share an entry of the menu, and are tabs.
    assert active == {
        "/": ["Operations"],
        "/admin/ingestion/incident/": ["Incidents"],
        "/admin/ingestion/rejection/": ["Ingestion runs"],
    }


def test_every_list_is_in_the_menu_or_in_a_tab_beside_an_entry_of_it() -> None:
    entries = {page for entries in SIDEBAR_SECTIONS.values() for _title, _icon, page in entries}
    lists = {
        f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist" for model in admin.site._registry
    }
    tabs = [[f"admin:{model.replace('.', '_')}_changelist" for model, _title in group] for group in GROUPS]
    reached = {page for group in tabs for page in group if entries & {*group}} | entries

    linked_elsewhere = {"decision", "engagementday", "songevidence", "taskusage"}
    schedules = {"crontabschedule", "intervalschedule", "solarschedule", "clockedschedule", "groupresult"}
    left = {page.rpartition("_")[0].rpartition("_")[2] for page in lists - reached}
    assert left - linked_elsewhere - schedules == set()

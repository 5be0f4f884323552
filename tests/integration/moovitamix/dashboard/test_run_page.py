"""A run's page: stages, results by resource, rejections, changed fields and anomaly checks."""

import json
import re
from datetime import timedelta
from html import unescape
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from ingestion.alerts import incidents
from ingestion.alerts.incidents import Condition
from ingestion.models import AnomalyCheck, IngestionRun, Rejection, ResourceReport, RunLogLine
from tests.support.builders.daily_runs import make_daily_runs
from tests.support.builders.roles import find_role

pytestmark = pytest.mark.django_db


@pytest.fixture
def staff(client: Client, django_user_model: Any) -> Client:
    client.force_login(django_user_model.objects.create_superuser("ada"))
    return client


@pytest.fixture
def run() -> IngestionRun:
    return make_daily_runs(5, until=timezone.now() - timedelta(hours=1), rejected=3)[-1]


def page_of(staff: Client, run: IngestionRun) -> str:
    return staff.get(f"/runs/{run.pk}/").content.decode()


def read(page: str) -> str:
    bare = re.sub(r"<script.*?</script>|<[^>]+>", " ", page, flags=re.DOTALL)
    return " ".join(unescape(bare).replace("\N{NARROW NO-BREAK SPACE}", " ").split())


def reject(run: IngestionRun, resource: str, row: Any, field: str, reason: str, n: int = 0) -> Rejection:
    return Rejection.objects.create(
        run=run, last_run=run, resource=resource, payload=json.dumps(row), fingerprint=f"{resource}-{n}",
        field=field, reason=reason,
    )  # fmt: skip


def test_a_run_that_is_not_there_is_not_found(staff: Client, run: IngestionRun) -> None:
    assert staff.get(f"/runs/{run.pk + 1}/").status_code == 404


def test_it_shows_the_log_lines_of_this_run_only(staff: Client, run: IngestionRun) -> None:
    other = IngestionRun.objects.get(pk=run.pk - 1)
    for one, text in ((run, "page_retried page=7"), (other, "page_retried page=8")):
        RunLogLine.objects.create(run=one, at=run.started_at, level="WARNING", text=text)

    log = f"/runs/{run.pk}/log/"
    text = read(staff.get(log).content.decode())

    assert f'hx-get="{log}"' in page_of(staff, run)
    assert "WARNING page_retried page=7" in text
    assert "page=8" not in text
    assert staff.get(f"/runs/{run.pk + 1}/log/").status_code == 404


def test_run_again_needs_the_permission_to_start_runs(
    client: Client, django_user_model: Any, run: IngestionRun
) -> None:
    person = django_user_model.objects.create_user("eve", is_staff=True)
    person.groups.add(find_role("viewer"))
    client.force_login(person)
    without = read(page_of(client, run))

    person.user_permissions.add(Permission.objects.get(codename="add_ingestionrun"))

    assert "Run again" not in without
    assert "Run again" in read(page_of(client, run))
    IngestionRun.objects.filter(pk=run.pk).update(status="running", finished_at=None)
    assert "Run again" not in read(page_of(client, run))


def test_a_failed_run_says_first_why_then_what_to_do_and_hides_empty_tables(
    staff: Client, run: IngestionRun
) -> None:
    ResourceReport.objects.filter(run=run).delete()
    AnomalyCheck.objects.filter(run=run).delete()
    IngestionRun.objects.filter(pk=run.pk).update(
        status="failed", error_kind="timeout", error="no answer", rejected=0
    )
    incidents.open_or_update(Condition("run", "run_failed", "critical", {}, run.pk), timezone.now())
    for level, text in (("WARNING", "page_retried page=7"), ("INFO", "run_ended"), ("ERROR", "gave_up")):
        RunLogLine.objects.create(run=run, at=run.started_at, level=level, text=text)

    text = read(page_of(staff, run))

    assert "run_ended" not in text
    in_order = [
        "no answer",
        "The ingestion run failed",
        "page_retried page=7",
        "gave_up",
        "Run again",
        "Started",
    ]
    assert sorted(in_order, key=text.index) == in_order
    for heading in (
        "Stages",
        "Results by resource",
        "Rejections by reason",
        "Changed fields",
        "Anomaly checks",
    ):
        assert heading not in text
    assert "The run ended before it had read any rows. No rows were rejected." in text


def test_it_links_to_the_previous_and_the_next_run(staff: Client, run: IngestionRun) -> None:
    older = IngestionRun.objects.get(pk=run.pk - 1)

    assert f'href="/runs/{run.pk - 1}/"' in page_of(staff, run)
    assert f'href="/runs/{run.pk + 1}/"' not in page_of(staff, run)
    assert f'href="/runs/{run.pk}/"' in page_of(staff, older)


def test_stages_share_one_time_scale_and_an_unfinished_stage_lasts_until_the_end(
    staff: Client, run: IngestionRun
) -> None:
    started_at = run.started_at
    IngestionRun.objects.filter(pk=run.pk).update(
        status="abandoned",
        stages=[
            {"name": "reading songs", "started_at": started_at.isoformat(), "seconds": 15.0},
            {
                "name": "writing songs",
                "started_at": (started_at + timedelta(seconds=30)).isoformat(),
                "seconds": None,
            },
        ],
    )

    page = page_of(staff, run)

    assert "margin-left: 0.00%; width: 25.00%" in page
    assert "margin-left: 50.00%; width: 50.00%" in page
    assert "writing songs +30 s 30 s, unfinished" in read(page)


def test_resources_stand_side_by_side_and_their_numbers_link_to_the_rows(
    staff: Client, run: IngestionRun
) -> None:
    ResourceReport.objects.filter(run=run, resource="songs").update(
        received=1000, rejected=3, unchanged=985, missing=4, errors={"503": 2, "timeout": 1}
    )

    page = page_of(staff, run)

    assert "Received 1 000 200 30 000 31 200" in read(page)
    assert "Failed requests by kind 503: 2, timeout: 1 - -" in read(page)
    assert f"?run_id__lte={run.pk}&amp;last_run_id__gte={run.pk}&amp;resource__exact=songs" in page
    assert "/admin/ingestion/song/?availability=missing" in page


def test_rejections_are_grouped_by_reason_with_an_example_of_each(staff: Client, run: IngestionRun) -> None:
    reject(run, "songs", {"id": 1, "duration": "three minutes"}, "duration", "no duration", 1)
    reject(run, "songs", {"id": 2, "duration": "long"}, "duration", "no duration", 2)
    reject(run, "listening_history", {"items": [1]}, "user_id", "is missing")

    text = read(page_of(staff, run))

    assert 'Songs duration no duration 2 "three minutes"' in text
    assert 'Listening sessions user_id is missing 1 {"items": [1]}' in text


def test_a_listeners_rejected_row_is_shown_only_with_the_permission_for_personal_data(
    client: Client, django_user_model: Any, run: IngestionRun
) -> None:
    reject(run, "users", {"id": 1, "email": "zoe@example.org"}, "email", "no address")
    operator = django_user_model.objects.create_user("op", is_staff=True)
    operator.groups.add(find_role("operator"))
    client.force_login(operator)
    before = read(page_of(client, run))
    operator.user_permissions.add(Permission.objects.get(codename="view_personal_data"))
    after = read(page_of(client, run))

    assert "hidden: personal data" in before
    assert "zoe@example.org" not in before
    assert "zoe@example.org" in after


def test_changed_fields_show_old_and_new_values_except_those_of_listeners(
    staff: Client, run: IngestionRun
) -> None:
    ResourceReport.objects.filter(run=run, resource="songs").update(
        sample=[{"key": 7, "field": "album", "old": "Blue", "new": "Blue (Deluxe)"}]
    )
    ResourceReport.objects.filter(run=run, resource="users").update(sample=[{"key": 9, "field": "email"}])
    ResourceReport.objects.filter(run=run, resource="listening_history").update(
        sample=[{"key": ["5", "2026-11-01"], "field": "items", "old": None, "new": "[1]"}]
    )

    text = read(page_of(staff, run))

    assert "Songs 7 album Blue Blue (Deluxe)" in text
    assert "Listeners 9 email not stored: personal data" in text
    assert "Listening sessions 5 2026-11-01 items empty [1]" in text


def test_an_anomaly_states_its_distance_from_the_expected_range_and_links_to_the_reset(
    staff: Client, run: IngestionRun
) -> None:
    AnomalyCheck.objects.filter(run=run).update(value=180.0, median=60.0, low=30.0, high=90.0, verdict="high")

    page = page_of(staff, run)

    assert (
        "3 min is above the expected range (3 times the median); expected: 30 s to 1.5 min, "
        "median of 30 runs: 60 s." in read(page)
    )
    assert f"/admin/ingestion/anomalycheck/?q={run.pk}&amp;measure=duration" in page
    assert staff.get(f"/admin/ingestion/anomalycheck/?q={run.pk}&measure=duration").status_code == 200


def test_a_chart_contains_the_runs_with_their_expected_ranges(staff: Client, run: IngestionRun) -> None:
    page = page_of(staff, run)

    chart = re.search(r'<script id="chart-check-\d+" type="application/json">(.*?)</script>', page)
    assert chart is not None
    data = json.loads(chart[1])
    assert data["runs"] == list(range(run.pk - 4, run.pk + 1))
    assert data["lines"] == [{"name": "Duration", "values": [60.0] * 5}]
    assert (data["low"], data["high"]) == ([30.0] * 5, [90.0] * 5)


def test_a_run_lists_the_incidents_that_it_opened_and_resolved(staff: Client, run: IngestionRun) -> None:
    now = timezone.now()
    opened, resolved = (
        Condition("run", "run_failed", "critical"),
        Condition("run_partial", "run_partial", "warning", run_id=run.pk),
    )
    incidents.open_or_update(opened, now - timedelta(hours=25))
    incidents.resolve("run", now, run_id=run.pk)
    incidents.open_or_update(resolved, now)

    text = read(page_of(staff, run))

    assert (
        "Incidents seen in this run Warning The ingestion run was partial: some data was not imported" in text
    )
    assert "Incidents resolved by this run Critical The ingestion run failed Resolved after 25 hours." in text


@pytest.mark.slow
def test_the_page_costs_as_much_after_a_thousand_runs(staff: Client) -> None:
    run = make_daily_runs(1000, until=timezone.now() - timedelta(hours=1), rejected=1)[-1]
    reject(run, "songs", {"id": 1}, "name", "is missing")

    with CaptureQueriesContext(connection) as queries:
        answer = staff.get(f"/runs/{run.pk}/")

    assert answer.status_code == 200
    assert 8 <= len(queries) <= 11

"""Anomaly checks in the admin, and the reset of an expected range by an operator."""

from datetime import timedelta

import pytest
from django.contrib import admin
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import translation

from ingestion.admin.monitoring import AnomalyCheckAdmin
from ingestion.models import AnomalyCheck, BaselineReset, Incident, TaskUsage
from ingestion.monitoring.run_metrics import METRICS
from ingestion.monitoring.run_review import follow_up_all
from tests.support.builders.finished_runs import FIRST_DAY, make_finished_run, make_report

pytestmark = pytest.mark.django_db


@pytest.fixture
def slow() -> AnomalyCheck:
    """The check of a run that took three times as long as earlier runs."""
    for day in range(20):
        make_report(make_finished_run(day, followed_up_at=FIRST_DAY), "songs", received=1000)
    run = make_finished_run(20, seconds=200)
    make_report(run, "songs", received=1000)
    follow_up_all(FIRST_DAY + timedelta(days=20, hours=1))
    TaskUsage.objects.create(
        task="a", task_id="1", started_at=FIRST_DAY, succeeded=True, seconds=2.0, cpu_seconds=1.0,
        peak_memory=100_000_000,
    )  # fmt: skip
    return run.anomaly_checks.get(measure="duration")


def client_with(*permissions: str) -> Client:
    user = User.objects.create_user("ada", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client = Client()
    client.force_login(user)
    return client


def reset_expected_range(client: Client, check: AnomalyCheck) -> None:
    url = reverse("admin:ingestion_anomalycheck_changelist")
    form = {"action": "reset_expected_range", "_selected_action": [check.pk], "reason": "It moved."}
    client.post(url, form)


@pytest.mark.parametrize("name", ["anomalycheck", "baselinereset", "taskusage"])
def test_every_list_opens_and_counts_no_table(slow: AnomalyCheck, name: str) -> None:
    client = client_with(f"view_{name}")

    with CaptureQueriesContext(
        connection,
    ) as queries:
        page = client.get(reverse(f"admin:ingestion_{name}_changelist"))

    assert page.status_code == 200
    assert len(queries) <= 10
    assert not [query["sql"] for query in queries if "COUNT(" in query["sql"]]


def test_the_list_shows_the_expected_range_and_the_verdict(slow: AnomalyCheck) -> None:
    page = (
        client_with("view_anomalycheck")
        .get(reverse("admin:ingestion_anomalycheck_changelist"))
        .content.decode()
    )

    assert "26 s to 2 min 18 s" in page
    assert "above the expected range" in page


def test_an_operator_resets_the_expected_range(slow: AnomalyCheck) -> None:
    reset_expected_range(client_with("view_anomalycheck", "handle_incident"), slow)

    reset = BaselineReset.objects.get()
    assert (reset.measure, reset.resource, reset.since) == ("duration", "", slow.run)
    assert (reset.by, reset.reason) == ("ada", "It moved.")
    assert Incident.objects.get().resolved_at is not None


def test_without_the_permission_to_handle_incidents_no_range_is_reset(slow: AnomalyCheck) -> None:
    reset_expected_range(client_with("view_anomalycheck"), slow)

    assert BaselineReset.objects.count() == 0
    assert Incident.objects.get().resolved_at is None


def test_the_metric_of_each_check_is_named_in_the_page_s_language() -> None:
    page = AnomalyCheckAdmin(AnomalyCheck, admin.site)
    checks = [AnomalyCheck(measure=measure) for measure in METRICS]
    english = [page.metric(check) for check in checks]

    with translation.override("fr"):
        french = [page.metric(check) for check in checks]

    same = {one for one, other in zip(english, french, strict=True) if one == other}
    assert len(checks) > 10
    assert same == set()
    assert page.metric(AnomalyCheck(measure="of an earlier release")) == "of an earlier release"

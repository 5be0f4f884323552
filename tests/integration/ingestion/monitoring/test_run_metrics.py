"""Run metrics as time series, for anomaly detection and the pages."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from ingestion.monitoring.run_metrics import METRICS, load_run_metrics, metric_points
from tests.support.builders.finished_runs import FIRST_DAY, make_finished_run

pytestmark = pytest.mark.django_db


def test_a_series_goes_from_old_to_new_and_ends_with_the_run_that_was_named() -> None:
    runs = [make_finished_run(day, reports={"songs": {"received": 100 + day}}) for day in range(5)]

    found = metric_points(load_run_metrics(until_run=runs[3].pk, n=3), "received", "songs")

    assert [point.value for point in found] == [101.0, 102.0, 103.0]
    assert [point.run for point in found] == [run.pk for run in runs[1:4]]
    assert found[0].at == FIRST_DAY + timedelta(days=1)


def test_a_series_leaves_out_what_failed_was_tried_or_imported() -> None:
    make_finished_run(0, seconds=1.0)
    make_finished_run(1, seconds=2.0, status="failed", error_kind="source", error="down")
    make_finished_run(2, seconds=3.0, dry_run=True)
    make_finished_run(3, seconds=4.0, trigger="legacy")
    make_finished_run(4, seconds=5.0, status="partial", error_kind="x", error="x")

    succeeded = load_run_metrics(statuses=["succeeded"])
    assert [point.value for point in metric_points(succeeded, "duration")] == [1.0]
    assert [point.value for point in metric_points(load_run_metrics(), "duration")] == [1.0, 5.0]


def test_shares_are_failed_attempts_over_requests_and_refused_over_received_rows() -> None:
    make_finished_run(
        received=300, rejected=30,
        reports={
            "songs": {"received": 200, "rejected": 10, "requests": 6, "errors": {"500": 2, "timeout": 1}},
            "users": {"received": 100, "rejected": 20, "requests": 4},
            "listening_history": {},
        },
    )  # fmt: skip

    values = load_run_metrics()[0].values

    assert values["error_share", "songs"] == 0.5
    assert values["error_share", ""] == 0.3
    assert values["rejected_share", "users"] == 0.2
    assert values["rejected_share", ""] == 0.1
    assert ("rejected_share", "listening_history") not in values


def test_a_runs_latency_is_that_of_its_slowest_resource() -> None:
    make_finished_run(reports={"songs": {"latency_p95": 90.0}, "users": {"latency_p95": 40.0}})

    [metrics] = load_run_metrics()

    assert metrics.values["latency_p95", ""] == 90.0
    assert ("latency_p50", "") not in metrics.values


def test_a_gap_is_the_time_since_the_last_run_that_took_rows_in() -> None:
    make_finished_run(0)
    make_finished_run(1, status="partial", error_kind="x", error="x")
    make_finished_run(2, status="failed", error_kind="x", error="x")
    make_finished_run(3)

    assert [one.gap_seconds for one in load_run_metrics()] == [None, 86_400.0, 172_800.0]


def test_many_runs_are_read_in_two_queries() -> None:
    for day in range(6):
        make_finished_run(day, reports={"songs": {"received": 5}, "users": {"received": 6}})

    with CaptureQueriesContext(
        connection,
    ) as queries:
        read = load_run_metrics(since=FIRST_DAY + timedelta(days=2))
        found = [metric_points(read, measure, "songs") for measure in METRICS]

    assert len(queries) == 2
    assert len(found[0]) == 4


def test_without_runs_there_is_nothing_to_show() -> None:
    assert load_run_metrics() == []

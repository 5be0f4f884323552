"""A first load's latency stays out of the metrics, and a run keeps its log lines."""

import pytest

from ingestion.models import RunLogLine
from ingestion.monitoring.run_metrics import load_run_metrics
from tests.integration.ingestion.conftest import Run
from tests.support.builders.source_rows import make_track
from tests.support.servers.list_source import ListSource

pytestmark = pytest.mark.django_db


def test_the_latency_of_the_first_load_is_no_metric_and_that_of_the_next_run_is(
    run: Run, source: ListSource
) -> None:
    first = run()
    source.tracks = [*source.tracks, make_track(99)]
    second = run()

    metrics = load_run_metrics()

    assert set(first.reports.values_list("is_backfill", flat=True)) == {True}
    assert set(second.reports.values_list("is_backfill", flat=True)) == {False}
    assert first.reports.get(resource="songs").latency_max is not None
    assert ("latency_p95", "songs") not in metrics[0].values
    assert ("latency_p95", "songs") in metrics[1].values


def test_a_run_keeps_its_log_lines_from_start_to_end(run: Run) -> None:
    first, second = run(), run()

    lines = list(RunLogLine.objects.filter(run=second).values_list("level", "text"))

    assert lines[0][1].startswith(f"run_started run={second.pk}")
    assert lines[-1] == ("INFO", f"run_finished run={second.pk} status=succeeded rows=50")
    assert not any(f"run={first.pk} " in text for _, text in lines)

"""A finished run is reviewed once: incidents open and resolve, whichever process does it."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ingestion.models import AnomalyCheck, Incident, IngestionRun
from ingestion.monitoring.run_review import follow_up_all, reset_baseline
from ingestion.services import ingest_now
from tests.support.builders.finished_runs import FIRST_DAY, make_finished_run, make_report
from tests.support.project import Project

pytestmark = pytest.mark.django_db
FAILED: dict[str, Any] = {"status": "failed", "error_kind": "source", "error": "The source is down."}


def open_keys() -> list[str]:
    return sorted(Incident.objects.filter(resolved_at=None).values_list("key", flat=True))


def after(run: IngestionRun) -> Any:
    """The time one second after the end of the run."""
    assert run.finished_at is not None
    return run.finished_at + timedelta(seconds=1)


def make_past(days: int = 20, seconds: float = 60.0) -> list[IngestionRun]:
    """Reviewed daily runs, each with a thousand songs and some noise."""
    runs = []
    for day in range(days):
        run = make_finished_run(day, seconds=seconds + day % 3, followed_up_at=FIRST_DAY)
        make_report(run, "songs", received=1000 + day % 5, new=3 + day % 2)
        runs.append(run)
    return runs


def test_a_failed_run_is_critical_until_a_run_has_taken_rows_in() -> None:
    failed = make_finished_run(0, **FAILED)
    follow_up_all(after(failed))
    incident = Incident.objects.get()

    well = make_finished_run(1)
    follow_up_all(after(well))

    assert (incident.key, incident.kind, incident.severity) == ("run", "run_failed", "critical")
    assert incident.facts["error"] == "The source is down."
    incident.refresh_from_db()
    assert incident.resolved_by_run == well
    assert incident.resolved_at == after(well)


def test_a_second_failure_of_another_kind_is_the_same_incident() -> None:
    for day, status in enumerate(["failed", "refused", "abandoned"]):
        run = make_finished_run(day, **FAILED | {"status": status})
        follow_up_all(after(run))

    incident = Incident.objects.get()

    assert (incident.kind, incident.count) == ("run_abandoned", 3)


def test_a_partial_run_ends_a_failure_and_is_a_warning_of_its_own() -> None:
    failed = make_finished_run(0, **FAILED)
    follow_up_all(after(failed))
    partial = make_finished_run(1, **FAILED | {"status": "partial"})

    follow_up_all(after(partial))

    assert open_keys() == ["run_partial"]
    assert Incident.objects.get(key="run_partial").severity == "warning"


def test_a_stopped_run_opens_no_incident_and_ends_none() -> None:
    stopped: dict[str, Any] = {"status": "stopped", "error_kind": "SIGTERM", "error": "Stopped by SIGTERM."}
    first = make_finished_run(0, **stopped)
    follow_up_all(after(first))
    before = open_keys()
    follow_up_all(after(make_finished_run(1, **FAILED)))

    follow_up_all(after(make_finished_run(2, **stopped)))

    assert before == []
    assert open_keys() == ["run"]


def test_runs_are_followed_up_in_order_so_that_an_old_failure_does_not_stay() -> None:
    make_finished_run(0, **FAILED | {"status": "abandoned"})
    well = make_finished_run(1)

    follow_up_all(after(well))

    assert open_keys() == []
    assert Incident.objects.get().kind == "run_abandoned"


def test_a_run_is_followed_up_once() -> None:
    failed = make_finished_run(0, **FAILED)

    follow_up_all(after(failed))
    follow_up_all(after(failed))

    assert follow_up_all(after(failed)) == 0
    assert Incident.objects.get().count == 1


def test_what_only_tried_imports_or_still_runs_opens_nothing() -> None:
    make_finished_run(0, **FAILED, dry_run=True)
    make_finished_run(1, **FAILED, trigger="legacy")
    make_finished_run(2, status="running", finished_at=None)

    followed = follow_up_all(FIRST_DAY + timedelta(days=2, minutes=5))

    assert followed == 2
    assert Incident.objects.count() == 0


def test_failures_of_long_ago_open_nothing() -> None:
    make_finished_run(0, **FAILED)

    follow_up_all(FIRST_DAY + timedelta(days=30))

    assert Incident.objects.count() == 0


def test_a_usual_run_is_checked_and_opens_nothing() -> None:
    make_past()
    run = make_finished_run(20)
    make_report(run, "songs", received=1003, new=4)

    follow_up_all(after(run))

    check = run.anomaly_checks.get(measure="received", resource="songs")
    assert check.verdict == "usual"
    # 4.5 x (1 + 2/20) x 3 % of the median.
    assert [check.low, check.high] == pytest.approx([1002 - 148.8, 1002 + 148.8], abs=3)
    assert open_keys() == []


def test_half_the_songs_and_three_times_the_time_are_found_at_once_and_end_with_the_next_usual_run() -> None:
    make_past()
    bad = make_finished_run(20, seconds=183)
    make_report(bad, "songs", received=502, missing=501, new=3)
    follow_up_all(after(bad))
    found = open_keys()
    facts = Incident.objects.get(key="unusual:duration").facts

    well = make_finished_run(21)
    make_report(well, "songs", received=1003, new=3)
    follow_up_all(after(well))

    assert found == ["unusual:duration", "unusual:missing:songs", "unusual:received:songs"]
    assert (facts["measure"], facts["verdict"], facts["value"], facts["n"]) == ("duration", "high", 183.0, 20)
    assert open_keys() == []
    assert Incident.objects.get(key="unusual:duration").resolved_by_run == well


def test_the_first_week_only_learns() -> None:
    make_past(7)
    run = make_finished_run(7, seconds=600)
    make_report(run, "songs", received=750, missing=250, rejected=30)

    follow_up_all(after(run))

    assert set(run.anomaly_checks.values_list("verdict", flat=True)) == {"learning"}
    assert open_keys() == []


def test_more_than_a_quarter_of_the_songs_gone_is_certain_from_the_second_run_on() -> None:
    make_past(1)
    halved = make_finished_run(1)
    make_report(halved, "songs", received=500, missing=500)
    follow_up_all(after(halved))
    found = open_keys()
    whole = make_finished_run(2)
    make_report(whole, "songs", received=1000, missing=0)

    follow_up_all(after(whole))

    assert found == ["unusual:missing:songs"]
    facts = Incident.objects.get().facts
    assert (facts["value"], facts["low"], facts["high"], facts["n"]) == (500.0, 0.0, 250.0, 1)
    assert Incident.objects.get().resolved_by_run == whole


def test_what_a_person_calls_the_new_normal_is_learnt_anew() -> None:
    make_past()
    slow = make_finished_run(20, seconds=300)
    make_report(slow, "songs", received=1003)
    follow_up_all(after(slow))
    opened = open_keys()

    reset_baseline("duration", "", slow, "ada", "The source moved overseas.", after(slow))
    next_slow = make_finished_run(21, seconds=300)
    make_report(next_slow, "songs", received=1003)
    follow_up_all(after(next_slow))

    assert opened == ["unusual:duration"]
    assert open_keys() == []
    assert Incident.objects.get().resolution["new_normal_by"] == "ada"
    assert next_slow.anomaly_checks.get(measure="duration").verdict == "learning"
    assert next_slow.anomaly_checks.get(measure="received", resource="songs").verdict == "usual"


def test_a_catalogue_that_a_person_accepted_ends_all_that_was_unusual() -> None:
    make_past()
    bad = make_finished_run(20)
    make_report(bad, "songs", received=500, missing=500)
    follow_up_all(after(bad))

    accepted = make_finished_run(21, accept_reset=True)
    make_report(accepted, "songs", received=70, new=70)
    follow_up_all(after(accepted))

    assert open_keys() == []
    assert not AnomalyCheck.objects.filter(run=accepted).exists()


def test_a_run_soon_after_another_is_not_told_that_news_is_missing() -> None:
    for day in range(20):
        run = make_finished_run(day, followed_up_at=FIRST_DAY)
        make_report(run, "listening_history", received=1000 + 100 * day, new=100 + day % 7)
    again = make_finished_run(19.1)
    make_report(again, "listening_history", received=2900, new=0)
    follow_up_all(after(again))
    silent = make_finished_run(20)
    make_report(silent, "listening_history", received=2900, new=0)

    follow_up_all(after(silent))

    assert not again.anomaly_checks.filter(measure="new").exists()
    assert open_keys() == ["unusual:new:listening_history"]


@pytest.fixture
def of_settings(serve: Any, settings: Any, tmp_path: Path) -> Any:
    """Import as all entry points do, with the settings and with alerts by e-mail."""
    settings.SOURCE_ATTEMPTS = 1
    settings.STAGING_DIR = tmp_path
    settings.ALERT_EMAILS = ["ops@example.org"]

    def once(faults: str = "") -> IngestionRun:
        settings.BASE_URL = serve(faults)
        return ingest_now()

    return once


def test_whoever_starts_a_run_has_it_followed_up_and_told(of_settings: Any, mailoutbox: Any) -> None:
    failed = of_settings("500:1")
    told = [mail.subject for mail in mailoutbox]

    well = of_settings()

    assert (failed.status, well.status) == ("failed", "succeeded")
    assert len(told) == 1
    assert len(mailoutbox) == 2
    assert Incident.objects.get().resolved_by_run == well


def test_a_run_that_breaks_is_followed_up_too(of_settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def break_down(*_: Any, **__: Any) -> None:
        raise RuntimeError

    monkeypatch.setattr("ingestion.pipeline.ingest.check_quality", break_down)

    with pytest.raises(RuntimeError):
        of_settings()

    assert Incident.objects.get().kind == "run_failed"


def test_what_goes_wrong_afterwards_harms_no_run(
    of_settings: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def break_down(*_: Any, **__: Any) -> None:
        raise ValueError("no such thing")

    monkeypatch.setattr("ingestion.services.follow_up_all", break_down)

    run = of_settings()

    assert run.status == "succeeded"
    assert "run_review_failed" in caplog.text


ON_A_DATABASE = """
import json
from datetime import timedelta
from pathlib import Path
from ingestion.services import ingest_now
from ingestion.monitoring.run_review import follow_up_all
from ingestion.models import Incident
from tests.support.builders.finished_runs import FIRST_DAY, make_finished_run, make_report
for day in range(20):
    make_report(make_finished_run(day, seconds=60 + day % 3), "songs", received=1000, new=3)
make_report(make_finished_run(20, seconds=200), "songs", received=400, missing=600)
make_finished_run(21, status="failed", error_kind="source", error="down")
followed = follow_up_all(FIRST_DAY + timedelta(days=21, hours=1))
print(json.dumps([followed, sorted(Incident.objects.values_list("key", flat=True))]))
"""


@pytest.mark.slow
def test_both_databases_follow_up_alike(project: Project) -> None:
    followed, keys = json.loads(project.shell(ON_A_DATABASE))

    assert followed == 22
    assert keys == ["run", "unusual:duration", "unusual:missing:songs", "unusual:received:songs"]

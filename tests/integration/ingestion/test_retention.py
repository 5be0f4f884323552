"""Old rows are deleted, but never open incidents and rejections, nor the newest successful run."""

from datetime import timedelta
from typing import Any

import pytest
from django_celery_results.models import TaskResult

from ingestion import retention
from ingestion.models import Incident, IngestionRun, Notification, Rejection, ResourceReport, TaskUsage
from tests.support.builders.finished_runs import FIRST_DAY, make_finished_run

pytestmark = pytest.mark.django_db
DAY = timedelta(days=1)
NOW = FIRST_DAY + 800 * DAY
RUNS, SETTLED = 730 * DAY, 90 * DAY


def forget() -> dict[str, int]:
    return retention.delete_expired(NOW, runs=RUNS, settled=SETTLED)


def reject(run: IngestionRun, fingerprint: str, **fields: Any) -> Rejection:
    return Rejection.objects.create(
        run=run, last_run=fields.pop("last_run", run), resource="songs", payload="{}",
        fingerprint=fingerprint, reason="no name", **fields,
    )  # fmt: skip


def incident(key: str, **fields: Any) -> Incident:
    return Incident.objects.create(
        key=key, kind="run_failed", severity="critical", opened_at=FIRST_DAY, seen_at=FIRST_DAY, **fields
    )


def message(of: Incident | None, event: str, state: str = "sent", **fields: Any) -> Notification:
    at = fields.pop("created_at", FIRST_DAY)
    sent = at if state == "sent" else None
    return Notification.objects.create(
        incident=of, event=event, channel="email", subject="s", content={}, state=state, created_at=at,
        due_at=at, sent_at=sent, **fields,
    )  # fmt: skip


def test_runs_older_than_two_years_go_with_their_reports() -> None:
    old = make_finished_run(0, reports={"songs": {"received": 3}})
    young = make_finished_run(71, reports={"songs": {"received": 4}})
    newest = make_finished_run(72, dry_run=True)

    gone = forget()

    assert list(IngestionRun.objects.all()) == [newest, young]
    assert ResourceReport.objects.get().run == young
    assert gone["runs"] == 1
    assert old.pk not in {young.pk, newest.pk}


def test_the_newest_success_stays_however_old_it_is() -> None:
    make_finished_run(0)
    newest = make_finished_run(1)
    make_finished_run(2, status="failed", error_kind="source", error="down")

    forget()

    assert list(IngestionRun.objects.all()) == [newest]


def test_a_run_at_work_stays() -> None:
    at_work = make_finished_run(0, status="running", finished_at=None)

    forget()

    assert IngestionRun.objects.get() == at_work


def test_what_is_open_keeps_its_run() -> None:
    first, last, troubled = make_finished_run(0), make_finished_run(1), make_finished_run(2)
    make_finished_run(790)
    reject(first, "a", last_run=last)
    incident("run", run=troubled)

    gone = forget()

    assert IngestionRun.objects.filter(pk__in=[first.pk, last.pk, troubled.pk]).count() == 3
    assert (gone["runs"], Rejection.objects.count(), Incident.objects.count()) == (0, 1, 1)


def test_refused_rows_go_ninety_days_after_they_were_settled() -> None:
    run = make_finished_run(790)
    reject(run, "long ago", resolved_at=NOW - 91 * DAY)
    reject(run, "lately", resolved_at=NOW - 89 * DAY)
    reject(run, "open")

    forget()

    left = Rejection.objects.order_by("fingerprint").values_list("fingerprint", flat=True)
    assert list(left) == ["lately", "open"]


def test_incidents_that_freeze_refreshes_are_kept() -> None:
    incident("yardstick_fell", resolved_at=NOW - 400 * DAY)
    Incident.objects.update(kind="yardstick_fell")

    assert forget()["incidents"] == 0


def test_incidents_go_with_their_messages_when_they_have_long_been_over() -> None:
    over = incident("a", resolved_at=NOW - 91 * DAY)
    message(over, "opened")
    message(over, "resolved")
    lately = incident("b", resolved_at=NOW - 89 * DAY)
    message(lately, "opened")
    waiting = incident("c", resolved_at=NOW - 91 * DAY)
    message(waiting, "resolved", "waiting")

    gone = forget()

    assert sorted(Incident.objects.values_list("key", flat=True)) == ["b", "c"]
    assert Notification.objects.count() == 2
    assert gone["incidents"] == 1


def test_of_an_open_incident_only_old_reminders_go() -> None:
    still_there = incident("a")
    message(still_there, "opened")
    message(still_there, "reminder")
    message(still_there, "reminder", created_at=NOW - DAY)
    message(None, "test")
    message(None, "test", "failed")
    message(None, "test", "waiting")

    gone = forget()

    left = Notification.objects.order_by("event", "state").values_list("event", "state")
    assert list(left) == [("opened", "sent"), ("reminder", "sent"), ("test", "waiting")]
    assert gone["notifications"] == 3


def test_costs_of_tasks_are_kept_as_runs_are_and_their_results_as_what_is_settled() -> None:
    for days in (1, 91, 731):
        TaskUsage.objects.create(
            task="t", task_id=str(days), started_at=NOW - days * DAY, succeeded=True, seconds=2,
            cpu_seconds=1, peak_memory=1,
        )  # fmt: skip
        result = TaskResult.objects.create(task_id=str(days), status="SUCCESS")
        TaskResult.objects.filter(pk=result.pk).update(date_done=NOW - days * DAY)

    forget()

    assert list(TaskUsage.objects.order_by("pk").values_list("task_id", flat=True)) == ["1", "91"]
    assert [result.task_id for result in TaskResult.objects.all()] == ["1"]


def test_more_than_a_batch_goes_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "BATCH", 2)
    for day in range(5):
        make_finished_run(day)

    gone = forget()

    assert gone["runs"] == 4
    assert forget() == dict.fromkeys(gone, 0)

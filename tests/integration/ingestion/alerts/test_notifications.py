"""Notifications: one if an incident opens, reminders while it lasts, and one when it is resolved."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection

from ingestion.alerts import incidents, notifications
from ingestion.alerts.incidents import Condition
from ingestion.models import Incident, Notification

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 11, 23, 2, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)


def report(key: str = "run", severity: str = "critical", at: datetime = NOW, **facts: Any) -> Incident:
    return incidents.open_or_update(Condition(key, "run_failed", severity, facts), at)


def tell(at: datetime = NOW, channels: tuple[str, ...] = ("email", "slack")) -> int:
    return notifications.create_notifications(
        at, channels, remind_after=4 * HOUR, site_url="https://mm.example", language="en"
    )


def made() -> list[tuple[str, str]]:
    return list(Notification.objects.order_by("id").values_list("event", "channel"))


def all_sent() -> None:
    Notification.objects.update(state="sent", sent_at=NOW)


def test_a_new_incident_is_told_once_by_every_channel() -> None:
    incident = report(error="The source did not answer")

    assert tell() == 2
    assert tell(NOW + HOUR) == 0

    assert made() == [("opened", "email"), ("opened", "slack")]
    message = Notification.objects.filter(channel="email").get()
    assert message.subject == "[MoovitaMix] Critical: The ingestion run failed"
    assert message.content["link"] == f"https://mm.example/admin/ingestion/incident/{incident.pk}/change/"
    assert message.content["numbers"] == [["Error", "The source did not answer"]]


def test_the_link_of_a_condition_is_the_message_s_link() -> None:
    incidents.open_or_update(Condition("run", "run_failed", "critical", link="/runs/7/"), NOW)

    tell(channels=("email",))

    assert Notification.objects.get().content["link"] == "https://mm.example/runs/7/"


def test_a_notice_is_listed_last_and_nobody_is_notified_of_it() -> None:
    report("drift", severity="notice")
    report("run", severity="warning", at=NOW + HOUR)
    report("disk", severity="critical", at=NOW + HOUR)

    created = tell(NOW + 48 * HOUR, channels=("email",))

    assert [one.severity for one in incidents.open_incidents()] == ["critical", "warning", "notice"]
    assert created == 2
    assert not Notification.objects.filter(incident__key="drift").exists()


def test_an_open_warning_that_is_a_notice_by_now_reminds_nobody_and_is_announced_as_over() -> None:
    report(severity="warning")
    tell(channels=("email",))
    all_sent()

    report(severity="notice", at=NOW + HOUR)
    reminders = tell(NOW + 48 * HOUR, channels=("email",))
    incidents.resolve("run", NOW + 49 * HOUR)
    ends = tell(NOW + 49 * HOUR, channels=("email",))

    assert (reminders, ends) == (0, 1)


@pytest.mark.parametrize(("severity", "hours"), [("critical", 4), ("warning", 24)])
def test_what_lasts_is_reminded_of_as_often_as_it_is_bad(severity: str, hours: int) -> None:
    report(severity=severity)
    tell(channels=("email",))
    all_sent()

    assert tell(NOW + hours * HOUR - HOUR, ("email",)) == 0
    assert tell(NOW + hours * HOUR, ("email",)) == 1
    all_sent()
    assert tell(NOW + 2 * hours * HOUR, ("email",)) == 1

    assert made() == [("opened", "email"), ("reminder", "email"), ("reminder", "email")]


def test_nobody_is_reminded_of_what_somebody_knows() -> None:
    incident = report()
    tell(channels=("email",))
    all_sent()
    incidents.acknowledge(incident, "ada", NOW)

    assert tell(NOW + 100 * HOUR) == 0


def test_a_mute_is_silent_until_its_hour_and_no_longer() -> None:
    incident = report()
    incidents.mute(incident, NOW + HOUR, NOW)

    assert tell(NOW, ("email",)) == 0
    assert tell(NOW + HOUR, ("email",)) == 1


def test_the_end_is_told_once_to_those_who_heard_of_the_beginning() -> None:
    report()
    tell(channels=("email",))
    incidents.resolve("run", NOW + 3 * HOUR)

    assert tell(NOW + 3 * HOUR, ("email", "slack")) == 1
    assert tell(NOW + 4 * HOUR, ("email", "slack")) == 0

    assert made() == [("opened", "email"), ("resolved", "email")]
    over = Notification.objects.get(event="resolved")
    assert over.subject == "[MoovitaMix] Resolved: The ingestion run failed"
    assert over.content["sections"][0] == [
        "Since when",
        "It lasted 3 h: from 2026-11-23 02:00 UTC to 2026-11-23 05:00 UTC.",
    ]


def test_what_came_and_went_before_anybody_was_told_is_not_told() -> None:
    report()
    incidents.resolve("run", NOW)

    assert tell() == 0


def test_a_warning_that_becomes_critical_is_told_again_at_once() -> None:
    report(severity="warning")
    tell(channels=("email",))

    report(severity="critical")

    assert tell(NOW + HOUR / 60, ("email",)) == 1
    assert made() == [("opened", "email"), ("reminder", "email")]
    assert Notification.objects.get(event="reminder").subject.startswith("[MoovitaMix] Still critical:")


def test_reminders_do_not_pile_up_in_front_of_a_dead_channel() -> None:
    report()
    tell()
    Notification.objects.filter(channel="email").update(state="sent", sent_at=NOW)

    for hours in (4, 8, 12):
        tell(NOW + hours * HOUR)
        Notification.objects.filter(channel="email").update(state="sent", sent_at=NOW)

    assert made().count(("reminder", "email")) == 3
    assert [event for event, channel in made() if channel == "slack"] == ["opened"]


def test_a_dead_channel_is_told_of_by_the_others() -> None:
    report("delivery_failing:slack")
    report("delivery_failing:email")

    tell(channels=("email", "slack"))

    told = Notification.objects.values_list("incident__key", "channel")
    assert set(told) == {("delivery_failing:slack", "email"), ("delivery_failing:email", "slack")}


def test_the_only_channel_is_not_asked_to_say_that_it_is_dead() -> None:
    report("delivery_failing:slack")

    assert tell(channels=("slack",)) == 0
    assert tell(channels=("slack", "email")) == 1


def test_without_channels_nothing_counts_as_told() -> None:
    report()

    assert tell(channels=()) == 0
    assert tell(channels=("email",)) == 1


def test_what_is_over_and_comes_back_is_told_as_new() -> None:
    report()
    tell(channels=("email",))
    incidents.resolve("run", NOW)
    tell(channels=("email",))

    report(at=NOW + HOUR)

    assert tell(NOW + HOUR, ("email",)) == 1
    assert made() == [("opened", "email"), ("resolved", "email"), ("opened", "email")]


@pytest.mark.django_db(transaction=True)
def test_four_tellers_at_once_make_each_message_once() -> None:
    for number in range(10):
        report(f"disk:{number}")
    report("over")
    Notification.objects.create(
        incident=Incident.objects.get(key="over"), event="opened", channel="email", subject="s", content={},
        created_at=NOW, due_at=NOW,
    )  # fmt: skip
    incidents.resolve("over", NOW)
    together = threading.Barrier(4)

    def one(_: int) -> int:
        together.wait()
        try:
            return tell()
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        counts = list(pool.map(one, range(4)))

    assert sum(counts) == 21
    assert Notification.objects.filter(event="opened", incident__key__startswith="disk").count() == 20
    assert Notification.objects.filter(event="resolved").count() == 1

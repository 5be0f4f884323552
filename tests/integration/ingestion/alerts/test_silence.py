"""Maintenance windows and channels that are off keep alerts silent, and nothing is lost by it."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import IntegrityError, OperationalError
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from ingestion import services
from ingestion.alerts import incidents
from ingestion.alerts.incidents import Condition
from ingestion.alerts.silence import Silence, read_silence
from ingestion.models import AlertChannel, AuditEntry, Incident, MaintenanceWindow, Notification
from tests.support.builders.roles import find_role
from tests.support.servers.alert_receivers import WebhookServer

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 11, 23, 2, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
WINDOWS, CHANNELS = "admin:ingestion_maintenancewindow", "admin:ingestion_alertchannel"


@pytest.fixture(autouse=True)
def channels(settings: Any, tmp_path: Path) -> None:
    """E-mail, which Django collects."""
    settings.ALERT_EMAILS = ["ada@example.org"]
    settings.VAR_DIR = str(tmp_path)


def add_window(start: datetime = NOW, end: datetime = NOW + HOUR) -> MaintenanceWindow:
    return MaintenanceWindow.objects.create(starts_at=start, ends_at=end, reason="upgrade", created_by="ada")


def report(key: str = "run", at: datetime = NOW) -> Incident:
    return incidents.open_or_update(Condition(key, "run_failed", "critical", {}), at)


def events() -> list[str]:
    return list(Notification.objects.filter(state="sent").order_by("id").values_list("event", flat=True))


def client_of(role: str) -> Client:
    user = User.objects.create_user(role, is_staff=True)
    user.groups.add(find_role(role))
    client = Client()
    client.force_login(user)
    return client


def test_what_is_still_open_at_the_end_of_a_window_is_told_then_and_the_rest_never(mailoutbox: Any) -> None:
    add_window()
    report("run")
    report("disk")
    Notification.objects.create(channel="email", subject="s", content={}, created_at=NOW, due_at=NOW)
    waiting = services.send_alerts(NOW + HOUR / 2).waiting
    Notification.objects.all().delete()
    incidents.resolve("disk", NOW + HOUR / 2)
    in_window = len(mailoutbox)

    services.send_alerts(NOW + HOUR)

    assert (waiting, in_window, len(mailoutbox)) == (1, 0, 1)
    assert "ingestion run failed" in mailoutbox[0].subject
    assert Incident.objects.count() == 2


def test_what_was_told_before_a_window_and_ended_in_it_is_told_as_over_after_it(mailoutbox: Any) -> None:
    report()
    services.send_alerts(NOW)
    add_window(NOW + HOUR, NOW + 10 * HOUR)
    services.send_alerts(NOW + 9 * HOUR)  # a reminder is due
    incidents.resolve("run", NOW + 9 * HOUR)
    services.send_alerts(NOW + 9 * HOUR)
    in_window = events()

    services.send_alerts(NOW + 10 * HOUR)

    assert (in_window, events()) == (["opened"], ["opened", "resolved"])


def test_a_channel_that_is_off_sends_nothing_until_it_is_on(mailoutbox: Any) -> None:
    services.send_alerts(NOW)
    AlertChannel.objects.filter(name="email").update(active=False)
    report()
    services.send_alerts(NOW)
    while_off = len(mailoutbox)
    AlertChannel.objects.update(active=True)

    services.send_alerts(NOW + HOUR)

    assert (while_off, events()) == (0, ["opened"])


def switch(name: str, *, active: bool) -> None:
    AlertChannel.objects.filter(name=name).update(active=active)


def sent() -> list[tuple[str, str]]:
    rows = Notification.objects.filter(state="sent").order_by("id")
    return list(rows.values_list("channel", "event"))


def test_switching_off_a_failing_channel_ends_its_incident_without_a_message(
    settings: Any, mailoutbox: Any
) -> None:
    with WebhookServer() as slack:
        slack.status = 500
        settings.SLACK_WEBHOOK_URL = slack.url
        report()
        for minutes in (0, 2, 5, 6):
            services.send_alerts(NOW + timedelta(minutes=minutes))
        switch("slack", active=False)
        services.send_alerts(NOW + HOUR)
        services.send_alerts(NOW + HOUR)

    failing = Incident.objects.get(key="delivery_failing:slack")
    assert (failing.resolved_at is None, events()) == (False, ["opened", "opened"])


def test_what_waits_for_a_channel_that_is_off_is_sent_when_it_is_on_with_its_end(
    settings: Any, mailoutbox: Any
) -> None:
    with WebhookServer() as slack:
        slack.status = 500
        settings.SLACK_WEBHOOK_URL = slack.url
        report()
        services.send_alerts(NOW)
        switch("slack", active=False)
        incidents.resolve("run", NOW + HOUR)
        services.send_alerts(NOW + 30 * HOUR)
        while_off = sent()
        slack.status = 200
        switch("slack", active=True)
        services.send_alerts(NOW + 31 * HOUR)
        services.send_alerts(NOW + 31 * HOUR)

    assert while_off == [("email", "opened"), ("email", "resolved")]
    assert sorted(sent()) == sorted([*while_off, ("slack", "opened"), ("slack", "resolved")])


def test_a_switch_follows_its_receiver_and_no_secret_is_stored(settings: Any, mailoutbox: Any) -> None:
    first, second, third = (f"json://127.0.0.1:9/{word}-secret" for word in ("first", "second", "third"))

    def switches(*urls: str) -> dict[str, bool]:
        settings.ALERT_URLS = urls
        services.send_alerts(NOW)
        rows = AlertChannel.objects.exclude(name="email")
        return dict(rows.values_list("name", "active"))

    switches(first, second)
    switch("other-1", active=False)
    AlertChannel.objects.update(receiver="")  # rows of the release before
    assert switches(first, second) == {"other-1": False, "other-2": True}
    assert switches(second, first) == {"other-1": True, "other-2": False}
    assert switches(first) == {"other-1": False}
    assert switches(third) == {"other-1": True}
    assert not any("secret" in row.receiver for row in AlertChannel.objects.all())


def test_a_removed_channel_is_neither_listed_nor_named_on_the_front_page(settings: Any) -> None:
    services.send_alerts(NOW)
    switch("email", active=False)
    settings.ALERT_EMAILS = []
    operator = client_of("operator")

    front = operator.get("/").content.decode()
    listed = operator.get(reverse(f"{CHANNELS}_changelist")).content.decode()

    assert "Alert channels that are off" not in front
    assert 'name="_selected_action"' not in listed


def test_an_incident_page_names_the_window_as_a_reason_for_silence() -> None:
    add_window()
    incident = report()
    services.send_alerts(NOW)

    page = client_of("viewer").get(reverse("admin:ingestion_incident_change", args=[incident.pk]))

    assert "all are off, a maintenance window was running" in " ".join(page.content.decode().split())


def test_an_unavailable_database_is_silent_in_a_window_too_and_recorded(mailoutbox: Any) -> None:
    add_window(NOW, NOW + HOUR)
    with services.alert_on_database_outage(NOW):
        pass
    error = OperationalError("refused")
    for minutes in (1, 5, 59):
        services.report_database_outage(NOW + timedelta(minutes=minutes), error)
    in_window = len(mailoutbox)
    services.report_database_outage(NOW + HOUR, error)

    with services.alert_on_database_outage(NOW + 2 * HOUR):
        pass

    assert (in_window, len(mailoutbox)) == (0, 1)
    assert Incident.objects.get().key == "database_away"


def test_windows_that_follow_each_other_are_one_silence() -> None:
    silence = Silence((), ((NOW + HOUR, NOW + 2 * HOUR), (NOW, NOW + HOUR), (NOW + 3 * HOUR, NOW + 4 * HOUR)))

    assert silence.ends_at(NOW) == NOW + 2 * HOUR
    assert silence.ends_at(NOW + 2 * HOUR) is None
    assert silence.ends_at(NOW - HOUR) is None


@pytest.mark.parametrize("written", ["", "[]", '{"off": 3, "windows": []}', '{"windows": [["soon"]]}'])
def test_a_damaged_file_silences_nothing(tmp_path: Path, written: str) -> None:
    file = tmp_path / "silence.json"
    file.write_text(written)

    assert Silence.load(file) == Silence()


def test_the_file_has_windows_and_channels_again(tmp_path: Path) -> None:
    silence = Silence((("email", ""),), ((NOW, NOW + HOUR),))
    silence.save(tmp_path / "silence.json")

    assert Silence.load(tmp_path / "silence.json") == silence
    assert [file.name for file in tmp_path.iterdir()] == ["silence.json"]


def test_the_database_takes_no_window_without_an_end_after_its_start() -> None:
    with pytest.raises(IntegrityError):
        add_window(NOW, NOW)


def form(start: datetime, end: datetime) -> dict[str, str]:
    return {
        "starts_at_0": f"{start:%Y-%m-%d}", "starts_at_1": f"{start:%H:%M:%S}",
        "ends_at_0": f"{end:%Y-%m-%d}", "ends_at_1": f"{end:%H:%M:%S}", "reason": "upgrade",
    }  # fmt: skip


def test_an_operator_adds_a_window_and_ends_it_and_the_audit_trail_has_both() -> None:
    now = timezone.now().replace(microsecond=0)
    operator = client_of("operator")

    added = operator.post(reverse(f"{WINDOWS}_add"), form(now - HOUR, now + HOUR))
    page = operator.get("/").content.decode()
    window = MaintenanceWindow.objects.get()
    operator.post(reverse(f"{WINDOWS}_changelist"), {"action": "end_now", "_selected_action": [window.pk]})
    window.refresh_from_db()

    assert added.status_code == 302
    assert f"Maintenance: no alerts until {now + HOUR:%H:%M}" in page
    assert (window.created_by, window.ends_at < now + HOUR) == ("operator", True)
    assert [entry.target.split(":")[0].split(" from")[0] for entry in AuditEntry.objects.order_by("id")] == [
        f"maintenance window {window.pk}", f"maintenance window {window.pk} ended"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("start", "end", "reason"),
    [
        (-HOUR, -HOUR / 2, "in the future"),
        (2 * HOUR, HOUR, "after the start"),
        (HOUR, timedelta(days=8), "at most 7 days"),
    ],
)
def test_a_window_ends_after_now_and_within_a_week(start: timedelta, end: timedelta, reason: str) -> None:
    now = timezone.now()

    page = client_of("operator").post(reverse(f"{WINDOWS}_add"), form(now + start, now + end))

    assert reason in page.content.decode()
    assert not MaintenanceWindow.objects.exists()


def test_a_window_that_has_begun_is_history() -> None:
    now = timezone.now()
    running = add_window(now - HOUR, now + HOUR)
    over = add_window(now - 2 * HOUR, now - HOUR)
    owner = client_of("owner")

    deleted = owner.post(reverse(f"{WINDOWS}_delete", args=[running.pk]), {"post": "yes"})
    changed = owner.post(reverse(f"{WINDOWS}_change", args=[over.pk]), form(now, now + HOUR))
    extended = owner.post(reverse(f"{WINDOWS}_change", args=[running.pk]), form(now, now + 2 * HOUR))
    running.refresh_from_db()

    assert (deleted.status_code, changed.status_code, extended.status_code) == (403, 403, 302)
    assert (running.starts_at, running.ends_at > now + HOUR) == (now - HOUR, True)


def test_an_operator_switches_a_channel_and_a_viewer_cannot() -> None:
    services.send_alerts(NOW)
    channel = AlertChannel.objects.get(name="email")
    action = {"action": "switch_off", "_selected_action": [channel.pk]}

    client_of("viewer").post(reverse(f"{CHANNELS}_changelist"), action)
    channel.refresh_from_db()
    of_viewer = channel.active
    operator = client_of("operator")
    operator.post(reverse(f"{CHANNELS}_changelist"), action)
    channel.refresh_from_db()

    assert (of_viewer, channel.active) == (True, False)
    assert AuditEntry.objects.get().target == "channel email switched off"
    assert "Alert channels that are off: email" in operator.get("/").content.decode()
    assert read_silence(NOW).off == (("email", ""),)

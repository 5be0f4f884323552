"""Incidents and notifications in the admin: lists, pages, acknowledging and muting."""

from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from ingestion.alerts import incidents
from ingestion.alerts.incidents import Condition
from ingestion.alerts.notifications import create_notifications
from ingestion.models import Incident, Notification

pytestmark = pytest.mark.django_db
LIST = "admin:ingestion_incident_changelist"
PAGE = "admin:ingestion_incident_change"
VIEW = ["view_incident", "view_notification"]


def logged_in(*permissions: str) -> Client:
    user = User.objects.create_user("ada", password="pw", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client = Client()
    client.force_login(user)
    return client


def make_incident(key: str = "data_stale:songs", kind: str = "data_stale") -> Incident:
    now = timezone.now()
    incident = incidents.open_or_update(
        Condition(key, kind, "critical", {"age_hours": 31.2, "limit_hours": 26}), now - timedelta(hours=2)
    )
    create_notifications(
        now, ["email", "slack"], remind_after=timedelta(hours=4), site_url="http://x", language="en"
    )
    return incident


def test_the_list_shows_open_incidents_first_as_text() -> None:
    client = logged_in(*VIEW)
    make_incident("run", "run_failed")
    incidents.resolve("run", timezone.now())
    make_incident()

    page = client.get(reverse(LIST)).content.decode()

    assert page.index("Stale data: songs, 31 h 12 min old") < page.index("The ingestion run failed")
    assert 'value="acknowledge"' not in page


def test_an_incidents_page_says_what_to_do_and_lists_its_notifications() -> None:
    client = logged_in(*VIEW)
    incident = make_incident()

    page = client.get(reverse(PAGE, args=[incident.pk])).content.decode()

    assert "Check the latest runs: did they fail, or not start?" in page
    assert "31 h 12 min" in page
    assert page.count("admin/ingestion/notification/") >= 2
    assert 'value="acknowledge"' not in page


def test_an_operator_acknowledges_an_incident_on_its_page() -> None:
    client = logged_in(*VIEW, "handle_incident")
    incident = make_incident()
    page = client.get(reverse(PAGE, args=[incident.pk])).content.decode()

    answer = client.post(
        reverse(LIST), {"action": "acknowledge", "_selected_action": incident.pk}, follow=True
    )

    incident.refresh_from_db()
    assert 'value="acknowledge"' in page
    assert "Mute for 8 hours" in page
    assert incident.acknowledged_by == "ada"
    assert "1 incident acknowledged." in answer.content.decode()


@pytest.mark.parametrize(
    ("action", "length"),
    [("mute_for_an_hour", timedelta(hours=1)), ("mute_for_eight_hours", timedelta(hours=8)),
     ("mute_for_a_day", timedelta(days=1)), ("mute_for_a_week", timedelta(days=7))],
)  # fmt: skip
def test_an_incident_is_muted_for_as_long_as_the_button_says(action: str, length: timedelta) -> None:
    client = logged_in(*VIEW, "handle_incident")
    incident = make_incident()
    before = timezone.now()

    client.post(reverse(LIST), {"action": action, "_selected_action": incident.pk})

    incident.refresh_from_db()
    assert incident.muted_until is not None
    assert length <= incident.muted_until - before < length + timedelta(minutes=1)


def test_without_the_permission_to_handle_incidents_nothing_changes() -> None:
    client = logged_in(*VIEW)
    incident = make_incident()

    client.post(reverse(LIST), {"action": "acknowledge", "_selected_action": incident.pk})
    changed = client.post(reverse(PAGE, args=[incident.pk]), {"severity": "warning"})
    deleted = client.post(reverse("admin:ingestion_incident_delete", args=[incident.pk]), {"post": "yes"})

    incident.refresh_from_db()
    assert (incident.acknowledged_at, incident.severity) == (None, "critical")
    assert (changed.status_code, deleted.status_code) == (403, 403)


def test_a_resolved_incident_cannot_be_acknowledged() -> None:
    client = logged_in(*VIEW, "handle_incident")
    incident = make_incident()
    incidents.resolve(incident.key, timezone.now())

    answer = client.post(
        reverse(LIST), {"action": "acknowledge", "_selected_action": incident.pk}, follow=True
    )

    assert "1 incident was already resolved or acknowledged." in answer.content.decode()
    page = client.get(reverse(PAGE, args=[incident.pk])).content.decode()
    assert "This incident is resolved: Stale data: songs, 31 h 12 min old." in page
    assert 'value="acknowledge"' not in page


@pytest.mark.parametrize(
    ("action", "said", "logged"),
    [("acknowledge", ["1 incident pris en charge.", "2 incidents pris en charge."], "Acknowledged"),
     ("mute_for_a_day", ["1 incident mis en sourdine", "2 incidents mis en sourdine"], "Muted until 20")],
)  # fmt: skip
def test_an_action_is_reported_in_the_reader_s_language_and_logged_in_english(
    action: str, said: list[str], logged: str
) -> None:
    client = logged_in(*VIEW, "handle_incident")
    one, *more = [make_incident(f"data_stale:{name}") for name in ("songs", "users", "listening_history")]

    for chosen, expected in zip(([one.pk], [incident.pk for incident in more]), said, strict=True):
        answer = client.post(
            reverse(LIST), {"action": action, "_selected_action": chosen}, follow=True,
            headers={"Accept-Language": "fr"},
        )  # fmt: skip
        assert expected in answer.content.decode()

    entries = LogEntry.objects.all()
    assert {entry.object_repr for entry in entries} == {
        f"Incident {incident.pk}: {incident.key}" for incident in (one, *more)
    }
    assert all(entry.change_message.startswith(logged) for entry in entries)


@pytest.mark.parametrize("state", ["open", "unheard", "acknowledged", "muted", "over"])
def test_every_state_of_an_incident_has_a_filter(state: str) -> None:
    client = logged_in(*VIEW)
    now = timezone.now()
    for key in ("open", "acknowledged", "muted", "over"):
        incidents.open_or_update(Condition(key, "run_failed", "critical"), now)
    incidents.acknowledge(Incident.objects.get(key="acknowledged"), "ada", now)
    incidents.mute(Incident.objects.get(key="muted"), now + timedelta(hours=1), now)
    incidents.resolve("over", now)

    shown = client.get(reverse(LIST), {"state": state}).context["cl"].result_list

    expected = {
        "open": {"open", "acknowledged", "muted"}, "unheard": {"open", "muted"},
        "acknowledged": {"acknowledged"}, "muted": {"muted"}, "over": {"over"},
    }  # fmt: skip
    assert {incident.key for incident in shown} == expected[state]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["incident", "notification"])
def test_the_lists_need_as_many_queries_for_fifty_rows_as_for_one(name: str) -> None:
    client = logged_in(*VIEW)
    make_incident()
    url = reverse(f"admin:ingestion_{name}_changelist")
    client.get(url)
    with CaptureQueriesContext(connection) as few:
        client.get(url)
    for number in range(49):
        make_incident(f"disk_nearly_full:{number}", "disk_nearly_full")

    with CaptureQueriesContext(connection) as many:
        page = client.get(url, {"q": ""})

    assert page.status_code == 200
    assert len(many) <= len(few) <= 10


def test_notifications_show_their_text_and_can_be_filtered_by_state() -> None:
    client = logged_in(*VIEW)
    make_incident()
    Notification.objects.filter(channel="slack").update(state="failed", error="Slack answered 500")
    message = Notification.objects.get(channel="email")

    page = client.get(reverse("admin:ingestion_notification_change", args=[message.pk])).content.decode()
    failed = client.get(reverse("admin:ingestion_notification_changelist"), {"state__exact": "failed"})

    assert "Age: 31 h 12 min; the limit is 26 h." in page
    assert [found.channel for found in failed.context["cl"].result_list] == ["slack"]


def test_an_unknown_incident_is_not_found() -> None:
    client = logged_in(*VIEW)

    answers = [client.get(reverse(PAGE, args=[name]), follow=True).status_code for name in ("999", "x")]

    assert answers == [404, 404]

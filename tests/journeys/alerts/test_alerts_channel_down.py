"""Slack or the mail server is down: the other channel reports it, and no message is lost."""

import json
import subprocess

import pytest

from tests.support.project import Project
from tests.support.servers.alert_receivers import AlertRecipients

FAILED = "The ingestion run failed"
INCIDENTS = """
from ingestion.models import Incident
for one in Incident.objects.order_by("pk"):
    print(one.key, one.severity, "over" if one.resolved_at else "open")
"""
# Rounds of the watchdog, so many minutes from now: those in which messages are tried again.
LOOK = """
from datetime import timedelta
from django.utils import timezone
from ingestion.services import run_watchdog
now = timezone.now()
for later in {minutes}:
    run_watchdog(now + timedelta(minutes=later))
"""


@pytest.fixture
def project(postgres_project: Project) -> Project:
    """On PostgreSQL; alerts about runs are tested on SQLite."""
    return postgres_project


def fail(project: Project, *options: str) -> "subprocess.CompletedProcess[str]":
    done = project.manage(
        "runingest", *options, check=False, BASE_URL="http://127.0.0.1:1", SOURCE_ATTEMPTS="1"
    )
    assert done.returncode == 1, done.stderr
    return done


def test_slack_is_down(project: Project, people: AlertRecipients) -> None:
    project.environment.update(people.settings())
    people.slack.status = 503
    fail(project)
    # Tried again after one minute and two; then it is told of, in the round after.
    project.shell(LOOK.format(minutes=(2, 5, 7)))
    told, why, open_then = people.mail_subjects(), people.last_mail_text(), project.shell(INCIDENTS)
    people.slack.status = 200
    project.shell(LOOK.format(minutes=(60, 62)))

    assert told == [f"Critical: {FAILED}", "Critical: Alerts can't be delivered by Slack"]
    assert "Slack answered 503" in why
    assert open_then == "run critical open\ndelivery_failing:slack critical open"
    assert people.mail_subjects() == [*told, "Resolved: Alerts can't be delivered by Slack"]
    assert "It lasted " in people.last_mail_text()
    assert people.slack_subjects() == [f"Critical: {FAILED}"]
    assert project.shell(INCIDENTS) == "run critical open\ndelivery_failing:slack critical over"


def test_e_mail_is_down(project: Project, people: AlertRecipients) -> None:
    project.environment.update(people.settings())
    people.mailbox.stop()
    fail(project)
    project.shell(LOOK.format(minutes=(2, 5, 7)))
    told, open_then = people.slack_subjects(), project.shell(INCIDENTS)
    people.mailbox.start()
    project.shell(LOOK.format(minutes=(60, 62)))

    assert told == [f"Critical: {FAILED}", "Critical: Alerts can't be delivered by e-mail"]
    assert open_then == "run critical open\ndelivery_failing:email critical open"
    assert people.slack_subjects() == [*told, "Resolved: Alerts can't be delivered by e-mail"]
    assert people.mail_subjects() == [f"Critical: {FAILED}"]
    assert project.shell(INCIDENTS) == "run critical open\ndelivery_failing:email critical over"


def test_a_mail_that_is_printed_leaves_standard_output_to_the_json(sqlite_project: Project) -> None:
    sqlite_project.environment["ALERT_EMAILS"] = "ada@example.org"

    done = fail(sqlite_project, "--json")

    assert json.loads(done.stdout)["status"] == "failed"
    assert f"Subject: [MoovitaMix] Critical: {FAILED}" in done.stderr

"""The database is unavailable: one alert is sent without it, and one when it is back."""

import socket
from collections.abc import Iterator

import pytest

from tests.support.project import Project
from tests.support.servers.alert_receivers import AlertRecipients

AWAY = "Critical: The database is unavailable"
OVER = "Resolved: The database is unavailable"
INCIDENTS = """
from ingestion.models import Incident
for one in Incident.objects.order_by("pk"):
    print(one.key, one.severity, "over" if one.resolved_at else "open", one.notifications.count())
"""
# Rounds of several processes, so many minutes from now; whether each could look.
LOOK = """
from datetime import timedelta
from django.db import OperationalError
from django.utils import timezone
from ingestion.services import run_watchdog
now = timezone.now()
for later in {minutes}:
    try:
        run_watchdog(now + timedelta(minutes=later))
        print("looked")
    except OperationalError:
        print("away")
"""


@pytest.fixture
def nowhere() -> Iterator[str]:
    """The address of a database server that is down."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"postgres://moovitamix:secret-word@127.0.0.1:{bound.getsockname()[1]}/moovitamix"


def test_a_database_that_is_away_is_told_once_by_every_channel_and_its_end_too(
    postgres_project: Project, people: AlertRecipients, nowhere: str
) -> None:
    project = postgres_project
    project.environment.update(people.settings())
    there = project.environment["DATABASE_URL"]

    project.environment["DATABASE_URL"] = nowhere
    # Within three minutes a server may have been started anew.
    assert project.shell(LOOK.format(minutes=(0, 2))) == "away\naway"
    at_first = people.new_subjects()
    # Slack is down as well, and is told when it is back; the mail does not come twice.
    people.slack.status = 503
    project.shell(LOOK.format(minutes=(4, 5)))
    mails, posts = people.mail_subjects(), people.slack_subjects()
    people.slack.status = 200
    project.shell(LOOK.format(minutes=(6, 7)))
    told, said = people.new_subjects(), people.last_mail_text()
    project.shell(LOOK.format(minutes=(25 * 60,)))
    reminded = people.new_subjects()
    project.environment["DATABASE_URL"] = there
    project.shell(LOOK.format(minutes=(25 * 60 + 2, 25 * 60 + 4)))

    assert (at_first, mails, posts) == ([], [AWAY], [])
    assert told == [AWAY]
    assert "connection" in said
    assert "python manage.py watchdog" in said
    assert "secret-word" not in said
    assert reminded == ["Still critical: The database is unavailable"]
    assert people.new_subjects() == [OVER]
    assert "It lasted " in people.last_mail_text()
    # What was told, and its end: two messages by each of two channels.
    assert project.shell(INCIDENTS) == "database_away critical over 4"


def test_a_short_absence_is_no_incident(
    postgres_project: Project, people: AlertRecipients, nowhere: str
) -> None:
    project = postgres_project
    project.environment.update(people.settings())
    there = project.environment["DATABASE_URL"]

    project.environment["DATABASE_URL"] = nowhere
    project.shell(LOOK.format(minutes=(0,)))
    project.environment["DATABASE_URL"] = there
    project.shell(LOOK.format(minutes=(2,)))
    project.environment["DATABASE_URL"] = nowhere
    project.shell(LOOK.format(minutes=(4, 6)))

    assert people.new_subjects() == []


def test_the_watchdog_command_tells_and_says_it(
    postgres_project: Project, people: AlertRecipients, nowhere: str
) -> None:
    project = postgres_project
    project.environment.update(people.settings() | {"DATABASE_URL": nowhere})
    project.shell(LOOK.format(minutes=(-10,)))

    done = project.manage("watchdog", check=False)

    assert done.returncode == 1
    assert "can't be used" in done.stderr
    assert "Traceback" not in done.stderr
    assert people.new_subjects() == [AWAY]

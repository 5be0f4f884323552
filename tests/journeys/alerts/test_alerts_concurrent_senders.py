"""Several sending processes at once, one of which is killed: each message arrives once."""

import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.project import ROOT, Project
from tests.support.servers.alert_receivers import MailServer, WebhookServer

INCIDENTS = 12
# Opens what is wrong, as a check does.
OPEN = f"""
from django.utils import timezone
from ingestion.alerts.incidents import Condition, open_or_update
for number in range({INCIDENTS}):
    condition = Condition(f"disk_nearly_full:disk{{number}}", "disk_nearly_full", "critical")
    open_or_update(condition, timezone.now())
"""
CLOSE = """
from django.utils import timezone
from ingestion.alerts.incidents import resolve, open_incidents
for incident in list(open_incidents()):
    resolve(incident.key, timezone.now())
"""
# What the watchdog of every process does each minute, as soon as all of them are there.
SEND = """
from datetime import timedelta
import requests
from django.utils import timezone
from ingestion.services import send_alerts
requests.post("{gate}", json={{}}, timeout=120)
print(send_alerts(timezone.now() + timedelta(minutes={later})))
"""
STATES = (
    "from ingestion.models import Notification;"
    "print(sorted(set(Notification.objects.values_list('event', 'channel', 'state'))))"
)


@pytest.fixture
def mailbox() -> Iterator[MailServer]:
    with MailServer() as mailbox:
        yield mailbox


@pytest.fixture
def slack() -> Iterator[WebhookServer]:
    with WebhookServer() as webhook:
        yield webhook


def told(project: Project, mailbox: MailServer, slack: WebhookServer) -> None:
    project.environment.update(
        ALERT_EMAILS="ada@example.org", EMAIL_URL=f"smtp://127.0.0.1:{mailbox.port}",
        SLACK_WEBHOOK_URL=slack.url,
    )  # fmt: skip


def sender(project: Project, gate: WebhookServer, later: int = 0) -> "subprocess.Popen[str]":
    """A process that sends the due messages of `later` minutes from now, once the gate is open."""
    code = SEND.format(gate=gate.url, later=later)
    return project.start(sys.executable, str(ROOT / "manage.py"), "shell", "--no-imports", "-c", code)


def all_send(project: Project, processes: int, later: int = 0) -> None:
    """Send from so many processes at the same moment."""
    together = threading.Barrier(processes)
    with WebhookServer("/gate") as gate:
        gate.before_answer = lambda _: together.wait(timeout=600)
        senders = [sender(project, gate, later) for _ in range(processes)]
        for process in senders:
            said, _ = process.communicate(timeout=600)
            assert process.returncode == 0, said


def test_what_three_senders_send_at_once_arrives_once(
    project: Project, mailbox: MailServer, slack: WebhookServer
) -> None:
    told(project, mailbox, slack)
    project.shell(OPEN)

    all_send(project, 3)
    project.shell(CLOSE)
    all_send(project, 3)

    mails = Counter(str(mail["Message-ID"]) for mail in mailbox.received)
    subjects = Counter(str(mail["Subject"]) for mail in mailbox.received)
    assert set(mails.values()) == set(subjects.values()) == {1}
    assert len(subjects) == 2 * INCIDENTS
    assert Counter(slack.texts()) == subjects


@pytest.mark.parametrize(
    ("database", "taken"),
    [("postgres", False), ("sqlite", True)],
    ids=["before Slack took it", "after Slack took it"],
)
def test_a_sender_that_is_killed_while_it_sends_loses_nothing(
    database: str, taken: bool, mailbox: MailServer, slack: WebhookServer, request: pytest.FixtureRequest
) -> None:
    project: Project = request.getfixturevalue(f"{database}_project")
    told(project, mailbox, slack)
    project.shell(OPEN)
    killed: list[str] = []
    with WebhookServer("/gate") as gate:
        process = sender(project, gate)

        def kill(body: dict[str, Any]) -> None:
            slack.before_answer = lambda _: None
            killed.append(body["text"])
            process.kill()
            process.wait()
            slack.status = 200 if taken else 503

        slack.before_answer = kill
        process.communicate(timeout=600)
    slack.status = 200

    all_send(project, 1)
    at_once = Counter(slack.texts())
    all_send(project, 2, later=6)

    # Nobody can know whether a message was taken whose sender died before it heard the answer.
    assert at_once[killed[0]] == int(taken)
    expected = Counter({str(mail["Subject"]) for mail in mailbox.received})
    expected[killed[0]] += int(taken)
    assert Counter(slack.texts()) == expected
    assert len(expected) == len(mailbox.received) == INCIDENTS
    assert project.shell(STATES) == "[('opened', 'email', 'sent'), ('opened', 'slack', 'sent')]"

"""Delivery: each message is sent once by each channel, even if attempts or processes fail."""

from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import override_settings
from django.utils import timezone

from ingestion.alerts import incidents
from ingestion.alerts.channels import Channel, MessageContent, NotSent, SlackChannel
from ingestion.alerts.delivery import DeliveryResult, deliver_notifications
from ingestion.alerts.incidents import Condition
from ingestion.models import Incident, Notification
from ingestion.services import alert_channels, send_alerts
from tests.support.servers.alert_receivers import SECRET, MailServer, WebhookServer

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 11, 23, 2, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
PAGES: MessageContent = {
    "event": "opened", "severity": "critical", "headline": "h", "what": "w", "sections": [], "numbers": [],
    "link": "", "link_text": "", "language": "en",
}  # fmt: skip


class Told:
    """The two recipients of alerts: a mailbox and Slack."""

    def __init__(self, mailbox: MailServer, slack: WebhookServer) -> None:
        self.mailbox = mailbox
        self.slack = slack

    def subjects(self) -> tuple[list[str], list[str]]:
        return [str(mail["Subject"]) for mail in self.mailbox.received], self.slack.texts()


@pytest.fixture
def told() -> Iterator[Told]:
    with ExitStack() as stack:
        mailbox, slack = stack.enter_context(MailServer()), stack.enter_context(WebhookServer())
        stack.enter_context(
            override_settings(
                EMAIL_BACKEND="django.core.mail.backends.smtp.EmailBackend", EMAIL_HOST="127.0.0.1",
                EMAIL_PORT=mailbox.port, EMAIL_TIMEOUT=5, ALERT_EMAILS=["ada@example.org"],
                SLACK_WEBHOOK_URL=slack.url, SITE_URL="https://mm.example",
            )
        )  # fmt: skip
        yield Told(mailbox, slack)


class Scripted:
    """A channel that raises its outcomes in turn, or accepts the message, and stores all subjects."""

    def __init__(self, name: str, *outcomes: Exception | None) -> None:
        self.name = name
        self.outcomes = list(outcomes)
        self.subjects: list[str] = []

    def send(self, subject: str, content: MessageContent) -> None:
        self.subjects.append(subject)
        outcome = self.outcomes.pop(0) if self.outcomes else None
        if outcome is not None:
            raise outcome


def make_message(channel: str = "email", at: datetime = NOW, **fields: Any) -> Notification:
    usual: dict[str, Any] = {
        "event": "test", "subject": "a message", "content": PAGES, "created_at": at, "due_at": at,
    }  # fmt: skip
    return Notification.objects.create(channel=channel, **{**usual, **fields})


def down() -> NotSent:
    return NotSent("It is not there", down=True)


def report(key: str = "run", at: datetime = NOW) -> Incident:
    return incidents.open_or_update(Condition(key, "run_failed", "critical", {"error": "no answer"}), at)


def open_keys() -> list[str]:
    return [incident.key for incident in incidents.open_incidents()]


def test_an_incident_reaches_everybody_when_it_opens_and_when_it_ends(told: Told) -> None:
    report()
    first = send_alerts(NOW)
    incidents.resolve("run", NOW + HOUR)

    second = send_alerts(NOW + HOUR)
    third = send_alerts(NOW + 9 * HOUR)

    both = [
        "[MoovitaMix] Critical: The ingestion run failed",
        "[MoovitaMix] Resolved: The ingestion run failed",
    ]
    assert told.subjects() == (both, both)
    assert (first, second, third) == (DeliveryResult(sent=2), DeliveryResult(sent=2), DeliveryResult())
    assert set(Notification.objects.values_list("state", "attempts")) == {("sent", 1)}
    ids = [mail["Message-ID"] for mail in told.mailbox.received]
    assert len(set(ids)) == 2
    assert told.mailbox.received[0]["References"] == told.mailbox.received[1]["References"]


@pytest.mark.slow
def test_a_dead_slack_does_not_stop_the_mail_and_becomes_an_incident_that_the_mail_tells(told: Told) -> None:
    told.slack.status = 503
    report()

    for minute in range(20):
        send_alerts(NOW + minute * MINUTE)

    assert open_keys() == ["run", "delivery_failing:slack"]
    assert told.subjects() == (
        ["[MoovitaMix] Critical: The ingestion run failed",
         "[MoovitaMix] Critical: Alerts can't be delivered by Slack"],
        [],
    )  # fmt: skip
    told.slack.status = 200
    for minute in range(20, 50):
        send_alerts(NOW + minute * MINUTE)
    assert open_keys() == ["run"]
    assert told.subjects()[0][2:] == ["[MoovitaMix] Resolved: Alerts can't be delivered by Slack"]
    assert told.subjects()[1] == ["[MoovitaMix] Critical: The ingestion run failed"]


@pytest.mark.slow
def test_a_dead_mail_server_is_told_of_by_slack_and_gets_its_mails_later(told: Told) -> None:
    told.mailbox.stop()
    report()

    for minute in range(20):
        send_alerts(NOW + minute * MINUTE)

    assert told.subjects() == (
        [],
        ["[MoovitaMix] Critical: The ingestion run failed",
         "[MoovitaMix] Critical: Alerts can't be delivered by e-mail"],
    )  # fmt: skip
    told.mailbox.start()
    for minute in range(20, 60):
        send_alerts(NOW + minute * MINUTE)
    assert told.subjects()[0] == ["[MoovitaMix] Critical: The ingestion run failed"]
    assert open_keys() == ["run"]


def test_a_message_is_tried_after_one_two_four_minutes_and_at_least_hourly() -> None:
    make_message()
    pauses = []
    at = NOW
    for _ in range(9):
        deliver_notifications(at, [Scripted("email", down())])
        due = Notification.objects.get().due_at
        pauses.append((due - at).total_seconds() / 60)
        at = due

    expected = [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert all(0.8 * wanted <= pause <= 1.21 * wanted for pause, wanted in zip(pauses, expected, strict=True))


def test_nothing_is_tried_before_it_is_due() -> None:
    channel = Scripted("email", down())
    make_message()

    deliver_notifications(NOW, [channel])
    deliver_notifications(NOW + timedelta(seconds=40), [channel])

    assert channel.subjects == ["a message"]


def test_a_service_that_asks_for_patience_gets_it() -> None:
    make_message()

    deliver_notifications(NOW, [Scripted("email", NotSent("Slow down", down=True, retry_after=900.0))])

    assert Notification.objects.get().due_at >= NOW + timedelta(seconds=900)


def test_a_message_that_waited_in_silence_for_a_day_is_not_given_up_at_its_first_attempt() -> None:
    make_message(created_at=NOW - 30 * HOUR)

    first = deliver_notifications(NOW, [Scripted("email", down())])
    second = deliver_notifications(NOW + HOUR, [Scripted("email")])

    assert (first.waiting, second.sent) == (1, 1)


def test_a_message_that_nobody_took_for_a_day_is_given_up_and_says_why() -> None:
    make_message(created_at=NOW - 24 * HOUR, attempts=27)

    done = deliver_notifications(NOW, [Scripted("email", down())])

    message = Notification.objects.get()
    assert (message.state, message.error) == ("failed", "It is not there")
    assert done == DeliveryResult(sent=0, failed=1, waiting=0)


def test_messages_by_a_channel_that_is_not_configured_any_more_are_given_up_after_a_day() -> None:
    make_message("slack", NOW - 24 * HOUR)
    make_message("slack", NOW - 23 * HOUR)

    deliver_notifications(NOW, [Scripted("email")])

    assert list(Notification.objects.order_by("id").values_list("state", flat=True)) == ["failed", "waiting"]


def test_a_dead_channel_is_asked_once_a_round_and_the_others_send_all_they_have() -> None:
    dead, well = Scripted("slack", *[down() for _ in range(5)]), Scripted("email")
    for number in range(5):
        make_message("slack", subject=f"s{number}")
        make_message("email", subject=f"e{number}")

    done = deliver_notifications(NOW, [dead, well])

    assert dead.subjects == ["s0"]
    assert well.subjects == ["e0", "e1", "e2", "e3", "e4"]
    assert done == DeliveryResult(sent=5, failed=1, waiting=5)


def test_a_message_that_a_service_does_not_want_does_not_hold_up_the_next() -> None:
    channel = Scripted("email", NotSent("Slack answered 400", down=False))
    make_message(subject="bad")
    make_message(subject="good")

    deliver_notifications(NOW, [channel])

    assert channel.subjects == ["bad", "good"]
    assert list(Notification.objects.order_by("id").values_list("state", flat=True)) == ["waiting", "sent"]
    assert open_keys() == []


def test_the_end_of_an_incident_never_arrives_before_its_beginning() -> None:
    incident = report()
    make_message(incident=incident, event="opened", subject="begins", due_at=NOW + MINUTE)
    make_message(incident=incident, event="resolved", subject="ends")
    make_message(incident=report("other"), event="opened", subject="another")
    channel = Scripted("email")

    deliver_notifications(NOW, [channel])
    deliver_notifications(NOW + MINUTE, [channel])
    deliver_notifications(NOW + 2 * MINUTE, [channel])

    assert channel.subjects == ["another", "begins", "ends"]


@pytest.mark.parametrize(("minutes", "sent"), [(4, 0), (5, 1)])
def test_a_message_whose_sender_has_been_silent_for_five_minutes_is_sent_by_another(
    minutes: int, sent: int
) -> None:
    make_message(state="sending", claim="a dead one", claimed_at=NOW, attempts=1)

    assert deliver_notifications(NOW + minutes * MINUTE, [Scripted("email")]).sent == sent


def test_a_sender_that_was_taken_for_dead_does_not_undo_what_the_next_one_did() -> None:
    make_message()

    class Slow(Scripted):
        def send(self, subject: str, content: MessageContent) -> None:
            # Meanwhile somebody else takes it for dead and sends.
            deliver_notifications(NOW + 6 * MINUTE, [Scripted("email")])
            raise down()

    deliver_notifications(NOW, [Slow("email")])

    message = Notification.objects.get()
    assert (message.state, message.attempts, message.error) == ("sent", 2, "")


def test_an_error_nobody_expected_is_told_without_its_words() -> None:
    make_message()

    deliver_notifications(NOW, [Scripted("email", RuntimeError(f"https://hooks/{SECRET}"))])

    assert Notification.objects.get().error == "Unexpected error: RuntimeError"


def test_one_hiccup_is_no_incident_and_three_failures_in_a_row_are() -> None:
    make_message("slack")
    channels: list[Channel] = [Scripted("slack", *[down() for _ in range(3)])]
    seen = []
    for minute in (0, 2, 5):
        deliver_notifications(NOW + minute * MINUTE, channels)
        seen.append(open_keys())

    assert seen == [[], [], ["delivery_failing:slack"]]
    facts = Incident.objects.get().facts
    assert facts == {"failures": 3, "failing_since_at": NOW.isoformat(), "error": "It is not there"}


def test_a_channel_that_fails_for_ten_minutes_is_an_incident_however_seldom_it_is_tried() -> None:
    make_message("slack")
    deliver_notifications(NOW, [Scripted("slack", NotSent("Wait", down=True, retry_after=3600.0))])

    deliver_notifications(NOW + 9 * MINUTE, [Scripted("slack")])
    before = open_keys()
    deliver_notifications(NOW + 10 * MINUTE, [Scripted("slack")])

    assert (before, open_keys()) == ([], ["delivery_failing:slack"])


def test_a_channel_that_is_switched_off_fails_no_more() -> None:
    make_message("slack")
    for minute in (0, 2, 5):
        deliver_notifications(NOW + minute * MINUTE, [Scripted("slack", down())])

    deliver_notifications(NOW + 6 * MINUTE, [Scripted("email")])

    assert open_keys() == []


def test_a_slow_channel_leaves_room_for_the_others_after_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    passed = [0.0]
    monkeypatch.setattr("ingestion.alerts.delivery.time.monotonic", lambda: passed[0])

    class Slow(Scripted):
        def send(self, subject: str, content: MessageContent) -> None:
            passed[0] += 25.0
            super().send(subject, content)

    slow, well = Slow("slack"), Scripted("email")
    for _ in range(9):
        make_message("slack")
    make_message("email")

    done = deliver_notifications(NOW, [slow, well])

    assert (len(slow.subjects), len(well.subjects)) == (3, 1)
    assert done == DeliveryResult(sent=4, failed=0, waiting=6)


def test_a_test_goes_through_every_channel_and_each_result_is_said(
    told: Told, capsys: pytest.CaptureFixture[str]
) -> None:
    call_command("testalert")

    said = capsys.readouterr().out
    assert said == "email: sent; check that it has arrived\nslack: sent; check that it has arrived\n"
    assert told.subjects() == (["[MoovitaMix] Test: alerts arrive on this channel"],) * 2


def test_a_test_that_one_channel_does_not_take_fails_and_says_which(
    told: Told, capsys: pytest.CaptureFixture[str]
) -> None:
    told.slack.status, told.slack.body = 404, b"no_service"

    with pytest.raises(CommandError, match=r"1 of 2 channels failed\.") as error:
        call_command("testalert")

    assert error.value.returncode == 1
    assert capsys.readouterr().out == (
        "email: sent; check that it has arrived\nslack: FAILED: Slack answered 404: no_service\n"
    )
    assert set(Notification.objects.values_list("channel", "state")) == {
        ("email", "sent"),
        ("slack", "failed"),
    }


def test_a_test_without_channels_says_how_to_get_one() -> None:
    with override_settings(ALERT_EMAILS=[], SLACK_WEBHOOK_URL="", ALERT_URLS=[]):
        with pytest.raises(CommandError, match=r"ALERT_EMAILS=ada@example\.org") as error:
            call_command("testalert")

    assert error.value.returncode == 1


def test_a_mail_that_is_only_printed_is_not_called_sent(capsys: pytest.CaptureFixture[str]) -> None:
    with override_settings(
        ALERT_EMAILS=["ada@example.org"], EMAIL_BACKEND="django.core.mail.backends.console.EmailBackend"
    ):
        with pytest.raises(CommandError, match="1 of 1 channels failed"):
            call_command("testalert")

    assert "email: NOT SENT, only printed above: EMAIL_URL names no mail server" in capsys.readouterr().out


def test_a_test_that_gets_through_ends_the_incident_of_its_channel(told: Told) -> None:
    now = timezone.now()
    make_message("slack", now - HOUR)
    for minute in (0, 2, 5):
        deliver_notifications(now - HOUR + minute * MINUTE, [Scripted("slack", down())])
    assert open_keys() == ["delivery_failing:slack"]

    call_command("testalert")
    deliver_notifications(timezone.now(), [])
    deliver_notifications(timezone.now(), alert_channels())

    assert open_keys() == []


def test_messages_are_in_the_language_of_the_service(told: Told) -> None:
    report()

    with override_settings(LANGUAGE_CODE="fr"):
        send_alerts(NOW)

    assert told.slack.texts() == ["[MoovitaMix] Critique\xa0: L\u2019ingestion a \xe9chou\xe9"]


def test_no_secret_stands_in_any_row(told: Told) -> None:
    told.slack.status, told.slack.body = 500, told.slack.url.encode()
    report()

    send_alerts(NOW)

    rows = str(list(Notification.objects.values())) + str(list(Incident.objects.values()))
    assert "Slack answered 500" in rows
    assert not [part for part in SECRET.split("/") if part in rows]
    assert SECRET not in repr(SlackChannel(told.slack.url))

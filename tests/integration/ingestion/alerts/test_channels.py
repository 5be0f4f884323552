"""Channels: messages arrive at a real mail server and at a real endpoint for Slack and other services."""

import logging
import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from django.test import override_settings

from ingestion.alerts.channels import (
    AppriseChannel,
    EmailChannel,
    NotSent,
    SlackChannel,
    build_channels,
    plain_text,
    redact_secrets,
    slack_message,
)
from ingestion.alerts.messages.render import render_message
from ingestion.models import Incident
from tests.support.servers.alert_receivers import SECRET, MailServer, WebhookServer

OPENED = datetime(2026, 11, 23, 2, 15, tzinfo=UTC)
PASSWORD = "correct-horse-battery"
# One of its services asks for a module that Python 3.13 has no more, and does without there.
BY_APPRISE = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")


@pytest.fixture
def mailbox() -> Iterator[MailServer]:
    with MailServer() as mailbox, override_settings(
        EMAIL_BACKEND="django.core.mail.backends.smtp.EmailBackend", EMAIL_HOST="127.0.0.1",
        EMAIL_PORT=mailbox.port, EMAIL_TIMEOUT=5,
    ):  # fmt: skip
        yield mailbox


@pytest.fixture
def webhook() -> Iterator[WebhookServer]:
    with WebhookServer() as webhook:
        yield webhook


def message(language: str = "en", **facts: Any) -> tuple[str, dict[str, Any]]:
    incident = Incident(
        pk=5, key="data_stale:songs", kind="data_stale", severity="warning", opened_at=OPENED, seen_at=OPENED,
        count=1, facts={"age_hours": 31.2, "limit_hours": 26} | facts,
    )  # fmt: skip
    return render_message(incident, "opened", "https://mm.example/runs/7/", language)


def email(*to: str, password: str = "") -> EmailChannel:
    return EmailChannel(to or ("ada@example.org",), "alerts@example.org", (password,))


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def test_a_mail_goes_to_all_with_text_and_html(mailbox: MailServer) -> None:
    subject, content = message()

    email("ada@example.org", "bob@example.org").send(subject, content)

    [mail] = mailbox.received
    assert mailbox.recipients == [["ada@example.org", "bob@example.org"]]
    assert mail["Subject"] == "[MoovitaMix] Warning: Stale data: songs, 31 h 12 min old"
    assert (mail["From"], mail["Auto-Submitted"]) == ("alerts@example.org", "auto-generated")
    text, html = (mail.get_body((kind,)) for kind in ("plain", "html"))
    assert text is not None
    assert text.get_content().replace("\r\n", "\n") == (
        "The data is older than allowed. Data: songs. "
        "Age: 31 h 12 min; the limit is 26 h.\n"
        "\n"
        "Since when\nSince 2026-11-23 02:15 UTC.\n"
        "\n"
        "Impact\nWarning. Recommendations do not reflect anything newer.\n"
        "\n"
        "What to do\nCheck the latest runs: did they fail, or not start?\n"
        "If they succeeded, the source has no new data: contact its operator.\n"
        "\n"
        "  Age    31 h 12 min\n"
        "  Limit  26 h\n"
        "\n"
        "Open the incident\nhttps://mm.example/runs/7/\n"
    )
    assert html is not None
    assert '<a href="https://mm.example/runs/7/">Open the incident</a>' in html.get_content()


def test_a_french_mail_arrives_with_its_accents(mailbox: MailServer) -> None:
    subject, content = message("fr")

    email().send(subject, content)

    assert mailbox.received[0]["Subject"].strip() == (
        "[MoovitaMix] Avertissement\xa0: Données périmées\xa0: morceaux, âge\xa0: 31 h 12 min"
    )
    body = mailbox.received[0].get_body(("plain",))
    assert body is not None
    assert "Depuis le 2026-11-23 02:15 UTC." in body.get_content()


def test_two_copies_of_a_message_are_known_as_one_and_stand_beside_those_of_their_incident(
    mailbox: MailServer,
) -> None:
    subject, content = message()
    named = content | {"id": "<message-1@moovitamix>", "thread": "<incident-5@moovitamix>"}

    for _ in range(2):
        email().send(subject, named)

    assert [mail["Message-ID"] for mail in mailbox.received] == ["<message-1@moovitamix>"] * 2
    assert mailbox.received[0]["References"] == "<incident-5@moovitamix>"


def test_what_a_row_says_cannot_become_html_or_a_mention(mailbox: MailServer) -> None:
    subject, content = message(error="<script>alert(1)</script> <!channel> & co")

    email().send(subject, content)

    html = mailbox.received[0].get_body(("html",))
    assert html is not None
    assert "<script>" not in html.get_content()
    assert "&lt;!channel&gt; &amp; co" in str(slack_message(subject, content))
    assert "<!channel>" not in str(slack_message(subject, content))


@pytest.mark.parametrize(
    ("answer", "down"), [("554 We think that this is spam", False), ("451 Try again later", False)]
)
def test_a_mail_server_that_refuses_a_mail_is_quoted(mailbox: MailServer, answer: str, down: bool) -> None:
    mailbox.answer = answer

    with pytest.raises(NotSent, match=answer) as error:
        email().send(*message())

    assert error.value.down is down


def test_a_mail_server_that_is_not_there_is_down() -> None:
    with override_settings(
        EMAIL_BACKEND="django.core.mail.backends.smtp.EmailBackend", EMAIL_HOST="127.0.0.1",
        EMAIL_PORT=closed_port(), EMAIL_TIMEOUT=5,
    ):  # fmt: skip
        with pytest.raises(NotSent, match="Connection refused") as error:
            email().send(*message())

    assert error.value.down


def test_a_mail_that_was_taken_is_sent_however_the_server_says_goodbye(mailbox: MailServer) -> None:
    mailbox.hang_up_on_quit = True

    email().send(*message())

    assert len(mailbox.received) == 1


def test_a_wrong_password_is_told_of_and_not_told(mailbox: MailServer) -> None:
    mailbox.stop()
    mailbox.start(password="another one")

    with override_settings(EMAIL_HOST_USER="ada", EMAIL_HOST_PASSWORD=PASSWORD):
        with pytest.raises(NotSent, match="535") as error:
            email(password=PASSWORD).send(*message())

    assert PASSWORD not in str(error.value)
    assert error.value.down


def test_the_right_password_sends(mailbox: MailServer) -> None:
    mailbox.stop()
    mailbox.start(password=PASSWORD)

    with override_settings(EMAIL_HOST_USER="ada", EMAIL_HOST_PASSWORD=PASSWORD):
        email(password=PASSWORD).send(*message())

    assert len(mailbox.received) == 1


def test_slack_gets_blocks_and_a_text_for_its_notification(webhook: WebhookServer) -> None:
    subject, content = message()

    SlackChannel(webhook.url).send(subject, content)

    [body] = webhook.received
    assert body["text"] == subject
    assert [block["type"] for block in body["blocks"]] == [
        "header",
        "section",
        "section",
        "section",
        "section",
    ]
    assert body["blocks"][0]["text"]["text"] == "Warning: Stale data: songs, 31 h 12 min old"
    assert body["blocks"][3]["fields"][0] == {"type": "mrkdwn", "text": "*Age*\n31 h 12 min"}
    assert body["blocks"][4]["text"]["text"] == "<https://mm.example/runs/7/|Open the incident>"


def test_slack_s_own_limits_are_kept_whatever_the_facts_are() -> None:
    subject, content = message(**{f"fact_{number}": "x" * 9000 for number in range(40)})
    content["headline"] = content["what"] = "y" * 9000

    blocks = slack_message(subject, content)["blocks"]

    assert len(blocks) <= 50
    assert len(blocks[0]["text"]["text"]) <= 150
    assert all(len(block["text"]["text"]) <= 3000 for block in blocks if "text" in block)
    assert all(len(block.get("fields", [])) <= 10 for block in blocks)
    assert all(len(text["text"]) <= 2000 for block in blocks for text in block.get("fields", []))


@pytest.mark.parametrize(
    ("status", "body", "down"),
    [(400, b"invalid_blocks", False), (404, b"no_service", True), (500, b"", True), (302, b"", True)],
)
def test_what_slack_answers_is_told_without_its_address(
    webhook: WebhookServer, status: int, body: bytes, down: bool
) -> None:
    webhook.status, webhook.body = status, body + f" {webhook.url} {SECRET}".encode()
    webhook.headers = {"Location": "http://127.0.0.1:9/elsewhere"}

    with pytest.raises(NotSent, match=f"Slack answered {status}") as error:
        SlackChannel(webhook.url).send(*message())

    assert error.value.down is down
    assert body.decode() in str(error.value)
    assert not [part for part in SECRET.split("/") if part in str(error.value)]


def test_slack_says_how_long_to_wait(webhook: WebhookServer) -> None:
    webhook.status, webhook.headers = 429, {"Retry-After": "120"}

    with pytest.raises(NotSent) as error:
        SlackChannel(webhook.url).send(*message())

    assert error.value.retry_after == 120


def test_a_slack_that_is_not_there_is_down_and_its_address_stays_secret(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.DEBUG), pytest.raises(NotSent) as error:
        SlackChannel(f"http://127.0.0.1:{closed_port()}/services/{SECRET}").send(*message())

    assert error.value.down
    assert (
        SECRET
        not in f"{error.value} {error.value.__cause__} {SlackChannel('http://x/' + SECRET)!r} {caplog.text}"
    )


@BY_APPRISE
def test_any_other_service_is_told_by_apprise() -> None:
    with WebhookServer("/hook") as webhook:
        AppriseChannel(webhook.url.replace("http://", "json://"), "other-1").send(*message())

    [body] = webhook.received
    assert body["title"] == "[MoovitaMix] Warning: Stale data: songs, 31 h 12 min old"
    assert body["message"].startswith("The data is older than allowed.")


@BY_APPRISE
@pytest.mark.parametrize(
    "url", [f"json://ada:{PASSWORD}@127.0.0.1:{{port}}/{SECRET}", f"nonsense://{SECRET}"]
)
def test_no_part_of_another_service_s_address_is_shown(
    url: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.INFO), pytest.raises(NotSent) as error:
        AppriseChannel(url.format(port=closed_port()), "other-1").send(*message())

    # pytest listens to Apprise's own logger too, whose records go nowhere else.
    logged = [record.getMessage() for record in caplog.records if record.name != "apprise"]
    said = f"{error.value} {logged} {capfd.readouterr()} {AppriseChannel(url, 'other-1')!r}"
    assert not logging.getLogger("apprise").propagate
    assert error.value.down
    assert PASSWORD not in said
    assert not [part for part in SECRET.split("/") if part in said]


def test_channels_are_those_that_are_configured_in_their_order() -> None:
    some = build_channels(
        ["ada@example.org"], "from@example.org", "", "http://slack", ["json://a", "json://b"]
    )

    assert [channel.name for channel in some] == ["email", "slack", "other-1", "other-2"]
    assert build_channels([], "from@example.org", "", "", []) == []


def test_words_that_are_no_secret_stay() -> None:
    assert redact_secrets("no  one\nknows the key abcdef", ["", "abcdef"]) == "no one knows the key ***"


def test_a_message_without_numbers_and_link_is_still_whole() -> None:
    bare = {"what": "A.", "sections": [], "numbers": [], "link": "", "link_text": "Open"}

    assert plain_text(bare) == "A.\n"

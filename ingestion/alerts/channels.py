"""Ways to tell people: e-mail, Slack, and whatever Apprise knows. Errors say why, and hold no secret."""

import logging
import re
import smtplib
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final, Protocol
from urllib.parse import unquote

import apprise
import requests
from django.core.mail import EmailMultiAlternatives, get_connection
from django.core.mail.backends.base import BaseEmailBackend
from django.core.mail.backends.console import EmailBackend as PrintedMail
from django.template.loader import render_to_string

MessageContent = dict[str, Any]
# Until a connection, and until the next byte: a dead service holds the others up for no longer.
TIMEOUT: Final = (5.0, 10.0)
# Apprise's services have timeouts of 4 s each; some ask more than once.
APPRISE_TIMEOUT: Final = 20.0
# Slack's own limits; it refuses a message that is longer anywhere.
SLACK_HEADER, SLACK_TEXT, SLACK_FIELDS = 150, 2900, 10
# Shorter pieces of an address are words such as "services", which hide nothing.
SHORTEST_SECRET = 6

# Its warnings reach us with the result; in a log they could show parts of an address.
logging.getLogger("apprise").addHandler(logging.NullHandler())
logging.getLogger("apprise").propagate = False


class NotSent(Exception):
    """One message did not get out.

    Attributes:
        down: the channel itself does not work, so that other messages need not be tried now.
        retry_after: seconds the service asks us to wait, or 0.
    """

    def __init__(self, reason: str, *, down: bool, retry_after: float = 0.0) -> None:
        super().__init__(reason)
        self.down = down
        self.retry_after = retry_after


class Channel(Protocol):
    """One way to tell people; `name` is what notifications call it."""

    @property
    def name(self) -> str: ...

    def send(self, subject: str, content: MessageContent) -> None:
        """Send one message now.

        `content` may hold `id` and `thread` besides what `texts` makes: the same for every try of one
        message, and for all messages of one incident.

        Raises:
            NotSent: it did not get out, as far as is known.
        """
        ...


@dataclass(frozen=True)
class EmailChannel:
    """One mail to all addresses, by Django's mail settings."""

    to: tuple[str, ...]
    sender: str
    secrets: tuple[str, ...] = field(default=(), repr=False)
    name: str = "email"

    def send(self, subject: str, content: MessageContent) -> None:
        headers = {"Auto-Submitted": "auto-generated"}
        if content.get("id"):
            # Whoever gets one message twice, because its sender died after sending, sees it once.
            headers["Message-ID"] = content["id"]
        if content.get("thread"):
            headers["References"] = content["thread"]
        mail = EmailMultiAlternatives(
            subject, plain_text(content), self.sender, list(self.to), headers=headers
        )
        mail.attach_alternative(render_to_string("alerts/mail.html", {"content": content}), "text/html")
        with _mail_errors_as_not_sent(self.secrets), _mail_connection() as connection:
            connection.send_messages([mail])


@dataclass(frozen=True)
class SlackChannel:
    """A message in blocks to one webhook, whose address is the secret."""

    url: str = field(repr=False)
    name: str = "slack"

    def send(self, subject: str, content: MessageContent) -> None:
        try:
            # Wherever a redirect points, the message is not for it.
            answer = requests.post(
                self.url, json=slack_message(subject, content), timeout=TIMEOUT, allow_redirects=False
            )
        except requests.Timeout:
            raise NotSent("Slack did not answer in time", down=True) from None
        except requests.RequestException as error:
            raise NotSent(f"Slack can't be reached: {type(error).__name__}", down=True) from None
        if answer.status_code != requests.codes.ok:
            said = redact_secrets(answer.text[:200], secret_parts(self.url))
            raise NotSent(
                f"Slack answered {answer.status_code}: {said}".rstrip(": "),
                # 400 is about this message: the next one may do.
                down=answer.status_code != requests.codes.bad_request,
                retry_after=_retry_after_seconds(answer.headers.get("Retry-After", "")),
            )


@dataclass(frozen=True)
class AppriseChannel:
    """Any service that Apprise knows, by its address, which is the secret."""

    url: str = field(repr=False)
    name: str

    def send(self, subject: str, content: MessageContent) -> None:
        service = apprise.Apprise()
        if not service.add(self.url):
            raise NotSent("Apprise can't read this address of ALERT_URLS", down=True)
        result = service.notify(
            body=plain_text(content), title=subject, body_format=apprise.NotifyFormat.TEXT,
            timeout=APPRISE_TIMEOUT,
        )  # fmt: skip
        if not result:
            said = " ".join(str(entry.message) for entry in result.logs())
            raise NotSent(
                redact_secrets(said, secret_parts(self.url))[:300] or "the service took no message", down=True
            )


def is_apprise_url(url: str) -> bool:
    """Whether Apprise knows what to do with an address."""
    return bool(apprise.Apprise().add(url))


def build_channels(
    emails: Sequence[str], sender: str, mail_password: str, slack_url: str, apprise_urls: Sequence[str]
) -> list[Channel]:
    """The channels that are configured, in the order in which they are tried."""
    channels: list[Channel] = []
    if emails:
        channels.append(EmailChannel(tuple(emails), sender, (mail_password,)))
    if slack_url:
        channels.append(SlackChannel(slack_url))
    return [
        *channels,
        *(AppriseChannel(url, f"other-{number}") for number, url in enumerate(apprise_urls, 1)),
    ]


def plain_text(content: MessageContent) -> str:
    """A message without any form."""
    width = max((len(name) for name, _ in content["numbers"]), default=0)
    parts = [content["what"], *(f"{title}\n{said}" for title, said in content["sections"])]
    parts.append("\n".join(f"  {name:<{width}}  {value}" for name, value in content["numbers"]))
    if content["link"]:
        parts.append(f"{content['link_text']}\n{content['link']}")
    return "\n\n".join(part for part in parts if part) + "\n"


def slack_message(subject: str, content: MessageContent) -> dict[str, Any]:
    """A message in Slack's Block Kit."""
    blocks: list[dict[str, Any]] = [
        {"type": "header", "text": {"type": "plain_text", "text": content["headline"][:SLACK_HEADER]}},
        _section(_escaped(content["what"])),
    ]
    if content["sections"]:
        said = [f"*{_escaped(title)}*\n{_escaped(text)}" for title, text in content["sections"]]
        blocks.append(_section("\n\n".join(said)))
    if numbers := content["numbers"][:SLACK_FIELDS]:
        fields = [f"*{_escaped(name)}*\n{_escaped(value)}"[:1900] for name, value in numbers]
        blocks.append({"type": "section", "fields": [{"type": "mrkdwn", "text": text} for text in fields]})
    if content["link"]:
        blocks.append(_section(f"<{_escaped(content['link'])}|{_escaped(content['link_text'])}>"))
    return {"text": subject, "blocks": blocks}


def redact_secrets(text: str, secrets: Iterable[str]) -> str:
    """A text for people, in one line, without these words."""
    for secret in sorted({secret for secret in secrets if secret}, key=len, reverse=True):
        text = text.replace(secret, "***")
    return " ".join(text.split())


def secret_parts(url: str) -> list[str]:
    """What of an address could be a secret: the whole and each longer part, as written and as meant."""
    _, _, rest = url.partition("://")
    found = [url, rest, *re.split(r"[/@:?&=#]", rest)]
    found += [unquote(piece) for piece in found]
    return [piece for piece in found if len(piece) >= SHORTEST_SECRET]


@contextmanager
def _mail_connection() -> Iterator[BaseEmailBackend]:
    """The mail server, also left where it refuses us."""
    connection = get_connection()
    if isinstance(connection, PrintedMail):
        # What a command prints for a program (`--json`) stands alone on standard output.
        connection.stream = sys.stderr
    try:
        connection.open()
        yield connection
    finally:
        # What was sent is sent, however the server says goodbye.
        with suppress(smtplib.SMTPException, OSError):
            connection.close()


@contextmanager
def _mail_errors_as_not_sent(secrets: Sequence[str]) -> Iterator[None]:
    """What may go wrong with a mail, as `NotSent`."""
    try:
        yield
    except (smtplib.SMTPException, OSError) as error:
        # A server that refuses this one message may take the next.
        down = not isinstance(error, smtplib.SMTPDataError)
        raise NotSent(
            f"The mail server did not take it: {redact_secrets(_mail_error_text(error), secrets)}", down=down
        ) from None


def _mail_error_text(error: Exception) -> str:
    """A mail server's answer, or what the network said."""
    if isinstance(error, smtplib.SMTPResponseException):
        said = error.smtp_error
        text = said.decode("utf-8", "replace") if isinstance(said, bytes) else said
        return f"{error.smtp_code} {text}"[:300]
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        # Not whom: an address is personal data.
        return "; ".join(sorted({f"{code} refused a recipient" for code, _ in error.recipients.values()}))
    return f"{type(error).__name__}: {error}"[:300]


def _retry_after_seconds(header: str) -> float:
    """`Retry-After` in seconds; 0 where it is missing, a date or nonsense."""
    return float(header) if re.fullmatch(r"\d{1,5}", header) else 0.0


def _section(text: str) -> dict[str, Any]:
    return {"type": "section", "text": {"type": "mrkdwn", "text": text[:SLACK_TEXT]}}


def _escaped(text: str) -> str:
    """Slack's own escapes; nothing else of a text can become a command or a mention."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")

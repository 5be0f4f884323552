"""Notification channels: e-mail, Slack and every service that Apprise supports.

Errors never contain passwords or tokens.
"""

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
from django.utils.crypto import salted_hmac

MessageContent = dict[str, Any]
# Seconds to connect and between bytes; a dead service delays the other channels by no more than this.
TIMEOUT: Final = (5.0, 10.0)
# Apprise's services have timeouts of 4 s each; some send several requests.
APPRISE_TIMEOUT: Final = 20.0
# Slack rejects a message that exceeds any of its limits.
SLACK_HEADER, SLACK_TEXT, SLACK_FIELDS = 150, 2900, 10
# Shorter parts of a URL are words such as "api", which are not secret.
SHORTEST_SECRET = 6

# Apprise returns its warnings with the result; in a log they could show parts of a secret URL.
logging.getLogger("apprise").addHandler(logging.NullHandler())
logging.getLogger("apprise").propagate = False


class NotSent(Exception):
    """The service did not take the message.

    Attributes:
        down: the channel itself fails, so other messages must wait for the next round.
        retry_after: seconds to wait, as requested by the service; 0 if it did not request any.
    """

    def __init__(self, reason: str, *, down: bool, retry_after: float = 0.0) -> None:
        super().__init__(reason)
        self.down = down
        self.retry_after = retry_after


class Channel(Protocol):
    @property
    def name(self) -> str: ...

    def send(self, subject: str, content: MessageContent) -> None:
        """Send one message now.

        Args:
            content: from `render_message`. Optional: `id`, the same for every attempt at this message, and
                `thread`, the same for all messages of one incident.

        Raises:
            NotSent: the service did not confirm it.
        """
        ...


@dataclass(frozen=True)
class EmailChannel:
    to: tuple[str, ...]
    sender: str
    secrets: tuple[str, ...] = field(default=(), repr=False)
    name: str = "email"

    def send(self, subject: str, content: MessageContent) -> None:
        headers = {"Auto-Submitted": "auto-generated"}
        if content.get("id"):
            # If a process dies after sending, the mail is sent again; mail programs then show it once.
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
    url: str = field(repr=False)
    name: str = "slack"

    def send(self, subject: str, content: MessageContent) -> None:
        try:
            # A redirect would send the message to another host.
            response = requests.post(
                self.url, json=slack_message(subject, content), timeout=TIMEOUT, allow_redirects=False
            )
        except requests.Timeout:
            raise NotSent("Slack did not answer in time", down=True) from None
        except requests.RequestException as error:
            raise NotSent(f"Slack can't be reached: {type(error).__name__}", down=True) from None
        if response.status_code != requests.codes.ok:
            reason = redact_secrets(response.text[:200], secret_parts(self.url))
            raise NotSent(
                f"Slack answered {response.status_code}: {reason}".rstrip(": "),
                # 400 concerns this message; the next one may be accepted.
                down=response.status_code != requests.codes.bad_request,
                retry_after=_retry_after_seconds(response.headers.get("Retry-After", "")),
            )


@dataclass(frozen=True)
class AppriseChannel:
    url: str = field(repr=False)
    name: str

    def send(self, subject: str, content: MessageContent) -> None:
        service = apprise.Apprise()
        if not service.add(self.url):
            raise NotSent("Apprise does not support this URL of ALERT_URLS", down=True)
        result = service.notify(
            body=plain_text(content), title=subject, body_format=apprise.NotifyFormat.TEXT,
            timeout=APPRISE_TIMEOUT,
        )  # fmt: skip
        if not result:
            reason = " ".join(str(entry.message) for entry in result.logs())
            raise NotSent(
                redact_secrets(reason, secret_parts(self.url))[:300] or "the service gave no reason",
                down=True,
            )


def receiver_fingerprint(channel: Channel) -> str:
    """Tells another receiver of the same channel name; keyed, as the URL is secret.

    Empty for e-mail, which is one channel for all recipients.
    """
    if not isinstance(channel, SlackChannel | AppriseChannel):
        return ""
    return salted_hmac("ingestion.alert_channel", channel.url, algorithm="sha256").hexdigest()[:16]


def is_apprise_url(url: str) -> bool:
    return bool(apprise.Apprise().add(url))


def build_channels(
    emails: Sequence[str], sender: str, mail_password: str, slack_url: str, apprise_urls: Sequence[str]
) -> list[Channel]:
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
    width = max((len(name) for name, _ in content["numbers"]), default=0)
    parts = [content["what"], *(f"{title}\n{text}" for title, text in content["sections"])]
    parts.append("\n".join(f"  {name:<{width}}  {value}" for name, value in content["numbers"]))
    if content["link"]:
        parts.append(f"{content['link_text']}\n{content['link']}")
    return "\n\n".join(part for part in parts if part) + "\n"


def slack_message(subject: str, content: MessageContent) -> dict[str, Any]:
    blocks: list[dict[str, Any]] = [
        {"type": "header", "text": {"type": "plain_text", "text": content["headline"][:SLACK_HEADER]}},
        _section(_escaped(content["what"])),
    ]
    if content["sections"]:
        sections = [f"*{_escaped(title)}*\n{_escaped(text)}" for title, text in content["sections"]]
        blocks.append(_section("\n\n".join(sections)))
    if numbers := content["numbers"][:SLACK_FIELDS]:
        fields = [f"*{_escaped(name)}*\n{_escaped(value)}"[:1900] for name, value in numbers]
        blocks.append({"type": "section", "fields": [{"type": "mrkdwn", "text": text} for text in fields]})
    if content["link"]:
        blocks.append(_section(f"<{_escaped(content['link'])}|{_escaped(content['link_text'])}>"))
    return {"text": subject, "blocks": blocks}


def redact_secrets(text: str, secrets: Iterable[str]) -> str:
    for secret in sorted({secret for secret in secrets if secret}, key=len, reverse=True):
        text = text.replace(secret, "***")
    return " ".join(text.split())


def secret_parts(url: str) -> list[str]:
    """The URL and its longer parts, also percent-decoded, because each could be secret."""
    _, _, rest = url.partition("://")
    parts = [url, rest, *re.split(r"[/@:?&=#]", rest)]
    parts += [unquote(part) for part in parts]
    return [part for part in parts if len(part) >= SHORTEST_SECRET]


@contextmanager
def _mail_connection() -> Iterator[BaseEmailBackend]:
    connection = get_connection()
    if isinstance(connection, PrintedMail):
        # Standard output is reserved for a command's own output (`--json`).
        connection.stream = sys.stderr
    try:
        connection.open()
        yield connection
    finally:
        # An error while closing does not matter: the mail has been sent.
        with suppress(smtplib.SMTPException, OSError):
            connection.close()


@contextmanager
def _mail_errors_as_not_sent(secrets: Sequence[str]) -> Iterator[None]:
    try:
        yield
    except (smtplib.SMTPException, OSError) as error:
        # A server that rejects this message may accept the next one.
        down = not isinstance(error, smtplib.SMTPDataError)
        reason = redact_secrets(_mail_error_text(error), secrets)
        raise NotSent(f"The mail server did not accept it: {reason}", down=down) from None


def _mail_error_text(error: Exception) -> str:
    if isinstance(error, smtplib.SMTPResponseException):
        answer = error.smtp_error
        text = answer.decode("utf-8", "replace") if isinstance(answer, bytes) else answer
        return f"{error.smtp_code} {text}"[:300]
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        # Without the address, which is personal data.
        return "; ".join(sorted({f"{code} refused a recipient" for code, _ in error.recipients.values()}))
    return f"{type(error).__name__}: {error}"[:300]


def _retry_after_seconds(header: str) -> float:
    return float(header) if re.fullmatch(r"\d{1,5}", header) else 0.0


def _section(text: str) -> dict[str, Any]:
    return {"type": "section", "text": {"type": "mrkdwn", "text": text[:SLACK_TEXT]}}


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")

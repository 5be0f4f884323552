"""Recipients of alerts: a mail server, and an endpoint that acts as Slack or another web service."""

import asyncio
import json
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

SECRET = "T0AAAAAAA/B0BBBBBBB/c3NlY3JldHNlY3JldA"


class MailServer:
    """A mail server that stores the messages it accepts.

    `answer` may refuse each message with a code. With `hang_up_on_quit`, QUIT closes the connection without
    a response.
    """

    def __init__(self) -> None:
        self.received: list[EmailMessage] = []
        self.recipients: list[list[str]] = []
        self.answer = "250 OK"
        self.hang_up_on_quit = False
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]
        self._controller: Controller | None = None

    def start(self, *, password: str = "") -> None:
        """Start to listen; with a password, clients with another password are rejected."""

        def knows(
            server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any
        ) -> AuthResult:
            right = isinstance(data, LoginPassword) and data.password == password.encode()
            return AuthResult(success=right, handled=right)

        self._controller = Controller(
            self, hostname="127.0.0.1", port=self.port, authenticator=knows if password else None,
            auth_require_tls=False,
        )  # fmt: skip
        self._controller.start()

    def stop(self) -> None:
        if self._controller is not None:
            self._controller.stop()
            self._controller = None

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        if self.answer.startswith("2"):
            assert isinstance(envelope.content, bytes)
            # Also checks that it was a whole mail: the policy's parser knows every header.
            self.received.append(message_from_bytes(envelope.content, policy=policy.default))
            self.recipients.append(envelope.rcpt_tos)
        return self.answer

    async def handle_QUIT(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        if self.hang_up_on_quit:
            assert isinstance(server.transport, asyncio.Transport)
            server.transport.abort()
        return "221 Bye"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class WebhookServer:
    """A server that stores the JSON posted to it, and answers with a given status.

    `before_answer` is called with each body before the response is sent, in the thread of the response.
    """

    def __init__(self, path: str = f"/services/{SECRET}") -> None:
        self.received: list[dict[str, Any]] = []
        self.requests: list[tuple[dict[str, str], bytes]] = []  # headers and bodies, also of refused ones
        self.status = 200
        self.body = b"ok"
        self.headers: dict[str, str] = {}
        self.before_answer: Callable[[dict[str, Any]], object] = lambda _: None
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}{path}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    def texts(self) -> list[str]:
        """The subjects of the accepted messages, as Slack would show them in a notification."""
        return [body["text"] for body in self.received]

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        webhook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                raw = self.rfile.read(int(self.headers["Content-Length"]))
                webhook.requests.append((dict(self.headers), raw))
                body = json.loads(raw)
                webhook.before_answer(body)
                if webhook.status == 200:
                    webhook.received.append(body)
                self.send_response(webhook.status)
                for name, value in {"Content-Length": str(len(webhook.body)), **webhook.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(webhook.body)

            def log_message(self, *args: Any) -> None:
                """Nothing: what came in is in `received`."""

        return Handler

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@dataclass
class AlertRecipients:
    """Two recipients of the same alerts: one by mail, one by Slack."""

    mailbox: MailServer = field(default_factory=MailServer)
    slack: WebhookServer = field(default_factory=WebhookServer)
    _read: int = 0

    def settings(self) -> dict[str, str]:
        """What an installation needs to reach them."""
        return {
            "ALERT_EMAILS": "ada@example.org",
            "EMAIL_URL": f"smtp://127.0.0.1:{self.mailbox.port}",
            "SLACK_WEBHOOK_URL": self.slack.url,
        }

    def new_subjects(self) -> list[str]:
        """The subjects that both got since they were last asked, in order; none was for one alone."""
        mails, posts = self.mail_subjects(), self.slack_subjects()
        assert mails == posts
        new, self._read = mails[self._read :], len(mails)
        return new

    def mail_subjects(self) -> list[str]:
        # A long subject that is not ASCII begins on the header's second line, after a space of the header.
        subjects = [str(mail["Subject"]).lstrip() for mail in self.mailbox.received]
        return [subject.removeprefix("[MoovitaMix] ") for subject in subjects]

    def slack_subjects(self) -> list[str]:
        return [text.removeprefix("[MoovitaMix] ") for text in self.slack.texts()]

    def last_mail_text(self) -> str:
        """The text of the newest mail."""
        body = self.mailbox.received[-1].get_body(("plain",))
        assert body is not None
        return str(body.get_content())

    def __enter__(self) -> Self:
        self.mailbox.__enter__()
        self.slack.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self.slack.__exit__(None, None, None)
        self.mailbox.stop()

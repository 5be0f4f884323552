"""Try whether alerts get through."""

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from ingestion.management.base import require_migrations
from ingestion.models import Notification
from ingestion.services import send_test_alerts

NO_CHANNEL_HELP = """No channel is configured, so nobody is notified when something goes wrong.
Set one or more of these:
  ALERT_EMAILS=ada@example.org,bob@example.org
    and the mail server: EMAIL_URL=smtp+tls://user:password@mail.example.org:587
  SLACK_WEBHOOK_URL=https://hooks.slack.com/services/...
    made at https://api.slack.com/messaging/webhooks
  ALERT_URLS=tgram://token/chat
    any other service, as https://github.com/caronc/apprise names it
in the environment or in .env, then try again: python manage.py testalert"""
PRINTED = (
    "NOT SENT, only printed above: EMAIL_URL names no mail server. "
    "EMAIL_URL=smtp+tls://user:password@mail.example.org:587"
)


class Command(BaseCommand):
    help = (
        "Send a test message through every alert channel that is configured, now, and say of each whether "
        "it was taken. Ends with 1 where one failed, or where there is none."
    )
    requires_system_checks = ("settings",)

    def handle(self, *_: Any, **__: Any) -> None:
        require_migrations()
        tried = send_test_alerts(timezone.now())
        if not tried:
            raise CommandError(NO_CHANNEL_HELP)
        for message in tried:
            self.stdout.write(f"{message.channel}: {_result(message)}")
        sent = Notification.State.SENT
        failed = [message for message in tried if message.state != sent or _is_only_printed(message)]
        if failed:
            raise CommandError(f"{len(failed)} of {len(tried)} channels failed.")


def _result(message: Notification) -> str:
    if message.state != Notification.State.SENT:
        return f"FAILED: {message.error}"
    return PRINTED if _is_only_printed(message) else "sent; look whether it has arrived"


def _is_only_printed(message: Notification) -> bool:
    return message.channel == "email" and settings.EMAIL_BACKEND.endswith("console.EmailBackend")

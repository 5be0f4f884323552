"""Send a test alert through every configured channel."""

from typing import Any

from django.conf import settings
from django.core.management.base import CommandError
from django.utils import timezone

from ingestion.management.base import GuidedCommand, require_migrations
from ingestion.models import Notification
from ingestion.services import send_test_alerts

HELP = """Send a test alert through every configured channel now, and print for each whether it was sent.

example:
  ALERT_EMAILS=ada@example.org EMAIL_URL=smtp+tls://user:password@mail.example.org:587 \\
    python manage.py testalert

next:
  python manage.py watchdog             runs the checks that send alerts

exit codes: 0 every channel was used, 1 a channel failed or none is configured
"""
NO_CHANNEL_HELP = """No channel is configured, so nobody is notified when something goes wrong.
Set one or more of these:
  ALERT_EMAILS=ada@example.org,bob@example.org
    and the mail server: EMAIL_URL=smtp+tls://user:password@mail.example.org:587
  SLACK_WEBHOOK_URL=https://hooks.slack.com/services/...
    create one at https://api.slack.com/messaging/webhooks
  ALERT_URLS=tgram://token/chat
    any other service, in the form of https://github.com/caronc/apprise
in the environment or in .env, then try again: python manage.py testalert"""
PRINTED = (
    "NOT SENT, only printed above: EMAIL_URL names no mail server. Example: "
    "EMAIL_URL=smtp+tls://user:password@mail.example.org:587"
)


class Command(GuidedCommand):
    help = HELP
    requires_system_checks = ("settings",)

    def handle(self, *_: Any, **__: Any) -> None:
        require_migrations()
        notifications = send_test_alerts(timezone.now())
        if not notifications:
            raise CommandError(NO_CHANNEL_HELP)
        for notification in notifications:
            self.stdout.write(f"{notification.channel}: {_result(notification)}")
        sent = Notification.State.SENT
        failed = [one for one in notifications if one.state != sent or _is_only_printed(one)]
        if failed:
            raise CommandError(f"{len(failed)} of {len(notifications)} channels failed.")


def _result(notification: Notification) -> str:
    if notification.state != Notification.State.SENT:
        return f"FAILED: {notification.error}"
    return PRINTED if _is_only_printed(notification) else "sent; check that it has arrived"


def _is_only_printed(notification: Notification) -> bool:
    return notification.channel == "email" and settings.EMAIL_BACKEND.endswith("console.EmailBackend")

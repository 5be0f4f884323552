"""Make a signed link to a listener's page."""

from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError
from django.urls import reverse

from ingestion.api.query_params import is_possible_id
from ingestion.audit import Action, command_actor, record_audit
from ingestion.management.base import GuidedCommand, require_migrations
from ingestion.models import Listener
from recommender.dashboard.listen.access import DEFAULT_DAYS, MAX_DAYS, make_link_token

HELP = """Print a signed link that opens the page of one listener, at the address in SITE_URL.

Until it expires, whoever has the link sees the listener's music and can give feedback in their name.

examples:
  python manage.py listenerlink 1
  python manage.py listenerlink 1 --days 1

next:
  send the link to the listener
"""


class Command(GuidedCommand):
    help = HELP
    requires_system_checks = ("settings",)

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("user_id", type=int, help="the listener's id")
        parser.add_argument(
            "--days", type=int, default=DEFAULT_DAYS,
            help=f"days for which the link is valid, at most {MAX_DAYS} (default: {DEFAULT_DAYS})",
        )  # fmt: skip

    def handle(self, *_: Any, **options: Any) -> None:
        require_migrations()
        listener_id, days = options["user_id"], options["days"]
        if not 1 <= days <= MAX_DAYS:
            raise CommandError(f"--days takes a whole number from 1 to {MAX_DAYS}.")
        if not (is_possible_id(listener_id) and Listener.objects.filter(pk=listener_id).exists()):
            raise CommandError(f"There is no user {listener_id}.")
        record_audit(Action.LINK_MADE, command_actor(), f"listener {listener_id}")
        token = make_link_token(listener_id, days=days)
        self.stdout.write(settings.SITE_URL + reverse("listen_open", args=[token]))

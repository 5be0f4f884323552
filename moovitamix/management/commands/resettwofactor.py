"""Remove a user's authenticator app, for somebody who has lost it."""

from argparse import ArgumentParser
from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import CommandError

from ingestion.audit import Action, command_actor, record_audit
from ingestion.management.base import GuidedCommand, require_migrations
from moovitamix.security.two_factor import remove_app

HELP = """Remove a user's authenticator app: the next login needs the password alone.

For somebody who has lost the app and whom no owner can help in the admin, under Two-factor logins.

examples:
  python manage.py resettwofactor ada

next:
  log in, and set up another app under Two-factor login
"""


class Command(GuidedCommand):
    help = HELP
    requires_system_checks = ("settings",)

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("user", help="the user's name")

    def handle(self, *_: Any, **options: Any) -> None:
        require_migrations()
        user = User.objects.filter(username=options["user"]).first()
        if user is None:
            raise CommandError(f"There is no user {options['user']!r}.")
        if not remove_app(user):
            raise CommandError(f"{user} has not set up an authenticator app.")
        record_audit(Action.ACCOUNT_CHANGED, command_actor(), f"removed two-factor logins of {user}")
        self.stdout.write(f"The authenticator app of {user} is removed.")

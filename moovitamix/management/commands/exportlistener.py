"""Print everything that is stored about a listener."""

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError

from ingestion.audit import Action, command_actor, record_audit
from ingestion.management.base import GuidedCommand, require_migrations
from ingestion.models import Listener
from moovitamix.operations.listener_data import export_listener

HELP = """Print one JSON object with all that is stored about a listener, such as for a request by law: the
source's row, listening sessions, rejected rows, recommendation lists, feedback and experiment data.

examples:
  python manage.py exportlistener 17 > listener-17.json

next:
  python manage.py forgetlistener 17    deletes all of it
"""


class Command(GuidedCommand):
    help = HELP
    requires_system_checks = ("settings",)

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("user_id", type=int, help="the listener's ID at the source")

    def handle(self, *_: Any, **options: Any) -> None:
        require_migrations()
        listener = Listener.objects.filter(pk=options["user_id"]).first()
        if listener is None:
            raise CommandError(f"No listener has the ID {options['user_id']}.")
        self.stdout.write(json.dumps(export_listener(listener), ensure_ascii=False, indent=1))
        record_audit(Action.LISTENER_EXPORTED, command_actor(), f"listener {listener.pk}")

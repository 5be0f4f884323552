"""Validate the open rejections again and import those that are valid now."""

from typing import Any

from django.core.management.base import CommandError

from ingestion.management.base import GuidedCommand, require_migrations
from ingestion.management.progress import TimedStages
from ingestion.models import Rejection
from ingestion.pipeline.run_lifecycle import AlreadyRunning
from ingestion.services import replay_open_rejections

HELP = """Validate the open rejections again and import the rows that are valid now, such as a listening
history whose user has been imported since, or a row that a newer version of MoovitaMix accepts.

example:
  python manage.py replayrejections

next:
  the rejections that remain open are listed in the admin under Rejections
"""


class Command(GuidedCommand):
    help = HELP
    requires_system_checks = ("settings",)

    def handle(self, *_: Any, **__: Any) -> None:
        require_migrations()
        try:
            with TimedStages("replay"):
                imported = replay_open_rejections()
        except AlreadyRunning as busy:
            raise CommandError(str(busy), returncode=3) from busy
        remaining = Rejection.objects.filter(resolved_at=None).count()
        for resource, count in imported.items():
            self.stdout.write(f"{resource}: {count} imported")
        self.stdout.write(f"{sum(imported.values())} rejections imported, {remaining} still open.")

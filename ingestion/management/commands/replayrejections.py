"""Try the refused rows again."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from ingestion.management.base import require_migrations
from ingestion.models import Rejection
from ingestion.pipeline.run_lifecycle import AlreadyRunning
from ingestion.services import replay_open_rejections


class Command(BaseCommand):
    help = (
        "Try every refused row that is still open again, and take in those that are right by now: "
        "a session whose user has arrived, a row that a newer version can read."
    )
    requires_system_checks = ("settings",)

    def handle(self, *_: Any, **__: Any) -> None:
        require_migrations()
        try:
            taken = replay_open_rejections()
        except AlreadyRunning as busy:
            raise CommandError(str(busy), returncode=3) from busy
        left = Rejection.objects.filter(resolved_at=None).count()
        for resource, count in taken.items():
            self.stdout.write(f"{resource}: {count} taken in")
        self.stdout.write(f"{sum(taken.values())} refused rows taken in, {left} still open.")

"""Delete everything that is stored about a listener."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError
from django.db import transaction
from django.utils import timezone

from ingestion.audit import Action, command_actor, record_audit
from ingestion.jobs.lock import abandon_dead_job, find_running
from ingestion.management.base import GuidedCommand, require_migrations
from ingestion.models import Listener
from ingestion.personal_data import forget_listener
from ingestion.pipeline.ingest import LOCKED_EXIT_CODE
from ingestion.pipeline.run_lifecycle import AlreadyRunning, require_idle
from moovitamix.operations.backup import MANIFEST
from moovitamix.operations.listener_data import versions_with_plays
from recommender.engine.artifact import ArtifactUnavailable
from recommender.models import TrainingRun
from recommender.spark.exported_files import delete_exported_sessions, has_exported_sessions

HELP = """Delete a listener with all that is stored about them: name, e-mail address, gender, listening
sessions (also those exported for Spark), rejected rows, recommendation lists and feedback. This can't
be undone. It also names the model versions and the backups in BACKUP_DIR that still hold something of them.

Erase the listener at the source first: the next run imports a listener whom the source still sends.
Listeners whom the source no longer sends lose their personal data by themselves after
FORGET_LISTENERS_DAYS days.

examples:
  python manage.py forgetlistener 17
  python manage.py forgetlistener 17 23 42

next:
  python manage.py retrain              trains a model that knows nothing of the listener

exit codes:
  0  deleted
  1  no listener has this ID; nothing was deleted
  3  an ingestion run is in progress, or a training while sessions are exported for Spark; nothing was
     deleted
"""


class Command(GuidedCommand):
    help = HELP
    requires_system_checks = ("settings",)

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("user_id", type=int, nargs="+", help="the listener's ID at the source")

    def handle(self, *_: Any, **options: Any) -> None:
        require_migrations()
        found = Listener.objects.in_bulk(options["user_id"])
        unknown = [str(pk) for pk in options["user_id"] if pk not in found]
        if unknown:
            raise CommandError(f"No listener has the ID {', '.join(unknown)}. Nothing was deleted.")
        try:
            with transaction.atomic():
                require_idle()
                self._require_no_spark_training()
                for listener in found.values():
                    self._forget(listener)
        except ArtifactUnavailable as error:
            raise CommandError(f"Nothing was deleted: {error}") from None
        except AlreadyRunning as busy:
            raise CommandError(str(busy), returncode=LOCKED_EXIT_CODE) from busy

    def _require_no_spark_training(self) -> None:
        """A training with Spark reads the exported sessions, which are deleted with the listener."""
        if not has_exported_sessions(settings.EXPORT_DIR):
            return
        abandon_dead_job(TrainingRun, timezone.now())
        training = find_running(TrainingRun)
        if training is not None:
            raise CommandError(
                f"Training {training.pk} may be reading the sessions exported for Spark. Nothing was "
                "deleted. Try again when it has ended.",
                returncode=LOCKED_EXIT_CODE,
            )

    def _forget(self, listener: Listener) -> None:
        number, is_sent = listener.pk, listener.missing_since_id is None and listener.unavailable_at is None
        versions = versions_with_plays(number, Path(settings.MODEL_STORAGE))
        deleted = forget_listener(listener)
        record_audit(Action.LISTENER_FORGOTTEN, command_actor(), f"listener {number}")
        rows = ", ".join(f"{name}: {count}" for name, count in deleted.items())
        self.stdout.write(f"Listener {number} was deleted with everything about them. Rows: {rows}.")
        if versions:
            self.stdout.write(
                f"These stored model versions were trained on their plays: {', '.join(versions)}. A full "
                "training (retrain --full) makes one without them; delete the folders of the others when "
                "they are retired."
            )
        if delete_exported_sessions(settings.EXPORT_DIR):
            self.stdout.write(
                "The sessions exported for Spark were deleted; the next training exports the others."
            )
        for backup in self._backups():
            self.stdout.write(f"This backup still holds the listener: {backup}")
        if is_sent:
            self.stderr.write(
                f"The last run still received listener {number} from the source: unless they are erased "
                "there, the next run imports them again."
            )

    def _backups(self) -> list[Path]:
        folder = settings.BACKUP_DIR
        return sorted(manifest.parent for manifest in folder.glob(f"*/{MANIFEST}")) if folder else []

"""Restore a backup into an empty, migrated database."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError

from ingestion.management.base import GuidedCommand, require_migrations
from ingestion.management.progress import StageBars
from moovitamix.operations.backup import BackupDamaged, NotEmpty, restore_backup
from recommender.engine.artifact import ArtifactExists

HELP = """Load a backup into an empty, migrated database and an empty MODEL_STORAGE, and compare the result.

The database may be another engine than the one that was backed up. Everything is loaded in one transaction:
if a table differs from the backup in a single value, nothing is restored.

examples:
  DATABASE_NAME=new.db python manage.py migrate
  DATABASE_NAME=new.db MODEL_STORAGE=var/new-models python manage.py restore /srv/backups/20261129T030000Z

next:
  python manage.py watchdog                        what is wrong now
"""


class Command(GuidedCommand):
    help = HELP
    requires_system_checks = ("settings",)

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("backup", type=Path, help="a folder that `backup` made")

    def handle(self, *_: Any, **options: Any) -> None:
        require_migrations()
        try:
            with StageBars("rows") as bars:
                done = restore_backup(options["backup"].resolve(), Path(settings.MODEL_STORAGE), bars)
        except (BackupDamaged, NotEmpty) as problem:
            raise CommandError(str(problem)) from None
        except ArtifactExists as error:
            raise CommandError(
                f"Nothing was restored: {error} Another database writes to this prefix. Name an empty one in "
                "MODEL_STORAGE."
            ) from None
        except OSError as error:
            raise CommandError(f"Nothing was restored: {error}") from None
        self.stdout.write(
            f"{done.rows} rows and {done.files} model files are restored; every table equals the backup."
        )

"""Back up the database and the models' files."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError
from django.utils import timezone

from ingestion.management.base import GuidedCommand, require_migrations
from ingestion.management.progress import StageBars
from moovitamix.operations.backup import BackupDamaged, delete_old_backups, make_backup, verify_backup

HELP = """Write a backup of every table and every model file into a new folder, while the service runs.

The folder holds one file per table (JSON lines, packed), the models' files and a manifest with hashes. It can
be restored onto SQLite and PostgreSQL alike. It contains personal data: store it encrypted.

examples:
  python manage.py backup /srv/backups
  python manage.py backup                          into BACKUP_DIR, as the timetable does every day
  python manage.py backup --verify /srv/backups/20261129T030000Z

next:
  python manage.py restore FOLDER                  into a new database; docs/operating.md has a restore drill
"""


class Command(GuidedCommand):
    help = HELP
    requires_system_checks = ("settings",)

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("folder", nargs="?", type=Path, help="where to make it (default: BACKUP_DIR)")
        parser.add_argument(
            "--keep", type=int, default=0, help="delete all but so many of the newest backups"
        )
        parser.add_argument(
            "--verify", type=Path, metavar="BACKUP", help="only compare a backup with its hashes"
        )

    def handle(self, *_: Any, **options: Any) -> None:
        if options["verify"]:
            try:
                manifest = verify_backup(options["verify"])
            except BackupDamaged as damage:
                raise CommandError(str(damage)) from None
            self.stdout.write(
                f"All {len(manifest['tables'])} tables and {len(manifest['files'])} files are intact."
            )
            return
        if options["keep"] < 0:
            raise CommandError("--keep is at least 1; without it, all backups are kept.")
        folder = options["folder"] or settings.BACKUP_DIR
        if folder is None:
            raise CommandError("Name a folder, or set BACKUP_DIR: python manage.py backup FOLDER")
        require_migrations()
        try:
            with StageBars("rows") as bars:
                made = make_backup(folder.resolve(), Path(settings.MODEL_STORAGE), timezone.now(), bars)
        except OSError as error:
            raise CommandError(f"No backup was made: {error}") from None
        self.stdout.write(
            f"{made.folder}: {made.rows} rows, {made.files} model files, {made.bytes / 1e6:.1f} MB."
        )
        for old in delete_old_backups(folder.resolve(), options["keep"]):
            self.stdout.write(f"Deleted {old}.")
        if made.damaged:
            raise CommandError(
                "\n".join(
                    f"{label} is not in the backup: {made.damaged[label]}" for label in sorted(made.damaged)
                )
            )

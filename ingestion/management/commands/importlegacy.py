"""Import a SQLite database with the schema of the original project (the seed)."""

import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError

from ingestion.datasets.legacy import LegacyDatabase, NotLegacyDatabase
from ingestion.english import english_label
from ingestion.management.base import GuidedCommand, require_migrations
from ingestion.management.progress import IngestionProgressBar
from ingestion.models import IngestionRun, Song
from ingestion.pipeline.ingest import EXIT_CODES, LOCKED_EXIT_CODE, ingest
from ingestion.pipeline.run_lifecycle import AlreadyRunning
from ingestion.services import ingestion_options

HELP = """Import songs, users and listening histories from a music_data.db of the original project.

The catalogue must be empty. The file is only read. Duplicate rows are repaired and counted; rows that fail
validation are kept as rejections. The import is one ingestion run, with the same quality checks.

example:
  python manage.py importlegacy old/music_data.db

next:
  python manage.py runingest            brings the catalogue up to date from the source

exit codes: as for runingest (0 succeeded, 1 failed, 2 partial, 3 another run is in progress)
"""


class Command(GuidedCommand):
    help = HELP
    requires_system_checks = ("settings",)

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path, help="SQLite file with the tables of the original project")

    def handle(self, *_: Any, **options: Any) -> None:
        require_migrations()
        if Song.objects.exists():
            raise CommandError(
                "The catalogue already holds songs, which an old database must not overwrite. Import into an "
                "empty one: set DATABASE_NAME or DATABASE_URL to a new database and run migrate first."
            )
        progress = IngestionProgressBar()
        try:
            run = ingest(
                LegacyDatabase(options["file"]),
                ingestion_options(trigger=IngestionRun.Trigger.LEGACY),
                progress,
            )
        except NotLegacyDatabase as error:
            raise CommandError(str(error)) from error
        except AlreadyRunning as busy:
            raise CommandError(str(busy), returncode=LOCKED_EXIT_CODE) from busy
        finally:
            progress.close()
        for report in run.reports.all():
            if report.duplicates:
                self.stdout.write(
                    f"{english_label(report, 'resource')}: {report.duplicates} duplicate rows were repaired."
                )
        if run.error:
            self.stderr.write(f"Run {run.pk} {english_label(run, 'status').lower()}: {run.error}")
        self.stdout.write(f"{run.summary}.")
        code = EXIT_CODES[IngestionRun.Status(run.status)]
        if code:
            sys.exit(code)

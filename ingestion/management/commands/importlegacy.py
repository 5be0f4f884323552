"""Take in a database of the seed's schema."""

import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from ingestion.datasets.legacy import LegacyDatabase, NotLegacyDatabase
from ingestion.management.base import require_migrations
from ingestion.management.progress import IngestionProgressBar
from ingestion.models import IngestionRun, Song
from ingestion.pipeline.ingest import EXIT_CODES, LOCKED_EXIT_CODE, ingest
from ingestion.pipeline.run_lifecycle import AlreadyRunning
from ingestion.services import ingestion_options


class Command(BaseCommand):
    help = (
        "Take in a music_data.db of the seed: songs, users and listening history, in one judged run. "
        "Rows that the seed doubled are repaired and counted; rows that can't be read are kept as "
        "rejections. It fills an empty catalogue only; the next runingest brings it up to date."
    )
    requires_system_checks = ("settings",)

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path, help="The seed's SQLite file, which is only read.")

    def handle(self, *_: Any, **options: Any) -> None:
        require_migrations()
        if Song.objects.exists():
            raise CommandError(
                "The catalogue holds songs already, which an old database must not overwrite. "
                "Import into an empty one: set DATABASE_NAME or DATABASE_URL to it and run migrate first."
            )
        watch = IngestionProgressBar()
        try:
            run = ingest(
                LegacyDatabase(options["file"]), ingestion_options(trigger=IngestionRun.Trigger.LEGACY), watch
            )
        except NotLegacyDatabase as error:
            raise CommandError(str(error)) from error
        except AlreadyRunning as busy:
            raise CommandError(str(busy), returncode=LOCKED_EXIT_CODE) from busy
        finally:
            watch.close()
        for report in run.reports.all():
            if report.duplicates:
                self.stdout.write(
                    f"{report.get_resource_display()}: {report.duplicates} doubled rows were repaired."
                )
        if run.error:
            self.stderr.write(f"Run {run.pk} {run.get_status_display().lower()}: {run.error}")
        self.stdout.write(f"{run.summary}.")
        code = EXIT_CODES[IngestionRun.Status(run.status)]
        if code:
            sys.exit(code)

"""Run the ingestion once, now."""

import json
import logging
import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from ingestion.management.base import require_migrations
from ingestion.management.progress import DryRunDiff, format_change
from ingestion.models import IngestionRun
from ingestion.pipeline.ingest import EXIT_CODES, LOCKED_EXIT_CODE
from ingestion.pipeline.run_lifecycle import AlreadyRunning
from ingestion.services import ingest_now
from ingestion.source.errors import without_secrets

REPORT_FIELDS = ("received", "new", "changed", "unchanged", "rejected", "missing", "duplicates", "returned",
            "pages", "requests", "retries", "shifts", "written", "resumed", "unknown_songs",
            "incoherent_times", "latency_p50", "latency_p95", "latency_max", "seconds", "errors")  # fmt: skip

CATALOGUE_RESET_NOTICE = (
    "This is another catalogue: what was learnt of the old one is not used any more, and popular songs are "
    "recommended until a model is trained: python manage.py retrain"
)

HELP = """Read songs, users and listening histories from BASE_URL, judge them, and write what changed.

exit codes:
  0  succeeded: everything the source holds was read, and the catalogue agrees with it
  1  failed: the source could not be read; the catalogue is as it was
  2  partial: too many refused rows, a total that lies or pages that kept moving; what is sure was applied
  3  another run holds the lock
  4  refused: the source looks like another catalogue; nothing was written (see --accept-reset)

examples:
  python manage.py runingest
  python manage.py runingest --dry-run          what would change, and nothing written
  python manage.py runingest --json | jq .status
"""


class Command(BaseCommand):
    help = HELP
    requires_system_checks = ("settings",)

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> Any:
        return super().create_parser(
            prog_name, subcommand, formatter_class=RawDescriptionHelpFormatter, **kwargs
        )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--dry-run",
            action="store_true",
            help="Print the exact difference and write nothing but the run's row.",
        )
        parser.add_argument("--json", action="store_true", help="Print one JSON object instead of text.")
        parser.add_argument(
            "--accept-reset",
            action="store_true",
            help="Take in a source that has a new catalogue: rows of the old one become unavailable at once.",
        )
        parser.add_argument(
            "--show-personal-data",
            action="store_true",
            help="Show names, e-mails and genders in the difference of a dry run.",
        )

    def handle(self, *_: Any, **options: Any) -> None:
        require_migrations()
        logging.captureWarnings(True)
        watch = DryRunDiff(show_personal=options["show_personal_data"])
        try:
            run = ingest_now(watch, dry_run=options["dry_run"], accept_reset=options["accept_reset"])
        except AlreadyRunning as busy:
            self._print_locked(busy, as_json=options["json"])
            sys.exit(LOCKED_EXIT_CODE)
        finally:
            watch.close()
        if options["json"]:
            self.stdout.write(
                json.dumps(run_as_dict(run) | ({"changes": watch.changes} if run.dry_run else {}))
            )
        else:
            self._print_run(run, watch)
        code = EXIT_CODES[IngestionRun.Status(run.status)]
        if code:
            sys.exit(code)

    def _print_run(self, run: IngestionRun, watch: DryRunDiff) -> None:
        for change in watch.changes:
            self.stdout.write(format_change(change))
        if run.error:
            self.stderr.write(f"Run {run.pk} {run.get_status_display().lower()}: {run.error}")
        if run.status == IngestionRun.Status.FAILED:
            self.stderr.write(f"The catalogue is as it was. Source: {without_secrets(settings.BASE_URL)}")
        if run.new_catalogue:
            self.stderr.write(CATALOGUE_RESET_NOTICE)
        prefix = "Dry run, nothing written: " if run.dry_run else ""
        self.stdout.write(f"{prefix}{run.summary or 'nothing was read'}.")

    def _print_locked(self, busy: AlreadyRunning, *, as_json: bool) -> None:
        if as_json:
            facts = {
                "run": busy.run.pk,
                "status": "locked",
                "exit_code": LOCKED_EXIT_CODE,
                "error": str(busy),
            }
            self.stdout.write(json.dumps(facts))
        else:
            self.stderr.write(str(busy))


def run_as_dict(run: IngestionRun) -> dict[str, Any]:
    """A finished run for a program."""
    reports = {report.resource: report for report in run.reports.all()}
    seconds = (run.finished_at - run.started_at).total_seconds() if run.finished_at else 0.0
    return {
        "run": run.pk,
        "status": run.status,
        "exit_code": EXIT_CODES[IngestionRun.Status(run.status)],
        "error": run.error or None,
        "error_kind": run.error_kind or None,
        "dry_run": run.dry_run,
        "seconds": round(seconds, 3),
        "rows_per_second": round(run.rows_per_second),
        "cpu_seconds": round(run.cpu_seconds, 3),
        "peak_memory": run.peak_memory,
        "bytes": run.bytes,
        "resources": {
            resource: {name: getattr(report, name) for name in REPORT_FIELDS}
            for resource, report in reports.items()
        },
    }

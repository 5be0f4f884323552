"""Run one ingestion now."""

import json
import logging
import sys
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError
from django.db import DatabaseError
from django.db.models import QuerySet
from django.utils import timezone

from ingestion.audit import Action, command_actor, record_audit
from ingestion.english import english_label
from ingestion.jobs.lock import describe_error, lock_owner
from ingestion.management.base import GuidedCommand, require_migrations
from ingestion.management.progress import DryRunDiff, format_change
from ingestion.models import IngestionRun
from ingestion.pipeline.ingest import EXIT_CODES, LOCKED_EXIT_CODE
from ingestion.pipeline.run_lifecycle import AlreadyRunning
from ingestion.services import ingest_now
from ingestion.source.errors import without_secrets

logger = logging.getLogger(__name__)

Status = IngestionRun.Status
REPORT_FIELDS = ("received", "new", "changed", "unchanged", "rejected", "missing", "duplicates", "returned",
            "pages", "requests", "retries", "shifts", "written", "resumed", "read_at", "unknown_songs",
            "incoherent_times", "same_key", "expired", "rejection_reasons", "corrections", "future_times",
            "latency_p50", "latency_p95", "latency_max", "seconds",
            "errors")  # fmt: skip

CATALOGUE_RESET_NOTICE = (
    "This is a new catalogue. Models trained on the old one are not used any more, and popular songs are "
    "recommended until a model is trained: python manage.py retrain"
)

HELP = """Import songs, users and listening histories from BASE_URL: read every page, validate every row,
check the quality of the whole, and write what changed.

examples:
  python manage.py runingest
  python manage.py runingest --dry-run          shows what would change and writes nothing
  python manage.py runingest --json | jq .status

next:
  python manage.py retrain                      trains the recommendation model on the new data
  python manage.py runscheduler                 runs the ingestion every day

exit codes:
  0  succeeded: everything was read, and the catalogue agrees with the source
  1  failed: the source could not be read; the catalogue is unchanged
  2  partial: too many rejections, a wrong total or pages that kept moving; the valid part was written
  3  another run is in progress
  4  refused: the source looks like a different catalogue; nothing was written (see --accept-reset)
  5  stopped: by Ctrl-C, SIGTERM or SIGHUP; complete rows may have been written, the next run does the rest
"""


class Command(GuidedCommand):
    help = HELP
    requires_system_checks = ("settings",)

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--dry-run",
            action="store_true",
            help="print every change that a run would make, and write nothing but the run's own record",
        )
        parser.add_argument("--json", action="store_true", help="print one JSON object instead of text")
        parser.add_argument(
            "--accept-reset",
            action="store_true",
            help="accept that the source has a new catalogue: rows of the old one become unavailable at once",
        )
        parser.add_argument(
            "--show-personal-data",
            action="store_true",
            help="show names, e-mail addresses and genders in the changes of a dry run",
        )

    def execute(self, *args: Any, **options: Any) -> str | None:
        if not options.get("json"):
            return super().execute(*args, **options)
        self._has_printed, self._started_at = False, timezone.now()
        self._progress: DryRunDiff | None = None
        try:
            return super().execute(*args, **options)
        except SystemExit as end:
            if not self._has_printed:
                self._print_failure(end)
            raise
        except BrokenPipeError:
            raise
        except BaseException as error:
            if self._has_printed:
                raise
            sys.exit(self._print_failure(error))

    def handle(self, *_: Any, **options: Any) -> None:
        require_migrations()
        logging.captureWarnings(True)
        progress = self._progress = DryRunDiff(show_personal=options["show_personal_data"])
        try:
            run = ingest_now(progress, dry_run=options["dry_run"], accept_reset=options["accept_reset"])
        except AlreadyRunning as busy:
            self._print_locked(busy, as_json=options["json"])
            sys.exit(LOCKED_EXIT_CODE)
        finally:
            progress.close()
        if options["accept_reset"] and not run.dry_run:
            record_audit(Action.CATALOGUE_RESET, command_actor(), f"run {run.pk}, {run.status}")
        if options["json"]:
            self._print_json(run_as_dict(run) | ({"changes": progress.changes} if run.dry_run else {}))
        else:
            self._print_run(run, progress)
        code = EXIT_CODES[IngestionRun.Status(run.status)]
        if code:
            sys.exit(code)

    def _print_json(self, facts: dict[str, Any]) -> None:
        self._has_printed = True
        self.stdout.write(json.dumps(facts, default=str))

    def _runs_of_this_call(self) -> QuerySet[IngestionRun]:
        return IngestionRun.objects.filter(started_at__gte=self._started_at, **lock_owner())

    def _print_failure(self, error: BaseException) -> int:
        run = self._progress.run if self._progress else None
        try:
            # The run of this process, even if it ended before its first stage.
            run = self._runs_of_this_call().order_by("-pk").first() or run
            if run is not None and run.finished_at:
                self._print_json(run_as_dict(run))
                return EXIT_CODES[Status(run.status)]
        except DatabaseError:
            logger.warning("run_not_readable run=%s", run and run.pk)
        finally:
            if isinstance(error, Exception) and not isinstance(error, CommandError | DatabaseError):
                logger.error("run_raised", exc_info=error)
        status = Status.STOPPED if isinstance(error, KeyboardInterrupt) else Status.FAILED
        message = str(error) if isinstance(error, CommandError) else describe_error(error)
        facts = {"run": run and run.pk, "status": status, "exit_code": EXIT_CODES[status], "error": message}
        self._print_json(facts | {"error_kind": type(error).__name__, "resources": {}})
        return EXIT_CODES[status]

    def _print_run(self, run: IngestionRun, progress: DryRunDiff) -> None:
        for change in progress.changes:
            self.stdout.write(format_change(change))
        if run.error:
            self.stderr.write(f"Run {run.pk} {english_label(run, 'status').lower()}: {run.error}")
        if run.status == IngestionRun.Status.FAILED:
            self.stderr.write(f"The catalogue is unchanged. Source: {without_secrets(settings.BASE_URL)}")
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
            self._print_json(facts)
        else:
            self.stderr.write(str(busy))


def run_as_dict(run: IngestionRun) -> dict[str, Any]:
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

"""Delete served lists, candidate lists and model files past their retention time."""

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError

from ingestion.management.base import GuidedCommand, require_migrations
from ingestion.management.progress import StageBars
from recommender.services import delete_expired_lists, delete_old_artifacts

FEWEST_DAYS = 70
HELP = """Delete served lists, candidate lists and exposures that are older than KEEP_LISTS_DAYS.

The daily task does the same at 07:00. Lists of unfinished experiments stay, and so do lists whose
engagement is not final and lists that a report of a wrong style is about. Before the lists of an ended
experiment are deleted, the sums of its days and decisions are sealed; explaindecision compares with them
from then on.

It also deletes the files of model versions that never became champion, but for the newest KEEP_MODELS,
withdrawn ones and those of unfinished experiments.

examples:
  python manage.py deletelists
  python manage.py deletelists --days 180 --json

next:
  python manage.py explaindecision              still explains every decision
"""


class Command(GuidedCommand):
    help = HELP
    requires_system_checks = ("settings",)

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--days", type=int, help=f"keep so many days, at least {FEWEST_DAYS} (default: KEEP_LISTS_DAYS)"
        )
        parser.add_argument("--json", action="store_true", help="print one JSON object instead of text")

    def handle(self, *_: Any, **options: Any) -> None:
        require_migrations()
        days = options["days"]
        if days is not None and days < FEWEST_DAYS:
            raise CommandError(f"Keep at least {FEWEST_DAYS} days: drift compares the last nine weeks.")
        with StageBars("rows") as bars:
            deleted = {**delete_expired_lists(days, bars), "artifacts": delete_old_artifacts()}
        if options["json"]:
            self.stdout.write(json.dumps(deleted))
            return
        self.stdout.write(
            f"Deleted {deleted['served_lists']} served lists, {deleted['candidate_lists']} candidate lists, "
            f"{deleted['exposures']} exposures and the files of {deleted['artifacts']} model versions. "
            f"Sealed the sums of {deleted['sealed_experiments']} experiments."
        )

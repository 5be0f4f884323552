"""Compare the last week with the weeks before it, to find drift."""

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError

from ingestion.english import english_label
from ingestion.management.base import GuidedCommand, require_migrations
from ingestion.management.progress import TimedStages
from recommender.models import DriftReport
from recommender.monitoring.alerts import describe_causes
from recommender.registry import registry
from recommender.retraining import check_drift_now

HELP = """Compare the last week with the eight weeks before it: new songs, what listeners play by themselves,
what they play from recommended lists, and their feedback.

The reports are stored, and an alarm opens an incident. This command does not train: the weekly task runs a
full retrain if drift makes one due.

examples:
  python manage.py checkdrift
  python manage.py checkdrift --json

next:
  python manage.py retrain --full               if the command says that a full retrain is due
"""


class Command(GuidedCommand):
    help = HELP
    requires_system_checks = ("settings",)

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="print one JSON object instead of text")

    def handle(self, *_: Any, **options: Any) -> None:
        require_migrations()
        if registry.current_champion() is None:
            raise CommandError(registry.NO_MODEL)
        with TimedStages("drift check"):
            reports, is_due = check_drift_now()
        if not reports:
            raise CommandError("The champion's files are missing or damaged: nothing could be compared.")
        if options["json"]:
            facts = {
                "reports": [_report_as_json(report) for report in reports],
                "full_retrain_is_due": is_due,
            }
            self.stdout.write(json.dumps(facts))
            return
        self.stdout.write(f"The week of {reports[0].week} compared with the eight weeks before it:")
        for report in reports:
            self.stdout.write(f"  {_report_line(report)}")
        if is_due:
            self.stdout.write("A full retrain is due: python manage.py retrain --full")


def _report_as_json(report: DriftReport) -> dict[str, Any]:
    names = ("kind", "n", "listeners", "p", "effect", "limit", "drifted", "alarm", "causes",
             "season")  # fmt: skip
    return {"week": report.week.isoformat(), **{name: getattr(report, name) for name in names}}


def _report_line(report: DriftReport) -> str:
    name = english_label(report, "kind")
    sample = f"n = {report.n}, {report.listeners} listeners"
    if report.p is None or not report.n:
        return f"{name}: not enough data ({sample})"
    result = "ALARM" if report.alarm else "drift" if report.drifted else "no drift"
    causes = f": {describe_causes(report)}" if report.drifted else ""
    return (
        f"{name}: {result} (effect {report.effect:.3f}, limit {report.limit:.3f}, p {report.p:.4f}, "
        f"{sample}){causes}"
    )

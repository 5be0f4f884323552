"""Look whether the world has moved away from what the champion learnt."""

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from ingestion.management.base import require_migrations
from recommender.models import DriftReport
from recommender.monitoring.alerts import describe_causes
from recommender.registry import registry
from recommender.retraining import check_drift_now


class Command(BaseCommand):
    help = (
        "Compare the week that is over with the eight before it: what listeners play of their own, what they "
        "play of what they were recommended, and what they say. The reports are stored; an alarm opens an "
        "incident. It trains nothing: the weekly task does. Examples: python manage.py checkdrift; "
        "python manage.py checkdrift --json"
    )
    requires_system_checks = ("settings",)

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="Print one JSON object instead of text.")

    def handle(self, *_: Any, **options: Any) -> None:
        require_migrations()
        if registry.current_champion() is None:
            raise CommandError(registry.NO_MODEL)
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
        self.stdout.write(f"The week of {reports[0].week} against the eight before it:")
        for report in reports:
            self.stdout.write(f"  {_report_line(report)}")
        if is_due:
            self.stdout.write("A full retrain is due: python manage.py retrain --full")


def _report_as_json(report: DriftReport) -> dict[str, Any]:
    names = ("kind", "n", "listeners", "p", "effect", "limit", "drifted", "alarm", "causes",
             "season")  # fmt: skip
    return {"week": report.week.isoformat(), **{name: getattr(report, name) for name in names}}


def _report_line(report: DriftReport) -> str:
    name = report.get_kind_display()
    if report.p is None or not report.n:
        return f"{name}: too little to tell ({report.n} by {report.listeners} listeners)."
    said = "ALARM" if report.alarm else "moved" if report.drifted else "as before"
    moved = f": {describe_causes(report)}" if report.drifted else ""
    return (
        f"{name}: {said} (effect {report.effect:.3f}, limit {report.limit:.3f}, p {report.p:.4f}, "
        f"{report.n} by {report.listeners} listeners){moved}"
    )

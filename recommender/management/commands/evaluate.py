"""Evaluate a version on the latest week."""

import json
from argparse import ArgumentParser
from dataclasses import asdict
from typing import Any

from django.core.management.base import CommandError

from ingestion.management.base import GuidedCommand, require_migrations
from ingestion.management.progress import TimedStages
from recommender.engine.artifact import ArtifactError
from recommender.management.output import metrics_table
from recommender.registry.registry import RegistryError
from recommender.retraining import evaluate_pair, evaluate_version

HELP = """Compare a version with popularity, a random order and RP3beta, on the songs that listeners played
for the first time in the latest week.

A version that was trained on that week scores too high, and the command says so. `retrain` evaluates each
version before it trains on the week.

examples:
  python manage.py evaluate                     the champion
  python manage.py evaluate 2026w46.1 --json
  python manage.py evaluate 2026w46.1 --against 2026w44.1     two versions, paired by listener

next:
  python manage.py promote 2026w46.1 --reason ...
"""


class Command(GuidedCommand):
    help = HELP
    requires_system_checks = ("settings",)

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "version", nargs="?", help="label of the version, such as 2026w47.1 (default: the champion)"
        )
        parser.add_argument("--against", metavar="VERSION", help="compare with this version on the same week")
        parser.add_argument("--json", action="store_true", help="print one JSON object instead of text")

    def handle(self, *_: Any, **options: Any) -> None:
        require_migrations()
        if options["against"]:
            self._compare(options)
            return
        try:
            with TimedStages("evaluation") as stages:
                evaluation = evaluate_version(options["version"], stages.begin)
        except (RegistryError, ArtifactError) as error:
            raise CommandError(str(error)) from error
        if options["json"]:
            facts = {
                "version": evaluation.label,
                "metrics": evaluation.metrics,
                "has_seen_the_week": evaluation.trained_on_the_week,
            }
            self.stdout.write(json.dumps(facts))
            return
        self.stdout.write(f"Version {evaluation.label}:\n{metrics_table(evaluation.metrics)}")
        if evaluation.trained_on_the_week:
            self.stdout.write(
                "These numbers are too high, because the version was trained on that week. Its evaluation "
                f"before it trained on it:\n{metrics_table(evaluation.training_metrics)}"
            )

    def _compare(self, options: dict[str, Any]) -> None:
        if not options["version"]:
            raise CommandError("Name the version to compare: evaluate VERSION --against OTHER")
        try:
            with TimedStages("comparison"):
                pair = evaluate_pair(options["version"], options["against"])
        except (RegistryError, ArtifactError) as error:
            raise CommandError(str(error)) from error
        self.stdout.write(json.dumps(asdict(pair)) if options["json"] else pair.sentence)

"""Measure a version on the latest week."""

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from ingestion.management.base import require_migrations
from recommender.engine.artifact import ArtifactError
from recommender.management.output import metrics_table
from recommender.registry.registry import RegistryError
from recommender.retraining import evaluate_version


class Command(BaseCommand):
    help = (
        "Measure a version (the champion by default) beside popularity, chance and RP3beta, on the songs "
        "that listeners played for the first time in the latest week. A version that has learnt from it "
        "already knows the answers, and it says so: `retrain` measures fairly before it learns. Examples: "
        "python manage.py evaluate; python manage.py evaluate 2026w46.1 --json"
    )
    requires_system_checks = ("settings",)

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("version", nargs="?", help="A label, such as 2026w47.1; the champion by default.")
        parser.add_argument("--json", action="store_true", help="Print one JSON object instead of text.")

    def handle(self, *_: Any, **options: Any) -> None:
        require_migrations()
        try:
            found = evaluate_version(options["version"])
        except (RegistryError, ArtifactError) as error:
            raise CommandError(str(error)) from error
        if options["json"]:
            facts = {
                "version": found.label,
                "metrics": found.metrics,
                "has_seen_the_week": found.trained_on_the_week,
            }
            self.stdout.write(json.dumps(facts))
            return
        self.stdout.write(f"Version {found.label}:\n{metrics_table(found.metrics)}")
        if found.trained_on_the_week:
            self.stdout.write(
                "Its row is too good: this version has learnt from that week. What `retrain` measured before "
                f"it did:\n{metrics_table(found.training_metrics)}"
            )

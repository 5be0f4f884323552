"""Make a version the champion."""

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from ingestion.management.base import require_migrations
from recommender.engine.artifact import ArtifactError
from recommender.management.output import promotion_as_json
from recommender.registry.registry import RegistryError
from recommender.services import promote_version


class Command(BaseCommand):
    help = (
        "Make a version the champion: every list is drawn from it within 5 seconds. Its files are "
        "verified first; the change and its reason stand in the ledger. Example: "
        "python manage.py promote 2026w47.1 --reason 'better on three weeks'"
    )
    requires_system_checks = ("settings",)

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("version", help="Its label, such as 2026w47.1.")
        parser.add_argument("--reason", required=True, help="Why, for whoever reads the ledger.")
        parser.add_argument("--json", action="store_true", help="Print one JSON object instead of text.")

    def handle(self, *_: Any, **options: Any) -> None:
        require_migrations()
        try:
            promotion = promote_version(options["version"], reason=options["reason"], by="promote")
        except (RegistryError, ArtifactError) as error:
            said = f"{error} Nothing was changed."
            if options["json"]:
                self.stdout.write(json.dumps({"error": said}))
            raise CommandError(said) from error
        if options["json"]:
            self.stdout.write(json.dumps(promotion_as_json(promotion)))
            return
        instead = f" instead of {promotion.replaced.label}" if promotion.replaced else ""
        self.stdout.write(f"{promotion.promoted.label} is champion{instead}.")

"""Make a version the champion."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from ingestion.schema_state import require_tables
from recommender.configuration import promote_now
from recommender.engine.artifact import ArtifactError
from recommender.registry import RegistryError


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

    def handle(self, *_: Any, **options: Any) -> None:
        require_tables()
        try:
            promotion = promote_now(options["version"], reason=options["reason"], by="promote")
        except (RegistryError, ArtifactError) as error:
            raise CommandError(f"{error} Nothing was changed.") from error
        instead = f" instead of {promotion.replaced.label}" if promotion.replaced else ""
        self.stdout.write(f"{promotion.promoted.label} is champion{instead}.")

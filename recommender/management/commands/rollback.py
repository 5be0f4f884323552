"""Withdraw the champion."""

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from ingestion.management.base import require_migrations
from recommender.management.output import promotion_as_json
from recommender.registry.registry import RegistryError
from recommender.services import roll_back_champion


class Command(BaseCommand):
    help = (
        "Withdraw the champion for good and bring back the last good version before it. Twice goes further "
        "back. Versions whose files are damaged are passed over. Example: "
        "python manage.py rollback --reason 'complaints about the new lists'"
    )
    requires_system_checks = ("settings",)

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--reason", required=True, help="Why, for whoever reads the ledger.")
        parser.add_argument("--json", action="store_true", help="Print one JSON object instead of text.")

    def handle(self, *_: Any, **options: Any) -> None:
        require_migrations()
        try:
            promotion = roll_back_champion(reason=options["reason"], by="rollback")
        except RegistryError as error:
            said = f"{error} Nothing was changed."
            if options["json"]:
                self.stdout.write(json.dumps({"error": said}))
            raise CommandError(said) from error
        if options["json"]:
            self.stdout.write(json.dumps(promotion_as_json(promotion)))
            return
        self.stdout.write(f"{promotion.replaced} is withdrawn; {promotion.promoted.label} is champion again.")

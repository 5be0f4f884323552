"""Withdraw the champion."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from ingestion.schema_state import require_tables
from recommender.configuration import roll_back_now
from recommender.registry import RegistryError


class Command(BaseCommand):
    help = (
        "Withdraw the champion for good and bring back the last good version before it. Twice goes further "
        "back. Versions whose files are damaged are passed over. Example: "
        "python manage.py rollback --reason 'complaints about the new lists'"
    )
    requires_system_checks = ("settings",)

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--reason", required=True, help="Why, for whoever reads the ledger.")

    def handle(self, *_: Any, **options: Any) -> None:
        require_tables()
        try:
            promotion = roll_back_now(reason=options["reason"], by="rollback")
        except RegistryError as error:
            raise CommandError(f"{error} Nothing was changed.") from error
        self.stdout.write(f"{promotion.replaced} is withdrawn; {promotion.promoted.label} is champion again.")

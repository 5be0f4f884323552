"""Withdraw the champion and bring back the version before it."""

from argparse import ArgumentParser
from typing import Any

from ingestion.management.base import GuidedCommand
from recommender.management.promotions import add_promotion_arguments, change_champion
from recommender.services import roll_back_champion

HELP = """Permanently withdraw the champion and bring back the last good version before it.

Used twice, it goes further back: a withdrawn version never returns. Versions with damaged files are skipped.

example:
  python manage.py rollback --reason 'complaints about the new lists'

next:
  python manage.py recommend 1                  draws a list from the restored champion
"""


class Command(GuidedCommand):
    help = HELP
    requires_system_checks = ("settings",)

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_promotion_arguments(parser)

    def handle(self, *_: Any, **options: Any) -> None:
        change_champion(
            lambda: roll_back_champion(reason=options["reason"], by="rollback"),
            self,
            as_json=options["json"],
        )

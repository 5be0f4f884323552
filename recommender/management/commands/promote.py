"""Make a version the champion."""

from argparse import ArgumentParser
from typing import Any

from ingestion.management.base import GuidedCommand
from recommender.management.promotions import add_promotion_arguments, change_champion
from recommender.services import promote_version

HELP = """Make a version the champion: within 5 seconds every process draws its lists from it.

Its files are verified first. The change and its reason are stored; the admin lists them under Promotions.

example:
  python manage.py promote 2026w47.1 --reason 'better on three weeks'

next:
  python manage.py recommend 1                  draws a list from the new champion
  python manage.py rollback --reason ...        brings back the version before it
"""


class Command(GuidedCommand):
    help = HELP
    requires_system_checks = ("settings",)

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("version", help="label of the version, such as 2026w47.1")
        add_promotion_arguments(parser)

    def handle(self, *_: Any, **options: Any) -> None:
        change_champion(
            lambda: promote_version(options["version"], reason=options["reason"], by="promote"),
            self,
            as_json=options["json"],
        )

"""Prepare the shelves that lists are drawn from."""

import json
import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand
from django.utils import timezone
from tqdm import tqdm

from recommender.registry import model_loader
from recommender.serving import candidate_cache

HELP = """Make a shelf of candidates for each active listener who has none, or a stale one.

Active is who listened or said something within 90 days. A shelf is stale when the listener did something
since, or when another model has become champion. A request with a fresh shelf is answered without asking
the model; one without is answered too, some milliseconds later. The timetable does this every 15 minutes.

examples:
  python manage.py prepareshelves
  python manage.py prepareshelves --all       fresh shelves too
  python manage.py prepareshelves --json
"""


class Command(BaseCommand):
    help = HELP
    requires_system_checks = ("settings",)

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> Any:
        return super().create_parser(
            prog_name, subcommand, formatter_class=RawDescriptionHelpFormatter, **kwargs
        )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--all", action="store_true", help="Also renew shelves that are fresh.")
        parser.add_argument("--json", action="store_true", help="Print one JSON object instead of text.")

    def handle(self, *_: Any, **options: Any) -> None:
        now, loaded = timezone.now(), model_loader.current_model(settings.MODEL_STORAGE)
        if loaded.degraded:
            self.stderr.write(loaded.degraded)
        listeners = (
            list(candidate_cache.active_listeners(now).values_list("pk", flat=True))
            if options["all"]
            else candidate_cache.listeners_due(loaded, now)
        )
        with tqdm(
            total=len(listeners), desc="shelves", unit=" listeners", file=sys.stderr,
            disable=not sys.stderr.isatty(),
        ) as bar:  # fmt: skip
            made = candidate_cache.prepare_lists(listeners, loaded, now, on_progress=bar.update)
        version = loaded.model.version.label if loaded.model else None
        if options["json"]:
            self.stdout.write(json.dumps({"shelves": made, "model_version": version}))
        else:
            self.stdout.write(f"Made {made} shelves with {version or 'popularity, for want of a model'}.")

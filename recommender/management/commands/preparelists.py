"""Prepare the candidate lists that recommendations are drawn from."""

import json
from argparse import ArgumentParser
from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError
from django.utils import timezone
from tqdm import tqdm

from ingestion.management.base import GuidedCommand, require_migrations
from ingestion.management.progress import progress_bar
from recommender.engine.algorithms.engines import EngineUnavailable
from recommender.management.output import POPULARITY
from recommender.registry import model_loader
from recommender.registry.model_loader import LoadedModel
from recommender.serving.candidates import candidate_cache
from recommender.spark.launch import prepare_lists_on_spark

HELP = """Prepare the candidate list of each active listener who has none, or whose list is stale.

A listener is active for 90 days after listening or feedback. A candidate list is stale if the listener has
listened or given feedback since, or if the champion has changed. A request with a fresh list is answered
without the model; without one it takes some milliseconds longer. A periodic task does this every 15 minutes.
`prepareshelves` is the former name of this command and still works.

examples:
  python manage.py preparelists
  python manage.py preparelists --all           renews fresh lists too
  python manage.py preparelists --json
  python manage.py preparelists --engine spark --master spark://host:7077

next:
  python manage.py recommend 1                  draws recommendations from the candidate list of user 1
"""


class Command(GuidedCommand):
    help = HELP
    requires_system_checks = ("settings",)

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--all", action="store_true", help="renew fresh lists too")
        parser.add_argument(
            "--engine", choices=("local", "spark"), default="local",
            help="spark: Spark's workers make the lists, which are the same (default: local)",
        )  # fmt: skip
        parser.add_argument(
            "--master", metavar="ADDRESS",
            help="where Spark computes: spark://HOST:7077, or local[*], this machine (default: SPARK_MASTER)",
        )  # fmt: skip
        parser.add_argument("--json", action="store_true", help="print one JSON object instead of text")

    def handle(self, *_: Any, **options: Any) -> None:
        require_migrations()
        now, loaded = timezone.now(), model_loader.current_model(settings.MODEL_STORAGE)
        if loaded.degraded:
            self.stderr.write(loaded.degraded)
        if options["all"]:
            listeners = list(candidate_cache.active_listeners(now).values_list("pk", flat=True))
        else:
            listeners = candidate_cache.listeners_due(loaded, now)
        with progress_bar("candidate lists", "listeners", len(listeners)) as bar:
            if options["engine"] == "spark":
                prepared = self._prepare_on_spark(options, listeners, loaded, bar)
            elif options["all"]:
                prepared = candidate_cache.renew_all(listeners, loaded, now, on_progress=bar.update)
            else:
                prepared = candidate_cache.prepare_due(loaded, now, on_progress=bar.update, due=listeners)
        left_out = len(listeners) - prepared if options["all"] else 0
        self._report(prepared, left_out, loaded, as_json=options["json"])

    def _report(self, prepared: int, left_out: int, loaded: LoadedModel, *, as_json: bool) -> None:
        version = loaded.model.version.label if loaded.model else None
        if as_json:
            # "shelves" is the former name of "lists".
            facts = {"lists": prepared, "shelves": prepared, "left_out": left_out, "model_version": version}
            self.stdout.write(json.dumps(facts))
            return
        self.stdout.write(f"Prepared {prepared} candidate lists with {version or POPULARITY}.")
        if left_out:
            self.stdout.write(
                f"{left_out} listeners got no new list: another process prepares them, or the log says why."
            )

    def _prepare_on_spark(
        self, options: dict[str, Any], listeners: Sequence[int], loaded: LoadedModel, bar: "tqdm[Any]"
    ) -> int:
        try:
            return prepare_lists_on_spark(
                options["master"], listeners, loaded, bar.update, renews_fresh=options["all"]
            )
        except EngineUnavailable as error:
            raise CommandError(str(error)) from error

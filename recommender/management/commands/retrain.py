"""Train a new version, now."""

import json
import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from typing import Any

from django.core.management.base import BaseCommand

from ingestion.schema_state import require_tables
from recommender.configuration import retrain_now
from recommender.models import TrainingRun
from recommender.terminal import TerminalWatch, clusters_text, metrics_table
from recommender.training import EXIT_CODES, LOCKED_EXIT_CODE, AlreadyTraining

HELP = """Learn a new version from songs and listening, measure it on the latest week, and store it.

The first good version becomes champion by itself; a later one is a candidate until you promote it.
Lists go on being drawn from the champion meanwhile, and from the new one within 5 seconds of a promotion.

exit codes:
  0  succeeded
  1  failed: what served before goes on serving
  3  another training holds the lock
  4  refused: there is nothing to learn from, and it says what is missing

examples:
  python manage.py retrain
  python manage.py retrain --promote           and make it champion
  python manage.py retrain --clusters 40
  python manage.py retrain --json | jq .metrics.mix.ndcg
"""


class Command(BaseCommand):
    help = HELP

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> Any:
        return super().create_parser(
            prog_name, subcommand, formatter_class=RawDescriptionHelpFormatter, **kwargs
        )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--promote", action="store_true", help="Make it champion, whoever is.")
        parser.add_argument("--clusters", type=int, help="How many groups of songs.")
        parser.add_argument("--seed", type=int, default=7, help="The same data and seed give the same model.")
        parser.add_argument("--full", action="store_true", help="Noted in the training's row.")
        parser.add_argument("--json", action="store_true", help="Print one JSON object instead of text.")

    def handle(self, *_: Any, **options: Any) -> None:
        require_tables()
        watch = TerminalWatch()
        try:
            run = retrain_now(
                watch, promote=options["promote"], n_clusters=options["clusters"], seed=options["seed"],
                full=options["full"], by="retrain --promote" if options["promote"] else "training",
            )  # fmt: skip
        except AlreadyTraining as busy:
            self._tell_locked(busy, as_json=options["json"])
            sys.exit(LOCKED_EXIT_CODE)
        finally:
            watch.close()
        self._tell(run, as_json=options["json"])
        code = EXIT_CODES[TrainingRun.Status(run.status)]
        if code:
            sys.exit(code)

    def _tell(self, run: TrainingRun, *, as_json: bool) -> None:
        if as_json:
            self.stdout.write(json.dumps(facts_of(run)))
        elif run.version is None:
            self.stderr.write(f"Training {run.pk} {run.get_status_display().lower()}: {run.error}")
        else:
            self.stdout.write(f"{metrics_table(run.version.metrics)}\n\n{clusters_text(run.version)}\n")
            self.stdout.write(run.summary)

    def _tell_locked(self, busy: AlreadyTraining, *, as_json: bool) -> None:
        if as_json:
            facts = {
                "training": busy.run.pk,
                "status": "locked",
                "exit_code": LOCKED_EXIT_CODE,
                "error": str(busy),
            }
            self.stdout.write(json.dumps(facts))
        else:
            self.stderr.write(str(busy))


def facts_of(run: TrainingRun) -> dict[str, Any]:
    """A finished training for a program."""
    version = run.version
    facts: dict[str, Any] = {
        "training": run.pk, "status": run.status, "exit_code": EXIT_CODES[TrainingRun.Status(run.status)],
        "error": run.error or None, "error_kind": run.error_kind or None, "summary": run.summary,
        "cpu_seconds": round(run.cpu_seconds, 3), "peak_memory": run.peak_memory,
    }  # fmt: skip
    if version is not None:
        facts |= {
            "version": version.label, "role": version.role, "songs": version.n_songs,
            "listeners": version.n_listeners, "plays": version.n_plays, "clusters": version.n_clusters,
            "seconds": round(version.seconds, 3), "metrics": version.metrics, "cohesion": version.cohesion,
        }  # fmt: skip
    return facts

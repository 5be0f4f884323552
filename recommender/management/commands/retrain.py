"""Train a new version, now."""

import json
import sys
from argparse import SUPPRESS, ArgumentParser, ArgumentTypeError, RawDescriptionHelpFormatter
from typing import Any, NoReturn

from django.core.management.base import BaseCommand

from ingestion.jobs.lock import LockLost
from ingestion.management.base import require_migrations
from recommender.management.output import TerminalProgress, clusters_text, metrics_table
from recommender.models import ModelVersion, TrainingRun
from recommender.retraining import retrain_now
from recommender.training.train import EXIT_CODES, FAILED_EXIT_CODE, LOCKED_EXIT_CODE, AlreadyTraining

HELP = """Learn a new version from songs and listening, measure it on the latest week, and store it.

The first good version becomes champion by itself; a later one is a candidate until you promote it.
Lists go on being drawn from the champion meanwhile, and from the new one within 5 seconds of a promotion.

methods:
  mix      clusters draw, a blend of what similar listeners play ranks (the default)
  classic  K-means clusters of songs that are alike, drawn by affinity, and any song of them

exit codes:
  0  succeeded
  1  failed: what served before goes on serving
  3  another training holds the lock
  4  refused: there is nothing (new) to learn from, and it says what is missing

examples:
  python manage.py retrain
  python manage.py retrain --promote           and make it champion
  python manage.py retrain --if-new            only where songs or listening came in, or songs changed, since
  python manage.py retrain --full              new scales and clusters, instead of carrying the champion's on
  python manage.py retrain --method classic
  python manage.py retrain --clusters 40
  python manage.py retrain --json | jq .metrics.mix.ndcg
"""


class Command(BaseCommand):
    help = HELP
    requires_system_checks = ("settings",)

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> Any:
        return super().create_parser(
            prog_name, subcommand, formatter_class=RawDescriptionHelpFormatter, **kwargs
        )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--promote", action="store_true", help="Make it champion, whoever is.")
        parser.add_argument(
            "--method", choices=ModelVersion.Method.values, default="mix", help="What to learn (see above)."
        )
        parser.add_argument("--clusters", type=positive_integer, help="How many groups of songs.")
        parser.add_argument("--seed", type=int, default=7, help="The same data and seed give the same model.")
        parser.add_argument(
            "--if-new", action="store_true", help="Refuse where the newest version knows all there is."
        )
        parser.add_argument(
            "--full", action="store_true",
            help="Begin afresh: new scales, and as many clusters as the latest week's plays choose.",
        )  # fmt: skip
        parser.add_argument("--trigger", choices=TrainingRun.Trigger.values, default="command", help=SUPPRESS)
        parser.add_argument("--json", action="store_true", help="Print one JSON object instead of text.")

    def handle(self, *_: Any, **options: Any) -> None:
        require_migrations()
        watch = TerminalProgress()
        try:
            run = retrain_now(
                watch, trigger=options["trigger"], method=options["method"], promote=options["promote"],
                n_clusters=options["clusters"],
                seed=options["seed"], full=options["full"], only_if_new=options["if_new"],
                by="retrain --promote" if options["promote"] else "training",
            )  # fmt: skip
        except AlreadyTraining as busy:
            self._exit_unfinished(busy.run, "locked", str(busy), LOCKED_EXIT_CODE, as_json=options["json"])
        except (LockLost, OSError, MemoryError) as error:
            # What a person can mend: a full disk, too little memory, a training taken for dead.
            failed = TrainingRun.objects.first()
            self._exit_unfinished(
                failed, "failed", _error_text(error), FAILED_EXIT_CODE, as_json=options["json"]
            )
        finally:
            watch.close()
        self._print_result(run, as_json=options["json"])
        code = EXIT_CODES[TrainingRun.Status(run.status)]
        if code:
            sys.exit(code)

    def _print_result(self, run: TrainingRun, *, as_json: bool) -> None:
        if as_json:
            self.stdout.write(json.dumps(training_as_json(run)))
        elif run.version is None:
            self.stderr.write(f"Training {run.pk} {run.get_status_display().lower()}: {run.error}")
        else:
            self.stdout.write(f"{metrics_table(run.version.metrics)}\n\n{clusters_text(run.version)}\n")
            self.stdout.write(run.summary)

    def _exit_unfinished(
        self, run: TrainingRun | None, status: str, text: str, code: int, *, as_json: bool
    ) -> NoReturn:
        if as_json:
            facts = {"training": run and run.pk, "status": status, "exit_code": code, "error": text}
            self.stdout.write(json.dumps(facts))
        else:
            self.stderr.write(text)
        sys.exit(code)


def positive_integer(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ArgumentTypeError("at least 1")
    return number


def _error_text(error: BaseException) -> str:
    what = str(error) or "there is not enough memory"
    return what if isinstance(error, LockLost) else f"The training failed, and all is as it was: {what}"


def training_as_json(run: TrainingRun) -> dict[str, Any]:
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

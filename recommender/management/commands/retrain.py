"""Train a version now."""

import json
import sys
from argparse import SUPPRESS, ArgumentParser, ArgumentTypeError
from typing import Any, NoReturn

from ingestion.english import english_label
from ingestion.jobs.lock import LockLost
from ingestion.management.base import GuidedCommand, require_migrations
from ingestion.management.progress import TimedStages
from recommender.management.output import TerminalProgress, clusters_text, metrics_table
from recommender.models import ModelVersion, TrainingRun
from recommender.retraining import retrain_now
from recommender.training.train import EXIT_CODES, FAILED_EXIT_CODE, LOCKED_EXIT_CODE, AlreadyTraining

HELP = """Train a version from songs and listening, evaluate it on the latest week, and store it.

The first good version becomes the champion; later ones are candidates. Lists are drawn from the champion
during the training, and from a new champion within 5 seconds of its promotion.

methods:
  mix           draws a cluster, and ranks its songs by what similar listeners play (default)
  classic       draws a K-means cluster by affinity, and any of its songs

examples:
  python manage.py retrain
  python manage.py retrain --promote            makes the version champion
  python manage.py retrain --if-new             only if there is new data since the newest version
  python manage.py retrain --full               new clusters, instead of a warm start from the champion's
  python manage.py retrain --engine spark --master spark://host:7077
  python manage.py retrain --json | jq .metrics.mix.ndcg

next:
  python manage.py recommend 1                  draws a list for user 1
  python manage.py promote LABEL --reason ...   makes a candidate champion

exit codes: 0 succeeded, 1 failed (the champion still serves), 3 another training holds the lock, 4 refused
(no data or no new data; the message says what is missing)
"""


class Command(GuidedCommand):
    help = HELP
    requires_system_checks = ("settings",)

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--promote", action="store_true", help="make the new version champion")
        parser.add_argument(
            "--method", choices=ModelVersion.Method.values, default="mix", help="see above (default: mix)"
        )
        parser.add_argument(
            "--clusters", type=positive_integer,
            help="number of clusters (default: the champion's number, or chosen from the data)",
        )  # fmt: skip
        parser.add_argument(
            "--seed", type=int, default=7, help="the same data and seed give the same model (default: 7)"
        )
        parser.add_argument(
            "--if-new", action="store_true", help="refuse if there is no new data since the newest version"
        )
        parser.add_argument(
            "--full", action="store_true",
            help="train new scales and clusters, instead of a warm start from the champion",
        )  # fmt: skip
        parser.add_argument(
            "--processes", type=positive_integer, metavar="N",
            help="processes that compute the songs' neighbours; every number gives the same model (default: "
            "TRAINING_PROCESSES, or one for each processor)",
        )  # fmt: skip
        parser.add_argument(
            "--engine", choices=("local", "spark"),
            help="where plays are read and neighbours computed; both give the same model (default: ENGINE)",
        )  # fmt: skip
        parser.add_argument(
            "--master", metavar="ADDRESS",
            help="where Spark computes: spark://HOST:7077, or local[*], this machine (default: SPARK_MASTER)",
        )  # fmt: skip
        parser.add_argument("--trigger", choices=TrainingRun.Trigger.values, default="command", help=SUPPRESS)
        parser.add_argument("--json", action="store_true", help="print one JSON object instead of text")

    def handle(self, *_: Any, **options: Any) -> None:
        require_migrations()
        try:
            with TimedStages("training") as stages:
                run = retrain_now(
                    TerminalProgress(stages), trigger=options["trigger"], method=options["method"],
                    promote=options["promote"], n_clusters=options["clusters"],
                    seed=options["seed"], full=options["full"], only_if_new=options["if_new"],
                    processes=options["processes"], engine=options["engine"], master=options["master"],
                    by="retrain --promote" if options["promote"] else "training",
                )  # fmt: skip
        except AlreadyTraining as busy:
            self._exit_unfinished(busy.run, "locked", str(busy), LOCKED_EXIT_CODE, as_json=options["json"])
        except (LockLost, OSError, MemoryError) as error:
            # A person can act on these: a full disk, too little memory, a lost lock.
            failed = TrainingRun.objects.first()
            self._exit_unfinished(
                failed, "failed", _error_text(error), FAILED_EXIT_CODE, as_json=options["json"]
            )
        self._print_result(run, as_json=options["json"])
        code = EXIT_CODES[TrainingRun.Status(run.status)]
        if code:
            sys.exit(code)

    def _print_result(self, run: TrainingRun, *, as_json: bool) -> None:
        if as_json:
            self.stdout.write(json.dumps(training_as_json(run)))
        elif run.version is None:
            self.stderr.write(f"Training {run.pk} {english_label(run, 'status').lower()}: {run.error}")
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
    text = str(error) or "there is not enough memory"
    return text if isinstance(error, LockLost) else f"The training failed; nothing was changed: {text}"


def training_as_json(run: TrainingRun) -> dict[str, Any]:
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

"""Kills the weekly cycle with SIGKILL at each of many points, and prints what it left behind.

Usage: python -m tests.support.processes.killed_training. Prints one JSON object for each point. Every step is
a process forked from this one, which has imported everything and uses no database connection. The next cycle
runs once for each state that kills leave: most points of a training leave the same rows and files.
"""

import json
import os
import shutil
import signal
import sys
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from functools import wraps
from pathlib import Path
from typing import Any

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "moovitamix.settings")
django.setup()

from django.conf import settings
from django.db import connection
from django.utils import timezone

from ingestion.models import Incident, IngestionRun, ListeningHistory, Song
from recommender import retraining, validation
from recommender.models import CandidateList, Cluster, Experiment, ModelVersion, ServedList, TrainingRun
from recommender.monitoring import health_checks
from recommender.registry import registry
from recommender.services import serving_options, verify_artifact
from recommender.serving import recommendations
from recommender.serving.reasons.explanations import serialize_list
from recommender.training import train
from tests.support.builders.recommendations import LISTENER, song_ids
from tests.support.builders.small_world import fill_tables, small_world

# Always the same moment: plays count by their age.
RECOMMENDED_AT = datetime(2026, 12, 1, 12, tzinfo=UTC)
KILL_POINTS = (
    "stage: reading songs", "stage: reading sessions and feedback", "stage: learning from the past",
    "after build_warm_start", "stage: measuring on the latest week", "after evaluate_on_latest_week",
    "stage: learning from everything", "after fit_final_model", "after apply_votes",
    "after summarize_clusters", "stage: writing the artifact", "before fsync 1", "after fsync 9",
    "before rename", "after rename", "after INSERT INTO recommender_modelversion",
    "after INSERT INTO recommender_cluster", "after finish_job", "after retrain", "after run_gates",
    "after INSERT INTO recommender_experiment", "after make_challenger",
)  # fmt: skip


def kill_if_chosen(point: str) -> None:
    if point == sys.argv[-1]:
        os.kill(os.getpid(), signal.SIGKILL)


def add_kill_points(place: Any, name: str, label: str = "") -> None:
    """Add a point before and after each call of a function.

    Args:
        place: the module or class of the function.
        label: if given, the points are numbered under this name.
    """
    deed, calls = getattr(place, name), [0]

    @wraps(deed)
    def watched(*arguments: Any, **named: Any) -> Any:
        calls[0] += 1
        point = f"{label} {calls[0]}" if label else name
        kill_if_chosen(f"before {point}")
        found = deed(*arguments, **named)
        kill_if_chosen(f"after {point}")
        return found

    setattr(place, name, watched)


def kill_after_statement(execute: Any, sql: str, *rest: Any) -> Any:
    found = execute(sql, *rest)
    kill_if_chosen("after " + " ".join(sql.replace('"', "").split()[:3]))
    return found


def retrain_until(point: str) -> None:
    """Run the weekly cycle until this point, at which the process kills itself."""
    sys.argv.append(point)
    stage = train._TrainingJob._begin_stage

    def told(job: train._TrainingJob, name: str) -> None:
        stage(job, name)
        kill_if_chosen(f"stage: {name}")

    train._TrainingJob._begin_stage = told  # type: ignore[method-assign, assignment]
    for name in (
        "build_warm_start",
        "evaluate_on_latest_week",
        "fit_final_model",
        "apply_votes",
        "summarize_clusters",
        "finish_job",
    ):
        add_kill_points(train, name)
    add_kill_points(os, "fsync", label="fsync")
    add_kill_points(Path, "rename")
    add_kill_points(retraining, "retrain")
    add_kill_points(validation, "run_gates")
    add_kill_points(registry, "make_challenger")
    with connection.execute_wrapper(kill_after_statement):
        retraining.run_cycle_now(trigger="schedule")


def prepare() -> None:
    """Train a champion, and add a session that it was not trained on."""
    fill_tables(small_world(songs=150, listeners=40, days=15))
    retraining.retrain_now()
    now, heard = timezone.now(), list(Song.objects.values_list("pk", flat=True)[:5])
    ListeningHistory.objects.create(user_id=LISTENER, items=heard, created_at=now, updated_at=now)
    # Without a successful import, experiments wait and an incident says so.
    IngestionRun.objects.create(
        trigger="command", status="succeeded", started_at=now, heartbeat_at=now, finished_at=now, host="here",
        pid=1, process_started=0.0,
    )  # fmt: skip


def recommend_again() -> dict[str, Any]:
    """The list of a listener from a new process without stored candidate lists."""
    CandidateList.objects.filter(served_lists=None).delete()
    served = recommendations.recommend(
        LISTENER, options=serving_options(), seed="the same", now=RECOMMENDED_AT
    )
    told = {
        "songs": song_ids(served), "chances": [item["propensity"] for item in served.items],
        "version": serialize_list(served)["model_version"], "arm": served.arm,
    }  # fmt: skip
    served.delete()
    return told


def state_after_kill() -> dict[str, Any]:
    """The state that the killed process left, after the watchdog's check."""
    health_checks.training_failed(timezone.now())
    run = TrainingRun.objects.get(trigger="schedule")
    for version in ModelVersion.objects.all():
        verify_artifact(version)
        assert version.clusters.count() == version.n_clusters
        assert version.training.status == "succeeded"
    told = Incident.objects.filter(key="training_failed", resolved_at=None).exists()
    return {"answer": recommend_again(), "run": run.status, "error": run.error, "incident": told}


def what_a_kill_left() -> str:
    """All that the next cycle finds: rows, without times and texts of the killed run, and files."""
    rows = {
        model.__name__: list(model._default_manager.order_by("pk").values_list(*fields))
        for model, fields in {
            TrainingRun: ("trigger", "status"), ModelVersion: ("label", "role"), Cluster: ("number", "size"),
            Experiment: ("status", "kind"), CandidateList: ("listener_id",), Incident: ("key",),
        }.items()
    }  # fmt: skip
    files = sorted(
        (str(file.relative_to(settings.MODEL_STORAGE)), file.stat().st_size)
        for file in settings.MODEL_STORAGE.rglob("*")
    )
    return repr((rows, files))


def state_after_recovery() -> dict[str, Any]:
    """The state after the next cycle and the next daily review."""
    retraining.run_cycle_now(trigger="schedule")
    retraining.run_daily_review_now()
    health_checks.training_failed(timezone.now())
    test = Experiment.objects.get(status="running")
    return {
        "test": test.kind, "training": test.challenger.training.status,
        "versions": ModelVersion.objects.count(), "folders": len(list(settings.MODEL_STORAGE.iterdir())),
        "incidents": list(Incident.objects.filter(resolved_at=None).values_list("key", flat=True)),
    }  # fmt: skip


def reset_to_champion() -> None:
    """Delete everything but the champion."""
    ServedList.objects.all().delete()
    CandidateList.objects.all().delete()
    Experiment.objects.all().delete()
    ModelVersion.objects.exclude(role="champion").delete()
    for folder in settings.MODEL_STORAGE.iterdir():
        if folder.name != ModelVersion.objects.get().label:
            shutil.rmtree(folder)
    TrainingRun.objects.filter(trigger="schedule").delete()
    Incident.objects.all().delete()


def run_in_process(deed: Callable[..., Any], *arguments: Any) -> tuple[int, Any]:
    """Run a function in a child process; returns the child's signal (0 without one) and the result.

    Raises:
        SystemExit: the child failed; its output says where.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.close(reader)
        with os.fdopen(writer, "w") as pipe:
            try:
                json.dump(deed(*arguments), pipe)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        said = pipe.read()
    ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if ended > 0:
        raise SystemExit(f"{deed.__name__} failed.")
    return max(0, -ended), json.loads(said) if said else None


def main() -> None:
    run_in_process(prepare)
    before = run_in_process(recommend_again)[1]
    recovered: dict[str, Any] = {}  # by what the kill left
    for point in KILL_POINTS:
        signalled, _ = run_in_process(retrain_until, point)
        left = run_in_process(state_after_kill)[1]
        state = run_in_process(what_a_kill_left)[1]
        if state not in recovered:
            recovered[state] = run_in_process(state_after_recovery)[1]
        then = recovered[state]
        run_in_process(reset_to_champion)
        same = left is not None and left.pop("answer") == before
        told = {"point": point, "signal": signalled, "same": same, "left": left, "then": then}
        told["state"] = list(recovered).index(state)
        sys.stdout.write(json.dumps(told) + "\n")


main()

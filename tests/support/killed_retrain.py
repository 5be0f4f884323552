"""Kill the weekly cycle, as `kill -9` does, at one point after the other, and tell what each left behind.

Usage: python -m tests.support.killed_retrain. Prints one JSON object a point. Every step is a process of its
own, forked from this one, which has imported everything and touches no database.
"""

import json
import os
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

from ingestion.models import (
    Incident,
    ListeningHistory,
    Song,
)
from recommender import retraining, validation
from recommender.models import (
    CandidateList,
    Experiment,
    ModelVersion,
    ServedList,
    TrainingRun,
)
from recommender.monitoring import health_checks
from recommender.registry import registry
from recommender.services import (
    serving_options,
    verify,
)
from recommender.serving import recommendations
from recommender.training import train
from tests.support.listening import (
    fill,
    small_world,
)
from tests.support.lists import (
    LISTENER,
    songs_of,
)

# Always the same moment: plays count by their age.
LATER = datetime(2026, 12, 1, 12, tzinfo=UTC)
POINTS = (
    "stage: reading songs", "stage: reading sessions and feedback", "stage: learning from the past",
    "after basis_of", "stage: measuring on the latest week", "after measure",
    "stage: learning from everything", "after learnt", "after hear", "after groups_of",
    "stage: writing the artifact", "before fsync 1", "after fsync 9", "before rename", "after rename",
    "after INSERT INTO recommender_modelversion", "after INSERT INTO recommender_cluster", "after finish",
    "after retrain", "after pass_through", "after INSERT INTO recommender_experiment", "after challenge",
)  # fmt: skip


def reached(point: str) -> None:
    if point == sys.argv[-1]:
        os.kill(os.getpid(), signal.SIGKILL)


def between(place: Any, name: str, told: str = "") -> None:
    """Put a point before and after a function of a module or class; `told`: counted, under this name."""
    deed, calls = getattr(place, name), [0]

    @wraps(deed)
    def watched(*arguments: Any, **named: Any) -> Any:
        calls[0] += 1
        point = f"{told} {calls[0]}" if told else name
        reached(f"before {point}")
        found = deed(*arguments, **named)
        reached(f"after {point}")
        return found

    setattr(place, name, watched)


def watch_statements(execute: Any, sql: str, *rest: Any) -> Any:
    found = execute(sql, *rest)
    reached("after " + " ".join(sql.replace('"', "").split()[:3]))
    return found


def die_at(point: str) -> None:
    """Run the weekly cycle up to this point."""
    sys.argv.append(point)
    stage = train._Job._stage

    def told(job: train._Job, name: str) -> None:
        stage(job, name)
        reached(f"stage: {name}")

    train._Job._stage = told  # type: ignore[method-assign, assignment]
    for name in ("basis_of", "measure", "learnt", "hear", "groups_of", "finish"):
        between(train, name)
    between(os, "fsync", told="fsync")
    between(Path, "rename")
    between(retraining, "retrain")
    between(validation, "pass_through")
    between(registry, "challenge")
    with connection.execute_wrapper(watch_statements):
        retraining.cycle_now(trigger="schedule")


def prepare() -> None:
    """A champion, and listening that it does not know."""
    fill(small_world())
    retraining.retrain_now()
    now, heard = timezone.now(), list(Song.objects.values_list("pk", flat=True)[:5])
    ListeningHistory.objects.create(user_id=LISTENER, items=heard, created_at=now, updated_at=now)


def answer() -> dict[str, Any]:
    """What a listener is served, by a process that has just started and finds no shelf."""
    CandidateList.objects.filter(served_lists=None).delete()
    served = recommendations.recommend(LISTENER, options=serving_options(), seed="the same", now=LATER)
    told = {
        "songs": songs_of(served), "chances": [item["propensity"] for item in served.items],
        "version": recommendations.describe(served)["model_version"], "arm": served.arm,
    }  # fmt: skip
    served.delete()
    return told


def found() -> dict[str, Any]:
    """What the death has left, once the watchdog has looked."""
    health_checks.training_failed(timezone.now())
    run = TrainingRun.objects.get(trigger="schedule")
    for version in ModelVersion.objects.all():
        verify(version)
        assert version.clusters.count() == version.n_clusters
        assert version.training.status == "succeeded"
    told = Incident.objects.filter(key="training_failed", resolved_at=None).exists()
    return {"answer": answer(), "run": run.status, "error": run.error, "incident": told}


def recovered() -> dict[str, Any]:
    """What the next cycle and the next daily look make of it."""
    retraining.cycle_now(trigger="schedule")
    retraining.look_now()
    health_checks.training_failed(timezone.now())
    test = Experiment.objects.get(status="running")
    return {
        "test": test.kind, "training": test.challenger.training.status,
        "versions": ModelVersion.objects.count(), "folders": len(list(settings.MODEL_STORAGE.iterdir())),
        "incidents": list(Incident.objects.filter(resolved_at=None).values_list("key", flat=True)),
    }  # fmt: skip


def start_again() -> None:
    """Only the champion is left."""
    ServedList.objects.all().delete()
    CandidateList.objects.all().delete()
    Experiment.objects.all().delete()
    others = ModelVersion.objects.exclude(role="champion")
    for version in others:
        for file in (settings.MODEL_STORAGE / version.label).iterdir():
            file.unlink()
        (settings.MODEL_STORAGE / version.label).rmdir()
    others.delete()
    TrainingRun.objects.filter(trigger="schedule").delete()
    Incident.objects.all().delete()


def in_a_process(deed: Callable[..., Any], *arguments: Any) -> tuple[int, Any]:
    """The signal that ended it, or 0, and what it returned.

    Raises:
        SystemExit: it broke; what it printed says where.
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
    in_a_process(prepare)
    before = in_a_process(answer)[1]
    for point in POINTS:
        signalled, _ = in_a_process(die_at, point)
        left = in_a_process(found)[1]
        then = in_a_process(recovered)[1]
        in_a_process(start_again)
        same = left is not None and left.pop("answer") == before
        told = {"point": point, "signal": signalled, "same": same, "left": left, "then": then}
        sys.stdout.write(json.dumps(told) + "\n")


main()

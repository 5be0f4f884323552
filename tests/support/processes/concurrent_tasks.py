"""Does the same thing in two processes at the same moment, and prints the result.

Usage: python -m tests.support.processes.concurrent_tasks. Prints one JSON object for each case. The processes
are forked from this one, which has imported everything and uses no database connection. Each waits for the
other at the worst moment: when both have read, and neither has written.
"""

import json
import multiprocessing
import os
import sys
import traceback
from collections.abc import Callable
from functools import wraps
from itertools import pairwise
from threading import BrokenBarrierError
from typing import Any

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "moovitamix.settings")
django.setup()

from django.db import connection, transaction
from django.utils import timezone

from ingestion.models import Incident, ListeningHistory, Song
from recommender import retraining, tasks
from recommender.experiments import decisions, interleaving_scores, lifecycle
from recommender.feedback import engagement
from recommender.models import (
    Decision,
    DriftReport,
    EngagedList,
    Experiment,
    ModelVersion,
    Promotion,
    ScoredList,
    TrainingRun,
)
from recommender.registry import registry
from tests.support.builders import experiments
from tests.support.builders.experiments import (
    DAY,
    START,
    make_experiment,
    make_healthy_feed,
    make_interleaved_list,
    make_version,
)
from tests.support.builders.small_world import fill_tables, small_world

FORK = multiprocessing.get_context("fork")
TEAMS = [False, True]


def synchronize_after(place: Any, name: str, barrier: Any) -> None:
    """Replace the function: after its first call it waits until the other process has called it, too."""
    deed = getattr(place, name)

    @wraps(deed)
    def waiting(*arguments: Any, **named: Any) -> Any:
        found = deed(*arguments, **named)
        wait_at_barrier(barrier)
        return found

    setattr(place, name, waiting)


def wait_at_barrier(barrier: Any) -> None:
    try:
        barrier.wait(timeout=5)
    except BrokenBarrierError:
        """The other one did not get here: it was kept from it, or has been here before."""


def run_at_once(*deeds: Callable[[Any], Any]) -> list[str]:
    """Run each function in its own process; returns how each ended: "done", or the name of the error."""
    barrier, results = FORK.Barrier(len(deeds)), FORK.SimpleQueue()

    def run(place: int, deed: Callable[[Any], Any]) -> None:
        try:
            deed(barrier)
            results.put((place, "done"))
        except (registry.RegistryError, lifecycle.ExperimentNotAllowed) as error:
            results.put((place, type(error).__name__))
        except BaseException:
            traceback.print_exc()
            results.put((place, "broke"))

    processes = [FORK.Process(target=run, args=pair) for pair in enumerate(deeds)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    return [said for _, said in sorted(results.get() for _ in deeds)]


def run_in_process(deed: Callable[[], Any]) -> Any:
    """Run the function in another process and return its result."""
    results = FORK.SimpleQueue()
    process = FORK.Process(target=lambda: results.put(deed()))
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit(f"{deed} broke.")
    return results.get()


def read_ledger() -> dict[str, Any]:
    """The roles of all versions, and whether each promotion replaced the version promoted before it."""
    lines = list(Promotion.objects.order_by("pk").values_list("promoted__label", "replaced__label"))
    chained = all(after[1] == before[0] for before, after in pairwise(lines))
    champions = list(ModelVersion.objects.filter(role="champion").values_list("label", flat=True))
    return {
        "roles": dict(ModelVersion.objects.order_by("pk").values_list("label", "role")),
        "lines": len(lines), "chained": chained, "last is champion": champions == [lines[-1][0]],
    }  # fmt: skip


def accept_version(_: ModelVersion) -> None:
    """Accept any version."""


def promote_versions(*labels: str) -> None:
    for place, label in enumerate(labels):
        registry.promote(make_version(label), reason="Next.", by="test", verify=accept_version)
        Promotion.objects.filter(promoted__label=label).update(at=START - (60 - 20 * place) * DAY)


def clear_tables() -> None:
    """Delete all rows but songs and listeners."""
    for table in (Decision, Experiment, Promotion, TrainingRun, Incident, DriftReport):
        table.objects.all().delete()
    with transaction.atomic(), connection.cursor() as cursor:
        for name in ("scoredlist", "attributedlisten", "engagedlist", "engagementday", "servedlist", "shelf"):
            cursor.execute(f"DELETE FROM recommender_{name}")  # noqa: S608
    ModelVersion.objects.all().delete()


def make_scored_lists(test: Experiment, wins: int, losses: int) -> None:
    """Add closed scores of twenty listeners, four each, over twenty days."""
    for place in range(80):
        day = place // 4
        served = make_interleaved_list(test, 1 + place % 20, START + day * DAY, [10, 11], TEAMS)
        ScoredList.objects.create(
            experiment=test, served_list=served, listener_id=served.listener_id, rounds=10, first_picks=5,
            day=served.generated_at.date(), closed_at=START + (day + 3) * DAY, wins=wins, losses=losses,
        )  # fmt: skip
    make_healthy_feed(START + 33 * DAY)


def judge_together(barrier: Any) -> None:
    synchronize_after(decisions, "store_decision", barrier)
    lifecycle.judge_experiments(START + 33 * DAY, accept_version)


def read_verdicts() -> dict[str, Any]:
    return {**read_ledger(), "tests": list(Experiment.objects.order_by("pk").values_list("kind", "outcome")),
            "final": Decision.objects.filter(final=True).count(),
            "decisions": Decision.objects.count()}  # fmt: skip


def make_winning_challenger() -> None:
    promote_versions("2026w44.1")
    make_version("2026w45.1", "challenger")
    make_scored_lists(make_experiment(list_share=1.0), wins=9, losses=3)


def judge() -> dict[str, Any]:
    """Two daily reviews evaluate a change that has won."""
    run_in_process(make_winning_challenger)
    return {"said": run_at_once(judge_together, judge_together), **run_in_process(read_verdicts)}


def judge_anchor() -> dict[str, Any]:
    """Two daily reviews evaluate a champion that has lost to the holdback."""

    def made() -> None:
        promote_versions("2026w43.1", "2026w44.1", "2026w45.1")
        old = ModelVersion.objects.get(label="2026w44.1")
        new = ModelVersion.objects.get(label="2026w45.1")
        make_scored_lists(
            make_experiment("anchor", champion=new, challenger=old, list_share=1.0), wins=9, losses=3
        )

    run_in_process(made)
    return {"said": run_at_once(judge_together, judge_together), **run_in_process(read_verdicts)}


def decide_and_judge() -> dict[str, Any]:
    """A person rejects a version while the daily review promotes it."""

    def by_hand(barrier: Any) -> None:
        test = Experiment.objects.get()
        wait_at_barrier(barrier)
        lifecycle.decide_manually(
            test, promote=False, reason="No.", by="ada", now=START + 22 * DAY, verify=accept_version
        )

    run_in_process(make_winning_challenger)
    said = run_at_once(judge_together, by_hand)
    return {"said": sorted(said), **run_in_process(read_verdicts)}


def close_lists() -> dict[str, Any]:
    """Two processes close the same due lists and count their engagement."""

    def made() -> None:
        promote_versions("2026w44.1")
        make_version("2026w45.1", "challenger")
        test = make_experiment()
        for listener in (1, 2):
            interleaving_scores.open_scored_list(
                make_interleaved_list(test, listener, START, [10, 11], TEAMS), test, TEAMS
            )
        ListeningHistory.objects.create(user_id=1, items=[11], created_at=START + DAY, updated_at=START)
        experiments.make_ingestion_run(START + 2 * DAY)

    def closing(barrier: Any) -> None:
        synchronize_after(interleaving_scores, "engagement_by_list", barrier)
        interleaving_scores.close_due_lists(START + 3 * DAY)
        synchronize_after(engagement, "_attribute_due_lists", barrier)
        engagement.update_engagement(START + 3 * DAY)

    def found() -> dict[str, Any]:
        return {
            "scores": list(ScoredList.objects.order_by("listener").values_list("wins", "losses")),
            "engaged": list(EngagedList.objects.order_by("listener").values_list("engaged", flat=True)),
        }  # fmt: skip

    run_in_process(made)
    return {"said": run_at_once(closing, closing), **run_in_process(found)}


def promote() -> dict[str, Any]:
    """Three processes promote two versions, of which one twice."""

    def made() -> None:
        promote_versions("2026w44.1")
        for label in ("2026w45.1", "2026w46.1"):
            make_version(label)

    def promoting(label: str) -> Callable[[Any], Any]:
        def deed(barrier: Any) -> None:
            registry.promote(
                registry.find_version(label),
                reason="Good.",
                by="test",
                verify=lambda _: wait_at_barrier(barrier),
            )

        return deed

    run_in_process(made)
    said = run_at_once(*(promoting(label) for label in ("2026w45.1", "2026w45.1", "2026w46.1")))
    return {"said": sorted(said), **run_in_process(read_ledger)}


def roll_back() -> dict[str, Any]:
    """Two people roll back the same champion."""
    run_in_process(lambda: promote_versions("2026w43.1", "2026w44.1", "2026w45.1"))

    def deed(barrier: Any) -> None:
        registry.roll_back(reason="Bad.", by="test", verify=lambda _: wait_at_barrier(barrier))

    return {"said": sorted(run_at_once(deed, deed)), **run_in_process(read_ledger)}


def add_new_plays() -> None:
    now, songs = timezone.now(), list(Song.objects.values_list("pk", flat=True)[:5])
    ListeningHistory.objects.create(user_id=470, items=songs, created_at=now, updated_at=now)


def read_cycles() -> dict[str, Any]:
    return {
        "roles": sorted(ModelVersion.objects.values_list("role", flat=True)),
        "tests": list(Experiment.objects.values_list("kind", "status")),
        "succeeded": TrainingRun.objects.filter(status="succeeded").count(),
    }  # fmt: skip


def learn() -> dict[str, Any]:
    """Two weekly cycles run, with a champion and new data."""

    def made() -> None:
        fill_tables(small_world())
        retraining.retrain_now()
        add_new_plays()

    def deed(barrier: Any) -> None:
        wait_at_barrier(barrier)
        tasks.train_weekly()

    run_in_process(made)
    return {"said": run_at_once(deed, deed), **run_in_process(read_cycles)}


def drift() -> dict[str, Any]:
    """Two weekly drift reviews run, and a full retrain is due."""
    run_in_process(add_new_plays)

    def deed(barrier: Any) -> None:
        retraining.check_drift_now()
        wait_at_barrier(barrier)
        setattr(tasks, "check_drift_now", lambda: ([], True))  # noqa: B010
        tasks.check_drift_weekly()

    def found() -> dict[str, Any]:
        return {
            "full": TrainingRun.objects.filter(full=True, status="succeeded").count(),
            "reports": sorted(DriftReport.objects.values_list("kind", flat=True)), **read_cycles(),
        }  # fmt: skip

    return {"said": run_at_once(deed, deed), **run_in_process(found)}


def main() -> None:
    run_in_process(lambda: experiments.make_listeners_and_songs(range(1, 21)))
    for deed in (judge, judge_anchor, decide_and_judge, close_lists, promote, roll_back, learn, drift):
        sys.stdout.write(json.dumps({"deed": deed.__name__, **deed()}) + "\n")
        if deed is not learn:
            run_in_process(clear_tables)


main()

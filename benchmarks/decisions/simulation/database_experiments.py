"""Run simulated experiments through the database, and compare their ends with the fast simulation.

Usage: python -m benchmarks.decisions.simulation.database_experiments NUMBER, in an empty, migrated database.
It prints JSON. The lists, likes, imports and daily reviews are rows; `interleaving_scores`, `statistics`
and `lifecycle` of production do the rest.
"""

import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import django
import orjson

django.setup()

from django.db import connection, transaction

from benchmarks.decisions.simulation.experiment_run import (
    ExperimentEnd,
    SimulatedExperiment,
    run_experiment,
    simulate_days,
)
from benchmarks.decisions.simulation.listener_reactions import LIST_LENGTH, DayOfLists, ListenerGroup
from ingestion.models import IngestionRun, Listener, ListeningHistory, Song
from recommender.engine.experiments.evidence import DecisionOutcome, ExperimentKind
from recommender.experiments import interleaving_scores, lifecycle
from recommender.models import CandidateList, Experiment, Feedback, ModelVersion, ServedList
from recommender.registry import registry

START: Final = datetime(2026, 1, 5, 5, tzinfo=UTC)  # a Monday, at the time of the daily review
DAY: Final = timedelta(days=1)
HOUR: Final = timedelta(hours=1)
BYSTANDER: Final = 1_000_000  # a listener whose sessions show up to when the history was imported
SONGS: Final = range(1, LIST_LENGTH + 1)


def main() -> None:
    number, same = int(sys.argv[1]), 0
    began = time.monotonic()
    for seed in range(number):
        experiment = _experiment_of(seed)
        expected, found = run_experiment(experiment, seed), run_in_tables(experiment, seed)
        same += expected == found
        if expected != found:
            sys.stderr.write(f"seed {seed}: {found} in the tables, {expected} simulated\n")
        left = (time.monotonic() - began) / (seed + 1) * (number - seed - 1)
        sys.stderr.write(f"{seed + 1} of {number} through the tables, {left:.0f} s left\n")
    sys.stdout.write(orjson.dumps({"experiments": number, "same": same}).decode() + "\n")


def _experiment_of(seed: int) -> SimulatedExperiment:
    """The experiment of this seed: an equal, worse or fad refresh; every fifth is a change."""
    effects = (0.0, -0.05, -0.1, -0.05)
    if seed % 5 == 4:
        return SimulatedExperiment(group=ListenerGroup(listeners=40, effect=0.1 if seed % 2 else -0.1))
    novelty = 0.15 if seed % 4 == 3 else 0.0
    group = ListenerGroup(listeners=40, effect=effects[seed % 4], novelty=novelty, novelty_days=3)
    return SimulatedExperiment(ExperimentKind.REFRESH, group)


def run_in_tables(simulated: SimulatedExperiment, seed: int) -> ExperimentEnd:
    """The end of the experiment whose lists, likes, imports and reviews are stored and judged daily."""
    with transaction.atomic():
        _clear_tables()
        experiment = _start(simulated)
        end = ExperimentEnd(DecisionOutcome.WAITING, 0)
        for number, day in enumerate(simulate_days(simulated, seed)):
            now = START + number * DAY
            if number:
                _import_history(now - 3 * HOUR)
                interleaving_scores.close_due_lists(now)
                lifecycle.judge_experiments(now, lambda _: None)
                experiment.refresh_from_db()
                if experiment.status == Experiment.Status.ENDED:
                    return ExperimentEnd(DecisionOutcome(experiment.outcome), number)
            _serve(experiment, simulated.group.listeners, day, now + 7 * HOUR)
            end = ExperimentEnd(DecisionOutcome.WAITING, number)
        return end


def _clear_tables() -> None:
    names = ("decision", "scoredlist", "feedback", "servedlist", "shelf", "experiment", "promotion")
    with connection.cursor() as cursor:
        for name in names:
            cursor.execute(f"DELETE FROM recommender_{name}")  # noqa: S608
    ListeningHistory.objects.all().delete()
    IngestionRun.objects.all().delete()
    ModelVersion.objects.all().delete()


def _start(simulated: SimulatedExperiment) -> Experiment:
    Listener.objects.bulk_create(
        (_listener(pk) for pk in (*range(simulated.group.listeners), BYSTANDER)), ignore_conflicts=True
    )
    Song.objects.bulk_create(
        (Song(id=pk, name="S", artist="A", duration=timedelta(minutes=3), created_at=START, updated_at=START)
         for pk in SONGS),
        ignore_conflicts=True,
    )  # fmt: skip
    champion, challenger = _version("2026w01.1"), _version("2026w02.1")
    registry.promote(champion, reason="The first.", by="calibration", verify=lambda _: None)
    return lifecycle.propose_experiment(
        challenger, kind=simulated.kind, gates={"passed": True}, by="calibration", now=START
    )


def _listener(pk: int) -> Listener:
    return Listener(id=pk, created_at=START, updated_at=START)


def _version(label: str) -> ModelVersion:
    return ModelVersion.objects.create(
        label=label, method="mix", created_at=START, cut_off=START, n_songs=LIST_LENGTH, n_listeners=1,
        n_plays=1, n_clusters=1, seed=7, artifact_sha256="0" * 64, seconds=1.0, cpu_seconds=1.0,
        peak_memory=1,
    )  # fmt: skip


def _import_history(at: datetime) -> None:
    ListeningHistory.objects.create(
        user_id=BYSTANDER, items=[], created_at=at - timedelta(minutes=1), updated_at=at
    )
    IngestionRun.objects.create(
        trigger="schedule", status="succeeded", started_at=at, heartbeat_at=at, finished_at=at, host="h",
        pid=1, process_started=0.0,
    )  # fmt: skip


def _serve(experiment: Experiment, listeners: int, day: DayOfLists, at: datetime) -> None:
    """Store the day's lists, those of other listeners, and a like for every engaged song."""
    shelf = CandidateList.objects.create(
        listener_id=BYSTANDER, version=experiment.champion, made_at=at, candidates=b""
    )
    inside = [
        _list(experiment, shelf, int(listener), at, _items(teams))
        for listener, teams in zip(day.listeners, day.by_challenger, strict=True)
    ]
    rest = sorted(set(range(listeners)) - set(day.listeners.tolist()))[: day.others]
    outside = [_list(None, shelf, listener, at, []) for listener in rest]
    ServedList.objects.bulk_create([*inside, *outside])
    for served in inside:
        teams = [item["by_challenger"] for item in served.items]
        interleaving_scores.open_scored_list(served, experiment, teams)
    Feedback.objects.bulk_create(_likes(day, at + HOUR))


def _items(teams: Any) -> list[dict[str, Any]]:
    return [{"song": song, "by_challenger": bool(team)} for song, team in zip(SONGS, teams, strict=True)]


def _list(
    experiment: Experiment | None, shelf: CandidateList, listener: int, at: datetime, items: list[Any]
) -> ServedList:
    return ServedList(
        listener_id=listener, candidate_list=shelf, version=shelf.version, experiment=experiment,
        arm="interleaved" if experiment else "champion", generated_at=at, discovery=0.3, temperature=0.1,
        seed="s", pages=[], items=items,
    )  # fmt: skip


def _likes(day: DayOfLists, at: datetime) -> Iterator[Feedback]:
    for listener, engaged in zip(day.listeners.tolist(), day.engaged, strict=True):
        for place in engaged.nonzero()[0].tolist():
            yield Feedback(
                event_id=f"{listener}-{place}-{at:%j}", listener_id=listener, song_id=SONGS[place],
                kind=Feedback.Kind.LIKE, at=at, received_at=at,
            )  # fmt: skip


if __name__ == "__main__":
    main()

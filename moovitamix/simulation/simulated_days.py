"""Steps of a simulated day: daily and weekly tasks, and a corrupted version."""

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from moovitamix.simulation.simulated_process import SimulatedClock, clear_process_caches, run_logging_errors
from recommender import tasks, validation
from recommender.engine import artifact
from recommender.experiments import lifecycle
from recommender.models import Cluster, Experiment, ModelVersion
from recommender.registry import artifact_folders, artifact_storage, registry
from recommender.retraining import retrain_now

SUNDAY, MONDAY = 6, 0
SIMULATION_ACTOR: Final = "the simulation"
# The corrupted arrays are shifted by this share of the songs, so each song gets another song's values.
SHIFT_SHARE: Final = 0.5
# The arrays that determine which songs listeners get; the clusters stay unchanged.
SPOILED_ARRAYS: Final = ("taste", "content", "company", "listeners")


def train_first_champion(method: str) -> None:
    """Train the first model and promote it; raises RuntimeError if it was not promoted."""
    run = retrain_now(method=method, promote=True, by=SIMULATION_ACTOR)
    if registry.current_champion() is None:
        raise RuntimeError(f"The first training produced no champion: {run.error or run.summary}")


def run_daily_tasks(
    day: datetime,
    clock: SimulatedClock,
    storage: Path,
    *,
    after_review: Callable[[], object],
    prepare_lists: Callable[[], object],
) -> None:
    """Run a day's tasks at their hours; an error is logged, as in a worker, and the day continues.

    Args:
        day: midnight of the day.
        after_review: called after the daily review of the experiments.
        prepare_lists: called at the hour of `prepare_candidate_lists`.
    """
    if day.weekday() == SUNDAY:
        _run_at(clock, day, 4, storage, tasks.train_weekly)
    _run_at(clock, day, 5, storage, tasks.review_daily)
    _run_at(clock, day, 5.5, storage, after_review)
    if day.weekday() == MONDAY:
        _run_at(clock, day, 6, storage, tasks.check_drift_weekly)
    _run_at(clock, day, 6.5, storage, prepare_lists)


def propose_spoiled_version(
    storage: Path, now: datetime, verify: registry.Verify, *, strength: float = 1.0
) -> ModelVersion:
    """Propose, as a refresh, a copy of the champion that was corrupted after its evaluation.

    Args:
        strength: share of the songs that get another song's values.

    Raises:
        ArtifactError: the champion's files are damaged.
    """
    version = _create_spoiled_version(storage, now, strength)
    gates = validation.run_gates(version, storage, now, verify)
    if gates["passed"]:
        lifecycle.propose_experiment(
            version, kind=Experiment.Kind.REFRESH, gates=gates, by=SIMULATION_ACTOR, now=now
        )
    return version


def _run_at(
    clock: SimulatedClock, day: datetime, hour: float, storage: Path, work: Callable[[], object]
) -> None:
    clock.move_to(day + timedelta(hours=hour))
    run_logging_errors(work)
    clear_process_caches(storage)


def _spoil(array: NDArray[Any], strength: float) -> NDArray[Any]:
    """A copy in which the first songs exchange their values; `strength` is the share of these songs."""
    mixed = round(strength * len(array))
    return np.concatenate([np.roll(array[:mixed], round(SHIFT_SHARE * mixed), axis=0), array[mixed:]])


def _create_spoiled_version(storage: Path, now: datetime, strength: float) -> ModelVersion:
    parent = registry.current_champion()
    if parent is None:
        raise registry.UnknownVersion(registry.NO_CHAMPION)
    arrays, facts = artifact_storage.read(parent, storage)
    label = artifact_folders.next_free_label(storage, now)
    spoiled: dict[str, NDArray[Any]] = {name: np.asarray(array) for name, array in arrays.items()}
    # The classic method stores only the clusters of songs.
    names = SPOILED_ARRAYS if SPOILED_ARRAYS[0] in spoiled else ("labels",)
    spoiled |= {name: _spoil(spoiled[name], strength) for name in names}
    if "weights" in spoiled and strength == 1:
        spoiled["weights"] = -spoiled["weights"]
    sha256 = artifact_storage.write(storage / label, spoiled, {**facts, "label": label})
    version = ModelVersion.objects.create(
        label=label,
        method=parent.method,
        created_at=now,
        cut_off=parent.cut_off,
        n_songs=parent.n_songs,
        n_listeners=parent.n_listeners,
        n_plays=parent.n_plays,
        n_clusters=parent.n_clusters,
        configuration=parent.configuration,
        seed=parent.seed,
        cohesion=parent.cohesion,
        parent=parent,
        metrics={name: one for name, one in parent.metrics.items() if name != "against_champion"},
        artifact_sha256=sha256,
        artifact_bytes=artifact.size_in_bytes(storage / label),
        seconds=0.0,
        cpu_seconds=0.0,
        peak_memory=0,
    )
    Cluster.objects.bulk_create(
        Cluster(version=version, number=one.number, position=one.position, name=one.name, size=one.size,
                plays=one.plays, facts=one.facts)
        for one in parent.clusters.all()
    )  # fmt: skip
    return version

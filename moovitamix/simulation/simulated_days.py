"""The loop's own parts of a rehearsal: a clock that can be set, a day's tasks, and spoiled versions."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import numpy as np
from django.core.cache import cache
from django.utils import timezone
from numpy.typing import NDArray

from recommender import tasks, validation
from recommender.engine import artifact
from recommender.experiments import assignment, lifecycle
from recommender.models import Cluster, Experiment, ModelVersion
from recommender.registry import artifact_folders, model_loader, registry
from recommender.retraining import retrain_now

logger = logging.getLogger(__name__)

SUNDAY, MONDAY = 6, 0
SIMULATION_ACTOR: Final = "the rehearsal"
# Of the songs' rows: whoever is spoiled has every song's taste and company from another song.
SHIFT_SHARE: Final = 0.5
# What a version knows of each song and listeners react to; where songs belong stays as it was.
SPOILED_ARRAYS: Final = ("taste", "content", "company", "listeners")


class SimulatedClock:
    """Time as the rehearsal has it: set by hand, and going on at its usual pace from there."""

    def __init__(self, start: datetime) -> None:
        self._moment = start
        self._since = time.monotonic()

    def __call__(self) -> datetime:
        return self._moment + timedelta(seconds=time.monotonic() - self._since)

    def move_to(self, moment: datetime) -> None:
        """Go to this moment, never back; what is remembered for some seconds is forgotten."""
        self._moment, self._since = max(moment, self()), time.monotonic()
        assignment.RUNNING_EXPERIMENTS.invalidate()

    @contextmanager
    def replace_system_time(self) -> Iterator[None]:
        """While inside, it is this time for the whole process: only for one that does nothing else."""
        real = timezone.now
        timezone.now = self
        try:
            yield
        finally:
            timezone.now = real


def train_first_champion(method: str) -> None:
    """The first model, which becomes champion.

    Raises:
        RuntimeError: it does not.
    """
    run = retrain_now(method=method, promote=True, by=SIMULATION_ACTOR)
    if registry.current_champion() is None:
        raise RuntimeError(f"The first training made no champion: {run.error or run.summary}")


def run_daily_tasks(
    day: datetime, clock: SimulatedClock, storage: Path, after_review: Callable[[], object]
) -> None:
    """A day's tasks, each at its hour; what one raises is logged, as a worker does, and the day goes on.

    Args:
        day: its midnight.
        after_look: what is done once the tests were judged.
    """
    _run_at(clock, day, 2.5, storage, tasks.prepare_candidate_lists)
    if day.weekday() == SUNDAY:
        _run_at(clock, day, 4, storage, tasks.train_weekly)
    _run_at(clock, day, 5, storage, tasks.review_daily)
    _run_at(clock, day, 5.5, storage, after_review)
    if day.weekday() == MONDAY:
        _run_at(clock, day, 6, storage, tasks.check_drift_weekly)
    _run_at(clock, day, 6.5, storage, tasks.prepare_candidate_lists)


def run_logging_errors(work: Callable[[], object]) -> None:
    """Do it as a worker would: what it raises is logged, and nothing else ends."""
    try:
        work()
    except Exception:
        logger.exception("task_failed task=%s", getattr(work, "name", work))


def propose_spoiled_version(storage: Path, now: datetime, verify: registry.Verify) -> ModelVersion:
    """Let the loop see a refresh of the champion that was spoiled after it was measured.

    Raises:
        ArtifactError: the champion's files are damaged.
    """
    version = _create_spoiled_version(storage, now)
    passed = validation.run_gates(version, storage, now, verify)
    if passed["passed"]:
        lifecycle.propose_experiment(
            version, kind=Experiment.Kind.REFRESH, gates=passed, by=SIMULATION_ACTOR, now=now
        )
    return version


def _run_at(
    clock: SimulatedClock, day: datetime, hour: float, storage: Path, work: Callable[[], object]
) -> None:
    clock.move_to(day + timedelta(hours=hour))
    run_logging_errors(work)
    clear_process_caches(storage)


def clear_process_caches(storage: Path) -> None:
    """What processes remember for seconds or minutes, a rehearsal's steps are hours apart."""
    cache.clear()
    assignment.RUNNING_EXPERIMENTS.invalidate()
    model_loader.loader_for(storage).reload()


def _create_spoiled_version(storage: Path, now: datetime) -> ModelVersion:
    """The champion's twin, with what it knows of each song given to another one."""
    parent = registry.current_champion()
    if parent is None:
        raise registry.UnknownVersion(registry.NO_CHAMPION)
    arrays, facts = artifact.read_arrays(storage / parent.label, parent.artifact_sha256)
    label = artifact_folders.next_free_label(storage, now)
    spoiled: dict[str, NDArray[Any]] = {name: np.asarray(array) for name, array in arrays.items()}
    # The classic method knows of songs only where they belong.
    names = SPOILED_ARRAYS if SPOILED_ARRAYS[0] in spoiled else ("labels",)
    spoiled |= {
        name: np.roll(spoiled[name], round(SHIFT_SHARE * len(spoiled[name])), axis=0) for name in names
    }
    if "weights" in spoiled:
        spoiled["weights"] = -spoiled["weights"]
    sha256 = artifact.write_arrays(storage / label, spoiled, {**facts, "label": label})
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


def midnight(day: date) -> datetime:
    """The first moment of a day, in UTC."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC)

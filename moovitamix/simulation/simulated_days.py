"""Steps of a simulated day: a clock that can be set, daily and weekly tasks, and a corrupted version."""

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
from recommender.registry import artifact_folders, artifact_storage, model_loader, registry
from recommender.retraining import retrain_now
from recommender.serving.candidates import candidate_cache
from recommender.serving.candidates.candidates import generate_block

logger = logging.getLogger(__name__)

SUNDAY, MONDAY = 6, 0
TESTED: Final = (Experiment.Kind.REFRESH, Experiment.Kind.CHANGE)
SIMULATION_ACTOR: Final = "the simulation"
# The corrupted arrays are shifted by this share of the songs, so each song gets another song's values.
SHIFT_SHARE: Final = 0.5
# The arrays that determine which songs listeners get; the clusters stay unchanged.
SPOILED_ARRAYS: Final = ("taste", "content", "company", "listeners")


class SimulatedClock:
    """A clock that can be moved forward and otherwise runs at normal speed."""

    def __init__(self, start: datetime) -> None:
        self._moment = start
        self._since = time.monotonic()

    def __call__(self) -> datetime:
        return self._moment + timedelta(seconds=time.monotonic() - self._since)

    def move_to(self, moment: datetime) -> None:
        """Move forward, never back."""
        self._moment, self._since = max(moment, self()), time.monotonic()

    @contextmanager
    def replace_system_time(self) -> Iterator[None]:
        """Replace `timezone.now` in the whole process, which must do nothing but simulate."""
        real = timezone.now
        timezone.now = self
        try:
            yield
        finally:
            timezone.now = real


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


def run_logging_errors(work: Callable[[], object]) -> None:
    try:
        work()
    except Exception:
        logger.exception("task_failed task=%s", getattr(work, "name", work))


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


def clear_process_caches(storage: Path) -> None:
    """Clear caches that last seconds or minutes, because simulated steps are hours apart."""
    cache.clear()
    assignment.RUNNING_EXPERIMENTS.invalidate()
    model_loader.loader_for(storage).reload()


@contextmanager
def break_challengers(share: float) -> Iterator[None]:
    """Let every challenger under test fail for a share of the listeners, in this process."""

    def fail_for_some(profiles: Any, model: Any, now: datetime) -> Any:
        tested = {one.challenger_id for one in assignment.RUNNING_EXPERIMENTS.current() if one.kind in TESTED}
        shares = [assignment.hash_to_share("broken", profile.listener_id) for profile in profiles]
        if min(shares) < share and model is not None and model.version.pk in tested:
            raise ValueError("This challenger was broken by the simulation.")
        return generate_block(profiles, model, now)

    vars(candidate_cache)["generate_block"] = fail_for_some
    try:
        yield
    finally:
        vars(candidate_cache)["generate_block"] = generate_block


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


def midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)

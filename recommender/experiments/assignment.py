"""Assigns lists to experiments by blake2b, with the same result in every process."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from hashlib import blake2b
from typing import Final

from recommender.models import Experiment, ServedList

RELOAD_SECONDS: Final = 5.0  # every process follows the start or end of an experiment within this time
# Largest share of the lists on an experiment's first UTC days: a broken challenger meets few listeners.
RAMP: Final = (0.05, 0.2)
RAMPED_KINDS: Final = (Experiment.Kind.REFRESH, Experiment.Kind.CHANGE)
Arm = ServedList.Arm


@dataclass(frozen=True)
class Assignment:
    arm: Arm  # champion, challenger (alone) or interleaved
    experiment: Experiment | None = None  # the experiment that the list belongs to, if any


CHAMPION_ONLY: Final = Assignment(Arm.CHAMPION)


def hash_to_share(*words: object) -> float:
    """A number in [0, 1) from the first 8 bytes of the words' hash."""
    digest = blake2b(":".join(map(str, words)).encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) / 2**53


def list_share_on(experiment: Experiment, day: date) -> float:
    if experiment.kind not in RAMPED_KINDS or experiment.started_at is None:
        return experiment.list_share
    number = (day - experiment.started_at.astimezone(UTC).date()).days
    return min(experiment.list_share, RAMP[number]) if 0 <= number < len(RAMP) else experiment.list_share


def full_share_from(experiment: Experiment, started: datetime) -> datetime:
    if experiment.kind not in RAMPED_KINDS:
        return started
    midnight = started.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight + timedelta(days=len(RAMP))


def assign_arm(listener_id: int, day: date, experiments: list[Experiment]) -> Assignment:
    """The experiment and the arm of a listener's lists on a UTC day.

    In the A/B split a listener has one model for the whole experiment: the challenger if their hash is below
    `split_share` / 2, else the champion (control) below `split_share`. For others each day belongs to the
    experiment, the holdback or neither, by `list_share_on`.
    """
    for experiment in experiments:
        if experiment.split_share:
            side = hash_to_share(experiment.pk, listener_id)
            if side < experiment.split_share:
                arm = Arm.CHALLENGER if side < experiment.split_share / 2 else Arm.CHAMPION
                return Assignment(arm, experiment)
    position, assigned = hash_to_share(listener_id, day.isoformat()), 0.0
    for experiment in sorted(experiments, key=lambda one: (one.kind == Experiment.Kind.HOLDBACK, one.pk)):
        # The holdback takes the top of the range, so that a starting experiment takes no lists from it.
        share = list_share_on(experiment, day)
        if experiment.kind == Experiment.Kind.HOLDBACK:
            if position >= 1 - share:
                return Assignment(Arm.INTERLEAVED, experiment)
        elif assigned <= position < assigned + share:
            return Assignment(Arm.INTERLEAVED, experiment)
        else:
            assigned += share
    return CHAMPION_ONLY


class RunningExperiments:
    """Cache of the running experiments, read at most every five seconds in each process; thread-safe."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._experiments: list[Experiment] = []
        self._next_reload = -1.0

    def current(self) -> list[Experiment]:
        if self._clock() >= self._next_reload and self._lock.acquire(blocking=self._next_reload < 0):
            try:
                rows = Experiment.objects.filter(status=Experiment.Status.RUNNING)
                self._experiments = list(rows.select_related("champion", "challenger").order_by("pk"))
                self._next_reload = self._clock() + RELOAD_SECONDS
            finally:
                self._lock.release()
        return self._experiments

    def invalidate(self) -> None:
        self._next_reload = -1.0


RUNNING_EXPERIMENTS: Final = RunningExperiments()


def assignment_for(listener_id: int, now: datetime) -> Assignment:
    return assign_arm(listener_id, now.astimezone(UTC).date(), RUNNING_EXPERIMENTS.current())

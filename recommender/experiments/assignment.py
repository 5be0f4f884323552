"""Which test a list belongs to: decided by blake2b alone, the same in every process, whoever asks."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from hashlib import blake2b
from typing import Final

from recommender.models import Experiment, ServedList

RELOAD_SECONDS: Final = 5.0  # seconds; a test starts and ends everywhere within them
Arm = ServedList.Arm


@dataclass(frozen=True)
class Assignment:
    """How a list is to be made.

    Attributes:
        arm: champion, challenger (alone) or interleaved.
        experiment: the test that the list belongs to; None: to none.
    """

    arm: Arm
    experiment: Experiment | None = None


CHAMPION_ONLY: Final = Assignment(Arm.CHAMPION)


def hash_to_share(*words: object) -> float:
    """A number from 0 up to but without 1, from the first 8 bytes of blake2b over the words."""
    digest = blake2b(":".join(map(str, words)).encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) / 2**53


def assign_arm(listener_id: int, day: date, experiments: list[Experiment]) -> Assignment:
    """The assignment of a listener's lists on a UTC day.

    A listener of a test's A/B split gets one model alone for as long as the test runs: the challenger below
    `split_share` / 2, the champion, as its control, from there to `split_share`. Everybody else's days fall
    to the test, to the anchor or to neither, by their shares.
    """
    for test in experiments:
        if test.split_share:
            side = hash_to_share(test.pk, listener_id)
            if side < test.split_share:
                return Assignment(Arm.CHALLENGER if side < test.split_share / 2 else Arm.CHAMPION, test)
    at, reached = hash_to_share(listener_id, day.isoformat()), 0.0
    for test in sorted(experiments, key=lambda one: (one.kind == Experiment.Kind.ANCHOR, one.pk)):
        # The anchor's lists are the last ones, so that a test's start moves none of them.
        share = test.list_share
        if test.kind == Experiment.Kind.ANCHOR:
            if at >= 1 - share:
                return Assignment(Arm.INTERLEAVED, test)
        elif reached <= at < reached + share:
            return Assignment(Arm.INTERLEAVED, test)
        else:
            reached += share
    return CHAMPION_ONLY


class RunningExperiments:
    """The tests that run, looked up at most every five seconds a process; any thread may ask."""

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
        """Look again at the next question."""
        self._next_reload = -1.0


RUNNING_EXPERIMENTS: Final = RunningExperiments()


def assignment_for(listener_id: int, now: datetime) -> Assignment:
    """How this listener's list is to be made now."""
    return assign_arm(listener_id, now.astimezone(UTC).date(), RUNNING_EXPERIMENTS.current())

"""Simulate a challenger that breaks for a share of listeners or requests, by the rule of production."""

import math
from typing import Final

import numpy as np

from benchmarks.simulation.experiment_run import EXPERIMENT_SHARE, RAMP
from recommender.engine.experiments.sequential import log_e_value_of_failures

DAYS: Final = 60
# As in recommender/experiments/serving_errors.py, which needs a database.
MAX_ERROR_SHARE: Final = 0.01
TOO_MANY_ERRORS: Final = 20.0


def day_of_stop(listeners: int, share: float, seed: int, *, by_listener: bool = True) -> int | None:
    """The day, from 1, on which the challenger is stopped; None if it is not within 60 days.

    Args:
        by_listener: whether it always breaks for the same listeners, or by chance for any request.
    """
    random = np.random.default_rng(seed)
    broken = np.zeros(listeners, dtype=bool)
    broken[random.permutation(listeners)[: round(share * listeners)]] = True
    failures = requests = 0
    for day in range(1, DAYS + 1):
        listed = random.random(listeners) < (RAMP[day - 1] if day <= len(RAMP) else EXPERIMENT_SHARE)
        for one in random.permutation(np.flatnonzero(listed)):
            requests += 1
            failures += bool(broken[one]) if by_listener else bool(random.random() < share)
            if failures > MAX_ERROR_SHARE * requests and log_e_value_of_failures(
                failures, requests - failures, MAX_ERROR_SHARE
            ) >= math.log(TOO_MANY_ERRORS):
                return day
    return None

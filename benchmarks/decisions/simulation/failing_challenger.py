"""Simulate a challenger that breaks for a share of listeners or requests, by the rule of production."""

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.decisions.simulation.experiment_run import EXPERIMENT_SHARE, RAMP
from recommender.engine.experiments.sequential import log_e_value_of_failures

DAYS: Final = 60
TRIALS_A_DAY: Final = 24
TRIAL_LISTENERS: Final = 200  # as in recommender/serving/challenger_trial.py
# As in recommender/experiments/serving_errors.py, which needs a database.
MAX_ERROR_SHARE: Final = 0.01
TOO_MANY_ERRORS: Final = 20.0


def day_of_stop(
    listeners: int, share: float, seed: int, *, by_listener: bool = True, in_trials: bool = True
) -> int | None:
    """The day, from 1, on which the challenger is stopped; None if it is not within 60 days.

    Args:
        by_listener: whether it always breaks for the same listeners, or by chance for any request.
        in_trials: whether the hourly trials see the failures, or serving alone does.
    """
    random = np.random.default_rng(seed)
    broken = np.zeros(listeners, dtype=bool)
    broken[random.permutation(listeners)[: round(share * listeners)]] = True
    failures = requests = 0
    for day in range(1, DAYS + 1):
        if in_trials and _is_stopped_by_trials(random, broken, share, by_listener=by_listener):
            return day
        listed = random.random(listeners) < (RAMP[day - 1] if day <= len(RAMP) else EXPERIMENT_SHARE)
        for one in random.permutation(np.flatnonzero(listed)):
            requests += 1
            failures += bool(broken[one]) if by_listener else bool(random.random() < share)
            if _is_too_many(failures, requests):
                return day
    return None


def _is_stopped_by_trials(
    random: np.random.Generator, broken: NDArray[np.bool_], share: float, *, by_listener: bool
) -> bool:
    """Whether one of a day's trials stops it; a listener's list has failed if two attempts fail."""
    tried = min(TRIAL_LISTENERS, len(broken))
    if by_listener:
        return _is_too_many(int(broken[random.permutation(len(broken))[:tried]].sum()), tried)
    return any(_is_too_many(int(each), tried) for each in random.binomial(tried, share**2, TRIALS_A_DAY))


def _is_too_many(failures: int, requests: int) -> bool:
    return failures > MAX_ERROR_SHARE * requests and log_e_value_of_failures(
        failures, requests - failures, MAX_ERROR_SHARE
    ) >= math.log(TOO_MANY_ERRORS)

"""Values of songs that a listener plays again and again; songs played in the last days rank lower."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from recommender.engine.sampling.sampler import scale_scores

# A song that is played now falls behind the twenty best, and rises again within the days after.
REST_DAYS: Final = 3.0
REST_COST: Final = 2.0
SMALLEST_HABIT: Final = 1e-9  # songs without plays have a score, too


def favourite_scores(habits: NDArray[np.floating], skips: NDArray[np.floating]) -> NDArray[np.float64]:
    """Scores from plays weighted by age, and from skips; higher for songs played again soon."""
    scores: NDArray[np.float64] = np.log(np.maximum(habits, SMALLEST_HABIT)) - skips
    return scores


def favourite_values(scores: NDArray[np.float64], rested_days: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scaled scores, lower if the last play is less than REST_DAYS ago."""
    tired = np.clip(1 - rested_days / REST_DAYS, 0.0, 1.0)
    values: NDArray[np.float64] = scale_scores(scores) - REST_COST * tired
    return values

"""Rank a listener's songs by how likely they are played again.

A song's strength is the sum over its plays of (age in days + .5) ** -.5, less its skips.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recommender.engine.clustering.affinities import SECONDS_PER_DAY
from recommender.engine.data import Interactions

FADING: Final = -0.5
SOONEST_DAYS: Final = 0.5  # added to each age, so that a play of this minute is not infinitely strong
LEAST_STRENGTH: Final = 1e-6


def play_strengths(at: NDArray[np.float64], now: float) -> NDArray[np.float32]:
    """The strength of each play at time `now`: 1.4 for a play at that moment.

    Times are seconds since 1970.
    """
    days = np.maximum(now - at, 0) / SECONDS_PER_DAY
    return np.asarray((days + SOONEST_DAYS) ** FADING, dtype=np.float32)


def favourite_scores(plays: Interactions, now: float, skips: csr_array | None = None) -> csr_array:
    """log(strength) of each song heard, shape (n_listeners, n_songs).

    Args:
        skips: number of skips of each song; each skip subtracts the strength of a play at this moment.

    Source:
        Anderson and Schooler, "Reflections of the environment in memory", Psychological Science 2(6), 1991.
    """
    strengths = plays.matrix(play_strengths(plays.at, now))
    if skips is not None:
        heard = strengths.copy()
        heard.data = np.ones_like(heard.data)
        strengths = csr_array(strengths - SOONEST_DAYS**FADING * csr_array(skips.multiply(heard)))
    strengths.data = np.log(np.maximum(strengths.data, LEAST_STRENGTH)).astype(np.float32)
    return strengths


def rank_favourites(scores: csr_array, n: int) -> NDArray[np.int32]:
    """Each listener's n strongest songs, best first; a row ends in -1 if fewer were heard."""
    lists = np.full((scores.shape[0], n), -1, dtype=np.int32)
    for row in range(scores.shape[0]):
        part = slice(scores.indptr[row], scores.indptr[row + 1])
        best = np.lexsort((scores.indices[part], -scores.data[part]))[:n]
        lists[row, : len(best)] = scores.indices[part][best]
    return lists

"""Temporal split of plays, at one time for all listeners.

A split by each listener's last plays would leak later plays of others into the training data.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recommender.engine.data import Interactions


def split_at(interactions: Interactions, instant: float) -> tuple[Interactions, Interactions]:
    """Plays before `instant` (seconds since 1970), and plays from it on."""
    late = interactions.at >= instant
    return _select_plays(interactions, ~late), _select_plays(interactions, late)


def split_latest(interactions: Interactions, share: float) -> tuple[Interactions, Interactions]:
    """Split off about the latest `share` of plays; equal times stay together."""
    if not len(interactions.at):
        return interactions, interactions
    return split_at(interactions, float(np.quantile(interactions.at, 1 - share, method="higher")))


def plays_of_new_songs(later: csr_array, before: csr_array) -> csr_array:
    """Matrix with 1 for each song in `later` that the listener did not play in `before`."""
    played = before.copy()
    played.data = np.ones_like(played.data)
    ones = later.copy()
    ones.data = np.ones_like(ones.data)
    new = csr_array(ones - ones.multiply(played))
    new.eliminate_zeros()
    return new


def _select_plays(interactions: Interactions, kept: NDArray[np.bool_]) -> Interactions:
    columns = {name: getattr(interactions, name)[kept] for name in ("listeners", "songs", "at", "count")}
    return replace(interactions, **columns)

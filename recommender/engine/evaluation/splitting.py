"""Before and after: what a model may learn from, and what it is measured on.

Always at one instant for all listeners. A split of each listener's own last plays would let a model learn
from what others did after the moment that it is asked about.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recommender.engine.data import Interactions


def split_at(interactions: Interactions, instant: float) -> tuple[Interactions, Interactions]:
    """The plays before `instant` (seconds since 1970), and those at it or after."""
    late = interactions.at >= instant
    return _select_plays(interactions, ~late), _select_plays(interactions, late)


def split_latest(interactions: Interactions, share: float) -> tuple[Interactions, Interactions]:
    """The earlier plays, and about this share (0 to 1) of the latest: plays of one instant stay together."""
    if not len(interactions.at):
        return interactions, interactions
    return split_at(interactions, float(np.quantile(interactions.at, 1 - share, method="higher")))


def plays_of_new_songs(later: csr_array, before: csr_array) -> csr_array:
    """The plays of songs that the same listener had not played before."""
    known = before.copy()
    known.data = np.ones_like(known.data)
    ones = later.copy()
    ones.data = np.ones_like(ones.data)
    fresh = csr_array(ones - ones.multiply(known))
    fresh.eliminate_zeros()
    return fresh


def _select_plays(interactions: Interactions, kept: NDArray[np.bool_]) -> Interactions:
    columns = {name: getattr(interactions, name)[kept] for name in ("listeners", "songs", "at", "count")}
    return replace(interactions, **columns)

"""Impressions: songs from a listener's recent lists are less likely for some days.

Values are lowered before the draw, so propensities stay exact, and lists can be replayed from stored
impressions.

Source:
    Lee et al., "Modeling impression discounting in large-scale recommender systems", KDD 2014.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

HALF_LIFE_DAYS: Final = 4.0
WINDOW_DAYS: Final = 30.0  # older lists do not count
MIN_COUNT: Final = 0.01  # smaller impressions are left out
# The maximum is reached after three days of lists. Without it, ten requests a day would lead to lists from
# the end of the candidates.
MAX_COUNT: Final = 2.5
# An impression costs this share of the distance between the fifth and the fortieth best song: enough for two
# thirds of a list to change from day to day, whatever the scale of the scores (docs/decisions/lists.md).
COST_SHARE: Final = 0.5
COST_RANKS: Final = (5, 40)
# If all values are equal, impressions order the songs within a cluster and hardly change the clusters.
MIN_COST: Final = 1e-3


def sum_impressions(lists: Iterable[tuple[float, Sequence[int]]]) -> dict[int, float]:
    """Each song's number of impressions, halved with each half-life of their age.

    `lists` holds (age in days, songs) of each list; sums are rounded to 4 digits.
    """
    counts: defaultdict[int, float] = defaultdict(float)
    for age, songs in lists:
        weight = 0.5 ** (max(0.0, age) / HALF_LIFE_DAYS)
        for song in songs:
            counts[song] += weight
    return {song: round(count, 4) for song, count in counts.items() if count >= MIN_COUNT}


def lower_shown(
    values: NDArray[np.float64], songs: NDArray[np.int64], impressions: Mapping[int, float]
) -> NDArray[np.float64]:
    """Lower the values of songs with impressions; returns the same array if there are none."""
    if not impressions or not len(songs):
        return values
    counts = np.array([impressions.get(song, 0.0) for song in songs.tolist()])
    lowered: NDArray[np.float64] = values - impression_cost(values) * np.minimum(counts, MAX_COUNT)
    return lowered


def impression_cost(values: NDArray[np.float64]) -> float:
    best_first = np.sort(values)[::-1]
    high, low = (best_first[min(rank, len(values)) - 1] for rank in COST_RANKS)
    return max(MIN_COST, COST_SHARE * float(high - low))

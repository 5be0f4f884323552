"""When songs are played: their listeners weighted by recency, and the days since the first play."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from recommender.engine.clustering.affinities import SECONDS_PER_DAY, recency_weights
from recommender.engine.data import Interactions, SongActivity

# The first is the half-life of a listener's taste; the second shows songs that rise this month.
HALF_LIVES: Final = (90.0, 30.0)  # days


def measure_song_activity(plays: Interactions, now: float) -> SongActivity | None:
    """Measure songs' activity at `now` (seconds since 1970); None if the plays have no times."""
    if not plays.at.any():
        return None
    at = np.minimum(plays.at, now)
    last = _last_plays(plays, at)
    songs, weights = (
        plays.songs[last],
        [recency_weights(at[last], now, half_life_days=days) for days in HALF_LIVES],
    )
    quarter, month = (
        np.bincount(songs, weights=weight, minlength=plays.n_songs).astype(np.float32) for weight in weights
    )
    first_at = np.full(plays.n_songs, now)
    np.minimum.at(first_at, plays.songs, at)
    return SongActivity(quarter, month, np.asarray((now - first_at) / SECONDS_PER_DAY, dtype=np.float32))


def _last_plays(plays: Interactions, at: NDArray[np.float64]) -> NDArray[np.intp]:
    cells = plays.listeners.astype(np.int64) * plays.n_songs + plays.songs
    order = np.lexsort((at, cells))
    is_last = np.append(np.diff(cells[order]) > 0, True) if len(order) else np.zeros(0, dtype=np.bool_)
    return np.asarray(order[is_last], dtype=np.intp)

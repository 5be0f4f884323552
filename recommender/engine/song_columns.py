"""Looks up song ids, or the columns of a model's songs, in others."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.integer[Any]]


def find_columns(song_ids: Numbers, songs: Numbers) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Each song's index in `song_ids` (sorted), and a mask of the songs that `song_ids` contains.

    Where the mask is False, the index has no meaning.
    """
    if not len(song_ids):
        return np.zeros(len(songs), dtype=np.int64), np.zeros(len(songs), dtype=np.bool_)
    columns = np.minimum(np.searchsorted(song_ids, songs), len(song_ids) - 1)
    return columns, song_ids[columns] == songs


def are_among(songs: Numbers, wanted: Numbers) -> NDArray[np.bool_]:
    """Mask that is True for songs among `wanted`: for a few hundred, a seventh of the time of `isin`."""
    return find_columns(np.sort(wanted), songs)[1]

"""Why a song scores as it does for a listener: what each term of the model adds."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from recommender.champion import Model
from recommender.profiles import Known, columns_of

LEAST: Final = 0.005  # what would be shown as 0.00


def contributions(known: Known, model: Model, songs: Sequence[int]) -> dict[int, dict[str, float]]:
    """By song id, then by term: what it adds to the score; songs the model does not know are left out.

    Terms that add nothing are left out; those there are sum up to the score. As things are now, which may
    not be as they were when a list was served.
    """
    ids = np.array(sorted(songs), dtype=np.int64)
    columns, there = columns_of(model.song_ids, ids)
    # Songs that come back are scored as if they had never been heard.
    profile = known.without(ids).profile(model.song_ids)
    terms = model.learnt.explained(profile, columns[there].astype(np.int32))
    return {
        int(song): {
            name: float(values[place]) for name, values in terms.items() if abs(values[place]) >= LEAST
        }
        for place, song in enumerate(ids[there])
    }

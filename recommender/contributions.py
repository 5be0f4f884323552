"""Why a song scores as it does for a listener: what each term of the blend adds."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from recommender.champion import Model
from recommender.engine.few import terms_of, votes_of
from recommender.engine.terms import NAMES, blended
from recommender.profiles import Known, columns_of

UNKNOWN: Final = "while little is known"  # popularity among favourite genres, which stand in for plays


def contributions(known: Known, model: Model, songs: Sequence[int]) -> dict[int, dict[str, float]]:
    """By song id, then by term: what it adds to the score; songs the model does not know are left out.

    Terms that add nothing are left out; those there are sum up to the score. As things are now, which may
    not be as they were when a list was served.
    """
    ids = np.array(sorted(songs), dtype=np.int64)
    columns, there = columns_of(model.song_ids, ids)
    # Songs that come back are scored as if they had never been heard.
    profile = known.without(ids).profile(model.song_ids)
    mix, asked = model.mix, columns[there].astype(np.int32)
    state = mix.known(profile)
    terms = terms_of(mix.parts, state, profile, votes_of(mix.parts, state, profile), asked)
    weighted = terms * mix.weights.astype(np.float32)[:, np.newaxis]
    genres = terms[NAMES.index("genre")][np.newaxis]
    total = blended(mix.parts, state, weighted.sum(axis=0)[np.newaxis], asked, genres)[0]
    shown = weighted * (1 - state.lean[0])
    rest = total - shown.sum(axis=0)
    return {
        int(song): {
            name: float(value)
            for name, value in [*zip(NAMES, shown[:, place], strict=True), (UNKNOWN, rest[place])]
            if abs(value) >= 0.005
        }
        for place, song in enumerate(ids[there])
    }

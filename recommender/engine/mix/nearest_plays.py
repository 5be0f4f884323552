"""The played songs nearest to recommended songs, which reasons name."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from recommender.engine.algorithms.item_similarity import KNN_SHRINK
from recommender.engine.data import NearestPlays
from recommender.engine.mix.components import MixComponents
from recommender.engine.mix.scoring import take_sparse_rows
from recommender.engine.mix.terms import ProfileWeights

# Among the 50 nearest of a song with few listeners are songs that share one or two listeners by chance.
MIN_COMMON_LISTENERS: Final = 3
# How many more common listeners than by chance, in standard deviations of a Poisson distribution.
MIN_EXCESS: Final = 3.0


def find_nearest_plays(
    components: MixComponents, weights: ProfileWeights, songs: NDArray[np.int32]
) -> NearestPlays:
    """Played songs among the nearest 50 of each song by common listeners; often played ones are nearer.

    Only pairs with clearly more common listeners than by chance and, if both songs have genres, with a
    common genre word.
    """
    played, neighbourhood = weights.plain.indices, components.neighbourhood
    if "knn" not in components.neighbours or neighbourhood is None:  # an artifact of an earlier release
        return NearestPlays(played[:0], played[:0], weights.weighted.data[:0])
    entries = take_sparse_rows(components.neighbours["knn"], played)
    is_asked = np.zeros(components.n_songs, dtype=np.bool_)
    is_asked[songs] = True
    kept = is_asked[entries.columns]
    near, cosines = entries.columns[kept], entries.values[kept]
    own = np.repeat(played, entries.widths)[kept]
    often = np.repeat(weights.weighted.data, entries.widths)[kept]
    listeners = components.listeners
    common = cosines * (np.sqrt(listeners[near] * listeners[own]) + np.float32(KNN_SHRINK))
    # The idf is the logarithm of all listeners by those of the song.
    by_chance = listeners[near] * np.exp(-neighbourhood.idf[own])
    enough = common > MIN_COMMON_LISTENERS - 0.5  # a count, but for rounding
    enough &= common - by_chance >= MIN_EXCESS * np.sqrt(by_chance)
    pairs = NearestPlays(near[enough], own[enough], (cosines * often)[enough])
    alike = _share_genres(components, pairs.songs, pairs.played)
    return NearestPlays(pairs.songs[alike], pairs.played[alike], pairs.nearness[alike])


def _share_genres(
    components: MixComponents, songs: NDArray[np.int32], others: NDArray[np.int32]
) -> NDArray[np.bool_]:
    genres = components.genres
    n_genres = np.diff(genres.indptr)
    shared = np.asarray(genres[songs].multiply(genres[others]).sum(axis=1))
    return np.asarray((shared > 0) | (n_genres[songs] == 0) | (n_genres[others] == 0))

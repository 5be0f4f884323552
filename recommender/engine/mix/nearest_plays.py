"""Finds the played songs that are most similar to each recommended song; its reason names them."""

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recommender.engine.algorithms.item_similarity import KNN_SHRINK
from recommender.engine.data import NearestPlays
from recommender.engine.mix.components import MixComponents
from recommender.engine.mix.scoring import take_sparse_rows
from recommender.engine.mix.terms import ProfileWeights

# Among the 50 nearest of a song with few listeners are songs that share one or two listeners by chance.
MIN_COMMON_LISTENERS: Final = 3
# How many more common listeners than by chance, in standard deviations of a Poisson distribution.
MIN_EXCESS: Final = 3.0

# A song of a genre with this share of the plays is not something different.
MIN_GENRE_SHARE: Final = 0.05
MAX_GENRE_SONGS: Final = 40  # the most played songs, one of which a song of their genre names


def find_nearest_plays(
    components: MixComponents, weights: ProfileWeights, songs: NDArray[np.int32]
) -> NearestPlays:
    """Played songs near each song; often played ones are nearer.

    They are among the song's nearest 50 by common listeners, with clearly more of them than by chance and, if
    both have genres, with a common genre word. Songs without any get the most played songs of a genre that
    they share with much of what the listener plays.
    """
    by_listeners = _share_listeners(components, weights, songs)
    others = _without(components, songs, by_listeners.songs)
    by_genre = _share_much_played_genres(components, weights, others)
    return NearestPlays(
        np.concatenate([by_listeners.songs, by_genre.songs]),
        np.concatenate([by_listeners.played, by_genre.played]),
        np.concatenate([by_listeners.nearness, by_genre.nearness]),
    )


def _without(
    components: MixComponents, songs: NDArray[np.int32], left_out: NDArray[np.int32]
) -> NDArray[np.int32]:
    """The other songs, ascending."""
    kept = np.zeros(components.n_songs, dtype=np.bool_)
    kept[songs] = True
    kept[left_out] = False
    return np.sort(songs[kept[songs]])


def _share_listeners(
    components: MixComponents, weights: ProfileWeights, songs: NDArray[np.int32]
) -> NearestPlays:
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


def _share_much_played_genres(
    components: MixComponents, weights: ProfileWeights, songs: NDArray[np.int32]
) -> NearestPlays:
    plays = weights.weighted.data
    played_words = take_sparse_rows(components.genres, weights.plain.indices)
    word_plays = np.zeros(components.genres.shape[1], dtype=np.float32)
    np.add.at(word_plays, played_words.columns, np.repeat(plays, played_words.widths))
    word_shares = word_plays / max(float(plays.sum()), 1e-12)
    telling = np.where(word_shares >= MIN_GENRE_SHARE, components.genre_idf, 0).astype(np.float32)
    best = np.sort(np.argsort(-plays, kind="stable")[:MAX_GENRE_SONGS])
    words = _genre_rows(components, songs)
    words.data = words.data * telling[words.indices]
    shared = words @ _genre_rows(components, weights.plain.indices[best]).T
    shared.eliminate_zeros()
    at, by = np.repeat(np.arange(len(songs)), np.diff(shared.indptr)), best[shared.indices]
    return NearestPlays(songs[at], weights.plain.indices[by], shared.data * plays[by])


def _share_genres(
    components: MixComponents, songs: NDArray[np.int32], others: NDArray[np.int32]
) -> NDArray[np.bool_]:
    starts = components.genres.indptr
    other_songs, other_of = np.unique(others, return_inverse=True)
    words = take_sparse_rows(components.genres, other_songs)
    have_word = np.zeros((len(other_songs), components.genres.shape[1]), dtype=np.bool_)
    have_word[np.repeat(np.arange(len(other_songs)), words.widths), words.columns] = True
    words = take_sparse_rows(components.genres, songs)
    pairs = np.repeat(np.arange(len(songs)), words.widths)
    share: NDArray[np.bool_] = (words.widths == 0) | (starts[others + 1] == starts[others])
    share[pairs[have_word[other_of[pairs], words.columns]]] = True
    return share


def _genre_rows(components: MixComponents, songs: NDArray[np.int32]) -> csr_array:
    """The songs' rows of `genres`, built directly: indexing takes twice as long."""
    words = take_sparse_rows(components.genres, songs)
    starts = np.concatenate([[0], np.cumsum(words.widths)])
    rows = csr_array((words.values, words.columns, starts), shape=(len(songs), components.genres.shape[1]))
    rows.sort_indices()
    return rows

"""Finds the played songs that are most similar to each recommended song; its reason names them."""

import itertools
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recommender.engine.algorithms.item_similarity import KNN_SHRINK
from recommender.engine.data import AlikeSongs, NearestPlays, join_nearest_plays
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
SEED: Final = 7


def find_nearest_plays(
    components: MixComponents, weights: ProfileWeights, songs: Sequence[NDArray[np.int32]]
) -> NearestPlays:
    """Played songs near each listener's songs; often played ones are nearer.

    They are among the song's nearest 50 by common listeners, with clearly more of them than by chance and, if
    both have genres, with a common genre word. Songs without any get the most played songs of a genre that
    they share with much of what the listener plays.
    """
    by_listeners = _share_listeners(components, weights, songs)
    others = _without(components, songs, by_listeners)
    by_genre = _share_much_played_genres(components, weights, others)
    return join_nearest_plays([by_listeners, by_genre])


def _without(
    components: MixComponents, songs: Sequence[NDArray[np.int32]], pairs: NearestPlays
) -> list[NDArray[np.int32]]:
    """Each listener's other songs, ascending."""
    starts = np.searchsorted(pairs.listeners, np.arange(len(songs) + 1))
    kept = np.zeros(components.n_songs, dtype=np.bool_)
    others = []
    for row, asked in enumerate(songs):
        kept[asked] = True
        kept[pairs.songs[starts[row] : starts[row + 1]]] = False
        others.append(np.sort(asked[kept[asked]]))
        kept[asked] = False
    return others


def _share_listeners(
    components: MixComponents, weights: ProfileWeights, songs: Sequence[NDArray[np.int32]]
) -> NearestPlays:
    """Pairs by common listeners, by listener."""
    played, neighbourhood = weights.plain.indices, components.neighbourhood
    if "knn" not in components.neighbours or neighbourhood is None:  # an artifact of an earlier release
        return NearestPlays(np.zeros(0, np.intp), played[:0], played[:0], weights.weighted.data[:0])
    nearest = components.neighbours["knn"][played]
    is_asked = np.zeros(components.n_songs, dtype=np.bool_)
    kept = np.empty(len(nearest.indices), dtype=np.bool_)
    edges = nearest.indptr[weights.plain.indptr]
    for asked, start, stop in zip(songs, edges[:-1], edges[1:], strict=True):
        is_asked[asked] = True
        kept[start:stop] = is_asked[nearest.indices[start:stop]]
        is_asked[asked] = False
    near, cosines = nearest.indices[kept], nearest.data[kept]
    places = np.repeat(np.arange(len(played)), np.diff(nearest.indptr))[kept]
    own, often = played[places], weights.weighted.data[places]
    listeners = components.listeners
    common = cosines * (np.sqrt(listeners[near] * listeners[own]) + np.float32(KNN_SHRINK))
    # The idf is the logarithm of all listeners by those of the song.
    by_chance = listeners[near] * np.exp(-neighbourhood.idf[own])
    enough = common > MIN_COMMON_LISTENERS - 0.5  # a count, but for rounding
    enough &= common - by_chance >= MIN_EXCESS * np.sqrt(by_chance)
    rows = np.repeat(np.arange(len(songs)), np.diff(weights.plain.indptr))[places]
    pairs = NearestPlays(rows[enough], near[enough], own[enough], (cosines * often)[enough])
    alike = _share_genres(components, pairs.songs, pairs.played)
    return pairs.chosen(alike)


def _share_much_played_genres(
    components: MixComponents, weights: ProfileWeights, songs: Sequence[NDArray[np.int32]]
) -> NearestPlays:
    """Pairs by genre, by listener, of one of the songs with the same genres."""
    n, n_words = len(songs), components.genres.shape[1]
    starts, plays = weights.plain.indptr, weights.weighted.data
    word_plays = _plays_by_word(components, weights)
    telling = np.empty((n, n_words), dtype=np.float32)
    best = []
    for row, (start, stop) in enumerate(itertools.pairwise(starts)):
        word_shares = word_plays[row] / max(float(plays[start:stop].sum()), 1e-12)
        telling[row] = np.where(word_shares >= MIN_GENRE_SHARE, components.genre_idf, 0)
        best.append(start + np.sort(np.argsort(-plays[start:stop], kind="stable")[:MAX_GENRE_SONGS]))
    asked_by = np.repeat(np.arange(n), [len(one) for one in songs])
    best_of = np.repeat(np.arange(n), [len(one) for one in best])
    places = np.concatenate([*best, np.empty(0, dtype=np.int64)]).astype(np.int64)
    asked = np.concatenate([*songs, np.empty(0, dtype=np.int32)]).astype(np.int32)
    first = _first_of_same_genres(components, asked, asked_by)
    is_first = first == np.arange(len(asked))
    alike = AlikeSongs(asked_by[~is_first], asked[~is_first], asked[first[~is_first]])
    asked, asked_by = asked[is_first], asked_by[is_first]
    # Each listener has words of their own, so that one product serves all of them.
    wanted = _genre_rows(components, asked, asked_by, n)
    wanted.data = wanted.data * telling.ravel()[wanted.indices]
    shared = wanted @ _genre_rows(components, weights.plain.indices[places], best_of, n).T
    shared.eliminate_zeros()
    at, by = np.repeat(np.arange(len(asked)), np.diff(shared.indptr)), places[shared.indices]
    return NearestPlays(asked_by[at], asked[at], weights.plain.indices[by], shared.data * plays[by], alike)


def _plays_by_word(components: MixComponents, weights: ProfileWeights) -> NDArray[np.float32]:
    """Each listener's weighted plays by genre word, shape (n, n_words)."""
    n, n_words = weights.plain.shape[0], components.genres.shape[1]
    words = take_sparse_rows(components.genres, weights.plain.indices)
    rows = np.repeat(np.arange(n) * n_words, np.diff(weights.plain.indptr))
    plays = np.zeros(n * n_words, dtype=np.float32)
    cells = np.repeat(rows, words.widths) + words.columns
    np.add.at(plays, cells, np.repeat(weights.weighted.data, words.widths))
    return plays.reshape(n, n_words)


def _first_of_same_genres(
    components: MixComponents, songs: NDArray[np.int32], listeners: NDArray[np.intp]
) -> NDArray[np.intp]:
    """The place of the listener's first song with the same genres, for each song.

    Candidates have about a third as many sets of genres.
    """
    words = take_sparse_rows(components.genres, songs)
    # A set is known by the sum of its words' random numbers; two sets share one in 2 ** 64 cases.
    random = np.random.default_rng(SEED).integers(
        0, 2**64, components.genres.shape[1] + int(listeners.max(initial=0)) + 1, dtype=np.uint64
    )
    of_words, of_listeners = np.split(random, [components.genres.shape[1]])
    sums = np.concatenate([np.zeros(1, dtype=np.uint64), np.cumsum(of_words[words.columns])])
    ends = np.concatenate([[0], np.cumsum(words.widths)])
    sets = sums[ends[1:]] - sums[ends[:-1]] + of_listeners[listeners]
    _, first, numbers = np.unique(sets, return_index=True, return_inverse=True)
    return np.asarray(first[numbers])


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


def _genre_rows(
    components: MixComponents, songs: NDArray[np.int32], listeners: NDArray[np.intp], n_listeners: int
) -> csr_array:
    """The songs' rows of `genres`, each in the columns of its listener.

    They are built directly: indexing takes twice as long.
    """
    n_words = components.genres.shape[1]
    words = take_sparse_rows(components.genres, songs)
    starts = np.concatenate([[0], np.cumsum(words.widths)])
    columns = words.columns + np.repeat(listeners * n_words, words.widths).astype(np.int32)
    rows = csr_array((words.values, columns, starts), shape=(len(songs), n_listeners * n_words))
    rows.sort_indices()
    return rows

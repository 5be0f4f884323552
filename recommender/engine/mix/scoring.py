"""Computes the terms of `mix`: batch for all songs, online for the preselected songs of a request."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recommender.engine.algorithms.base import expand_ranges
from recommender.engine.data import Profiles
from recommender.engine.mix.components import FullNeighbours, MixComponents
from recommender.engine.mix.terms import (
    DIRECTION_TERMS,
    SHARE_FLOOR,
    TERM_NAMES,
    TIME_TERMS,
    VOTE_TERMS,
    ListenerFeatures,
    RowBuffers,
    TermMoments,
    VoteTerm,
    linear_terms,
    standardise_term,
    term_moments,
    time_terms,
)

PRESELECTED_CLUSTERS = 40  # best clusters, each with its most played songs
HITS_PER_CLUSTER = 3  # most played songs taken from every cluster, so that each cluster has a chance
PRESELECTED_ARTISTS = 40  # the listener's most played artists
SONGS_PER_ARTIST = 10


def batch_terms(
    components: MixComponents, features: ListenerFeatures, profiles: Profiles, weights: NDArray[np.float64]
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Yield each weighted term: its index in TERM_NAMES and its values, shape (n, n_songs)."""
    wanted = {name for name, weight in zip(TERM_NAMES, weights, strict=True) if weight}
    rows = np.repeat(np.arange(profiles.n), np.diff(profiles.plays.indptr))
    played = (rows, profiles.plays.indices)
    for name, raw in _batch_vote_terms(components, features, wanted):
        yield TERM_NAMES.index(name), _standardise_over_unplayed(raw, played)
    if wanted & set(DIRECTION_TERMS):
        for name, raw in linear_terms(components, features.directions, slice(None)).items():
            yield TERM_NAMES.index(name), _standardise_over_unplayed(raw, played)
    if "user_knn" in wanted and components.neighbourhood is not None:
        votes = components.neighbourhood.votes(features.profile_weights.weighted, features.keys)
        raw = np.asarray(votes.toarray(), dtype=np.float32)
        yield TERM_NAMES.index("user_knn"), _standardise_over_unplayed(raw, played)
    for name, values in _batch_share_terms(components, features, wanted):
        yield TERM_NAMES.index(name), values
    if wanted & set(TIME_TERMS):
        for name, values in time_terms(components, slice(None)).items():
            yield TERM_NAMES.index(name), np.broadcast_to(values, (profiles.n, components.n_songs))


def _batch_vote_terms(
    components: MixComponents, features: ListenerFeatures, wanted: set[str]
) -> Iterator[tuple[str, NDArray[np.float32]]]:
    for name, vote in VOTE_TERMS.items():
        if name in wanted and vote.matrix in components.neighbours:
            plays = features.profile_weights.weighted if vote.weighted else features.profile_weights.plain
            raw = (plays @ components.neighbours[vote.matrix]).toarray()
            yield name, np.sqrt(np.maximum(raw, 0)) if vote.root else raw


def _standardise_over_unplayed(
    raw: NDArray[np.float32], played: tuple[NDArray[np.int64], NDArray[np.int32]]
) -> NDArray[np.float32]:
    raw[played] = 0
    totals = raw.sum(axis=1, dtype=np.float64)
    squares = (raw * raw).sum(axis=1, dtype=np.float64)
    n_unplayed = raw.shape[1] - np.bincount(played[0], minlength=len(raw))
    return standardise_term(raw, term_moments(totals, squares, n_unplayed))


def _batch_share_terms(
    components: MixComponents, features: ListenerFeatures, wanted: set[str]
) -> Iterator[tuple[str, NDArray[np.float32]]]:
    n = len(features.cold_start_weight)
    if "artist" in wanted:
        yield "artist", np.log(features.artists.toarray() + np.float32(SHARE_FLOOR))[:, components.artists]
    if "album" in wanted and components.albums is not None and features.albums is not None:
        yield "album", np.log(features.albums.toarray() + np.float32(SHARE_FLOOR))[:, components.albums]
    if "affinity" in wanted:
        yield "affinity", np.log(features.affinities + np.float32(SHARE_FLOOR))[:, components.labels]
    if "popularity" in wanted:
        yield (
            "popularity",
            np.repeat(np.log(components.listeners + np.float32(0.5))[np.newaxis, :], n, axis=0),
        )
    if "genre" in wanted and features.favourite_genres.nnz:
        yield (
            "genre",
            np.asarray((features.favourite_genres @ components.genres.T).toarray(), dtype=np.float32),
        )


@dataclass(frozen=True)
class NeighbourVotes:
    """Summed similarities to the songs that one listener played."""

    songs: NDArray[np.int64]  # shape (m,), ascending
    names: tuple[str, ...]  # the terms
    sums: NDArray[np.float64]  # shape (len(names), m + 1); the last column is 0, for all other songs
    moments: TermMoments  # of each term over all unplayed songs, shape (len(names),)

    places: NDArray[np.int32]  # shape (n_songs,), all -1: memory that the listeners of a block share

    @cached_property
    def terms(self) -> NDArray[np.float32]:
        """The standardised sums, shape as `sums`."""
        return standardise_term(self.sums.astype(np.float32), self.moments)

    def columns_of(self, songs: NDArray[np.integer[Any]]) -> NDArray[np.int32]:
        """Each song's column in `sums`; -1, which is the last one, without votes."""
        self.places[self.songs] = np.arange(len(self.songs), dtype=np.int32)
        columns: NDArray[np.int32] = self.places[songs]
        self.places[self.songs] = -1
        return columns

    def sums_of(self, name: str) -> NDArray[np.float64] | None:
        """The term's sums, shape (m,); None if the model does not have the term."""
        return self.sums[self.names.index(name), :-1] if name in self.names else None


def sum_neighbour_votes(
    components: MixComponents, features: ListenerFeatures, profiles: Profiles
) -> list[NeighbourVotes]:
    """The votes of each listener in `profiles`."""
    plain, weighted = features.profile_weights.plain, features.profile_weights.weighted
    full = components.full_neighbours
    if full is None:
        # scipy copies whole rows: for a block of listeners a fifth of the time of `take_sparse_rows`.
        reached = {name: matrix[plain.indices] for name, matrix in components.neighbours.items()}
    else:
        # In the order of the songs used, as sparse rows are summed: the same bits.
        ones = csr_array((np.ones(len(plain.indices)), plain.indices, plain.indptr), shape=plain.shape)
        totals = {name: ones @ weights for name, weights in full.double_weights.items()}
    found = []
    # Used again for each listener: new memory takes longer than what is done with it.
    memory = _VoteMemory(
        np.zeros(components.n_songs, dtype=np.bool_), np.full(components.n_songs, -1, dtype=np.int32)
    )
    for row in range(profiles.n):
        start, stop = plain.indptr[row], plain.indptr[row + 1]
        used, weights = plain.indices[start:stop], weighted.data[start:stop]
        by_listeners = None
        if components.neighbourhood is not None:
            key = None if features.keys is None else int(features.keys[row])
            by_listeners = components.neighbourhood.votes_of_one(used, weights, key)
        played = entries_of_row(profiles.plays, row)[0]
        if full is None:
            entries = {name: _rows_between(matrix, start, stop) for name, matrix in reached.items()}
            found.append(_votes_of_one(memory, entries, weights, by_listeners, played))
        else:
            own = {name: total[row] for name, total in totals.items()}
            found.append(_full_votes_of_one(memory.places, full, own, used, weights, by_listeners, played))
    return found


def _full_votes_of_one(
    places: NDArray[np.int32],
    full: FullNeighbours,
    plain_sums: Mapping[str, NDArray[np.float64]],
    used: NDArray[np.int32],
    weights: NDArray[np.float32],
    by_listeners: tuple[NDArray[np.int32], NDArray[np.float32]] | None,
    played: NDArray[np.int32],
) -> NeighbourVotes:
    """One listener's votes from full arrays; equal to `_votes_of_one` to the last bit.

    Args:
        plain_sums: of the songs used, by matrix, shape (n_songs,).
        used: columns of the songs used, with their `weights`.
    """
    mask = np.logical_or.reduce(full.are_linked[used], axis=0)
    if by_listeners is not None:
        mask[by_listeners[0]] = True
    mask[played] = False
    songs = np.flatnonzero(mask)
    sums = {}
    for name, vote in VOTE_TERMS.items():
        if vote.matrix not in full.weights:
            continue
        raw = plain_sums[vote.matrix]
        if vote.weighted:
            # Products have the precision of the stored weights, and sums are double.
            products = full.weights[vote.matrix][used] * weights[:, np.newaxis]
            raw = np.add.reduce(products, axis=0, dtype=np.float64, initial=0.0)
        sums[name] = np.sqrt(np.maximum(raw, 0)) if vote.root else raw
    if by_listeners is not None:
        sums["user_knn"] = np.bincount(by_listeners[0], weights=by_listeners[1], minlength=len(mask))
    rows = np.zeros((len(sums), len(songs) + 1))
    for place, one in enumerate(sums.values()):
        rows[place, :-1] = one[songs]
    return _build_votes(songs, tuple(sums), rows, len(mask) - len(played), places)


def _build_votes(
    songs: NDArray[np.int64],
    names: tuple[str, ...],
    rows: NDArray[np.float64],
    n_unplayed: int,
    places: NDArray[np.int32],
) -> NeighbourVotes:
    totals, squares = rows.sum(axis=1), (rows**2).sum(axis=1)
    return NeighbourVotes(songs, names, rows, term_moments(totals, squares, np.array([n_unplayed])), places)


class _VoteMemory(NamedTuple):
    mask: NDArray[np.bool_]  # shape (n_songs,), all False
    places: NDArray[np.int32]  # shape (n_songs,), all -1


def _rows_between(matrix: csr_array, start: int, stop: int) -> "SparseRows":
    first, end = matrix.indptr[start], matrix.indptr[stop]
    widths = np.diff(matrix.indptr[start : stop + 1])
    return SparseRows(matrix.indices[first:end], matrix.data[first:end], widths)


def _votes_of_one(
    memory: _VoteMemory,
    reached: Mapping[str, "SparseRows"],
    weights: NDArray[np.float32],
    by_listeners: tuple[NDArray[np.int32], NDArray[np.float32]] | None,
    played: NDArray[np.int32],
) -> NeighbourVotes:
    """One listener's votes.

    Args:
        reached: the neighbours of the songs used, by matrix.
        weights: of the songs used.
        by_listeners: songs and votes of the nearest listeners.
    """
    mask, places = memory
    for entries in reached.values():
        mask[entries.columns] = True
    if by_listeners is not None:
        mask[by_listeners[0]] = True
    mask[played] = False
    songs = np.flatnonzero(mask)
    mask[songs] = False
    places[songs] = np.arange(len(songs), dtype=np.int32)
    places[played] = len(songs)
    raw: dict[tuple[str, bool], NDArray[np.float64]] = {}
    for name, entries in reached.items():
        reached_places = places[entries.columns]
        # All weights of `plain` are 1.
        raw[name, False] = _sum_by_place(reached_places, entries.values, len(songs))
        if VoteTerm(name, weighted=True, root=False) in VOTE_TERMS.values():
            by_play = entries.values * np.repeat(weights, entries.widths)
            raw[name, True] = _sum_by_place(reached_places, by_play, len(songs))
    sums = {
        name: np.sqrt(np.maximum(raw[vote.matrix, vote.weighted], 0))
        if vote.root
        else raw[vote.matrix, vote.weighted]
        for name, vote in VOTE_TERMS.items()
        if vote.matrix in reached
    }
    if by_listeners is not None:
        sums["user_knn"] = _sum_by_place(places[by_listeners[0]], by_listeners[1], len(songs))
    places[songs] = places[played] = -1
    rows = np.array(list(sums.values())).reshape(len(sums), len(songs) + 1)
    return _build_votes(songs, tuple(sums), rows, len(mask) - len(played), places)


def _sum_by_place(
    places: NDArray[np.int32], values: NDArray[np.float32], n_songs: int
) -> NDArray[np.float64]:
    sums: NDArray[Any] = np.bincount(places, weights=values, minlength=n_songs + 1)
    sums[n_songs] = 0  # the sum of the played songs
    return sums


class SparseRows(NamedTuple):
    columns: NDArray[np.int32]
    values: NDArray[np.float32]
    widths: NDArray[np.int64]


def take_sparse_rows(matrix: csr_array, rows: NDArray[np.integer[Any]]) -> SparseRows:
    starts, stops = matrix.indptr[rows], matrix.indptr[rows + 1]
    widths = (stops - starts).astype(np.int64)
    entries = expand_ranges(starts, widths)
    return SparseRows(matrix.indices[entries], matrix.data[entries], widths)


def preselect_songs(
    components: MixComponents,
    weights: NDArray[np.float64],
    features: ListenerFeatures,
    profiles: Profiles,
    votes: Sequence[NeighbourVotes],
    budget: int,
    rows: Sequence[int],
) -> list[NDArray[np.int64]]:
    """About `budget` songs of each listener in `rows` that are likely to score well, ascending.

    They are those with the most votes, the most played of the best clusters and favourite artists, and a few
    of every cluster.
    """
    closed = [profiles.plays] if profiles.excluded is None else [profiles.plays, profiles.excluded]
    if budget < components.n_songs:
        all_clusters = np.arange(components.n_clusters)
        by_cluster = components.by_cluster, components.cluster_starts
        of_every_cluster = _first_of_groups(*by_cluster, all_clusters, np.array(HITS_PER_CLUSTER))
    chosen = []
    for row in rows:
        own = votes[row]
        mask = np.full(components.n_songs, budget >= components.n_songs, dtype=np.bool_)
        if budget < components.n_songs:
            voted = _top_voted_songs(weights, own, budget // 2)
            mask[voted] = True
            mask[of_every_cluster] = True
            clusters, sizes = _best_clusters(components, features.affinities[row], own, budget - len(voted))
            mask[_first_of_groups(*by_cluster, clusters, sizes)] = True
            mask[_songs_of_best_artists(components, *entries_of_row(features.artists, row))] = True
        for matrix in closed:
            mask[entries_of_row(matrix, row)[0]] = False
        songs = np.flatnonzero(mask)
        chosen.append(songs[components.available[songs]])
    return chosen


def entries_of_row(matrix: csr_array, row: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Columns and values of a row: views, where indexing would build a matrix."""
    start, stop = matrix.indptr[row], matrix.indptr[row + 1]
    return matrix.indices[start:stop], matrix.data[start:stop]


def _songs_of_best_artists(
    components: MixComponents, artists: NDArray[np.int32], shares: NDArray[np.float32]
) -> NDArray[np.int32]:
    best = artists[top_places(shares, PRESELECTED_ARTISTS)].astype(np.intp)
    return _first_of_groups(components.by_artist, components.artist_starts, best, np.array(SONGS_PER_ARTIST))


def _top_voted_songs(weights: NDArray[np.float64], votes: NeighbourVotes, most: int) -> NDArray[np.int64]:
    if len(votes.songs) <= most:
        return votes.songs
    total = np.zeros(len(votes.songs))
    for name, sums, deviation in zip(votes.names, votes.sums, votes.moments.deviation.tolist(), strict=True):
        if deviation > 0:
            total += sums[:-1] * (weights[TERM_NAMES.index(name)] / deviation)
    return votes.songs[np.argpartition(-total, most)[:most]]


def _best_clusters(
    components: MixComponents, affinities: NDArray[np.float32], votes: NeighbourVotes, songs: int
) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
    shares = affinities.astype(np.float64)
    sums = votes.sums_of("rp3")
    if sums is not None and sums.any():
        labels = components.labels[votes.songs]
        shares += np.bincount(labels, weights=sums, minlength=components.n_clusters) / sums.sum()
    clusters = top_places(shares, PRESELECTED_CLUSTERS)
    # Half of the songs is spread evenly, for new music; half by share, for coverage of the favourites.
    by_share = shares[clusters] / max(float(shares[clusters].sum()), 1e-12)
    return clusters, np.ceil(songs / 2 * (1 / len(clusters) + by_share)).astype(np.int64)


def _first_of_groups(
    order: NDArray[np.int32], starts: NDArray[np.int64], groups: NDArray[np.intp], most: NDArray[np.int64]
) -> NDArray[np.int32]:
    sizes = np.minimum(starts[groups + 1] - starts[groups], most)
    return np.asarray(order[expand_ranges(starts[groups], sizes)])


def top_places(scores: NDArray[np.floating[Any]], n: int) -> NDArray[np.intp]:
    """Indices of the n largest scores, largest first; the lower index wins ties."""
    if n <= 0 or n >= len(scores):
        return np.argsort(-scores, kind="stable")[: max(n, 0)]
    # Sorts only scores that reach the n-th largest: a third of the time for 400 of 2 000.
    contenders = np.flatnonzero(scores >= np.partition(scores, len(scores) - n)[len(scores) - n])
    return contenders[np.argsort(-scores[contenders], kind="stable")[:n]]


def online_terms(
    components: MixComponents,
    features: ListenerFeatures,
    moments: TermMoments,
    votes: Sequence[NeighbourVotes],
    songs: Sequence[NDArray[np.integer[Any]]],
) -> Iterator[NDArray[np.float32]]:
    """Yield the terms of each listener's songs, shape (n_terms, number of songs); the next ones replace them.

    Args:
        moments: of the direction terms, see `direction_moments`.
    """
    first = TERM_NAMES.index(DIRECTION_TERMS[0])
    directions = slice(first, first + len(DIRECTION_TERMS))
    starts = np.concatenate([[0], np.cumsum([len(chosen) for chosen in songs])])
    columns = np.concatenate([*songs, np.empty(0, dtype=np.int32)]).astype(np.int32)
    of_songs = {
        TERM_NAMES.index(name): values
        for name, values in (
            _online_share_terms(components, features, columns, starts) | time_terms(components, columns)
        ).items()
    }
    most = max(map(len, songs), default=0)
    memory = np.empty(len(TERM_NAMES) * most, dtype=np.float32)
    buffers = RowBuffers.for_songs(components, most)
    for row, (own, chosen) in enumerate(zip(votes, songs, strict=True)):
        terms = memory[: len(TERM_NAMES) * len(chosen)].reshape(len(TERM_NAMES), len(chosen))
        terms[:] = 0
        if own.names:
            voted = own.columns_of(chosen)
            for name, values in zip(own.names, own.terms, strict=True):
                values.take(voted, out=terms[TERM_NAMES.index(name)], mode="wrap")
        linear = linear_terms(components, features.directions.of_listener(row), chosen, buffers)
        raw = np.concatenate([linear[name] for name in DIRECTION_TERMS])
        terms[directions] = standardise_term(raw, TermMoments(moments.mean[row], moments.deviation[row]))
        for index, values in of_songs.items():
            terms[index] = values[starts[row] : starts[row + 1]]
        yield terms


def direction_moments(
    components: MixComponents, features: ListenerFeatures, profiles: Profiles
) -> TermMoments:
    """Each listener's moments of DIRECTION_TERMS over the unplayed songs, shape (n, n_terms)."""
    shape = (profiles.n, len(DIRECTION_TERMS))
    totals, squares = np.zeros(shape), np.zeros(shape)
    vectors = features.directions.vectors()
    for row in range(profiles.n):
        columns = entries_of_row(profiles.plays, row)[0]
        played = linear_terms(components, features.directions.of_listener(row), columns)
        for term, name in enumerate(DIRECTION_TERMS):
            direction, of_played = vectors[name][row], played[name][0].astype(np.float64)
            space, width = name.removesuffix("_short"), len(direction)
            # A linear score s = V p has the mean mean(V) p and the mean square p' (V'V / n) p, so the moments
            # need no scores of all songs.
            mean = components.centres[space][:width] @ direction
            mean_square = direction @ components.products[space][:width, :width] @ direction
            totals[row, term] = components.n_songs * mean - of_played.sum()
            squares[row, term] = components.n_songs * mean_square - (of_played**2).sum()
    n_unplayed = components.n_songs - np.diff(profiles.plays.indptr)
    return term_moments(totals, squares, n_unplayed[:, np.newaxis])


def _genre_matches(
    components: MixComponents,
    features: ListenerFeatures,
    songs: NDArray[np.int32],
    starts: NDArray[np.int64],
) -> NDArray[np.float32]:
    favourites, genres = features.favourite_genres, components.genres
    if not favourites.nnz:
        return np.zeros(len(songs), dtype=np.float32)
    n = len(starts) - 1
    if 2 * len(songs) > n * components.n_songs:
        # All songs for all listeners: a fifth of the time. Both ways sum words in order, in double precision.
        every = csr_array((np.ones(genres.nnz), genres.indices, genres.indptr), shape=genres.shape)
        of_all = every @ favourites.toarray().T.astype(np.float64)
        return np.asarray(of_all[songs, np.repeat(np.arange(n), np.diff(starts))], dtype=np.float32)
    matches = np.zeros(len(songs), dtype=np.float32)
    word_weights = np.zeros(genres.shape[1], dtype=np.float32)
    for row, (start, stop) in enumerate(itertools.pairwise(starts)):
        words, weights = entries_of_row(favourites, row)
        if not len(words):
            continue
        word_weights[words] = weights
        entries = take_sparse_rows(genres, songs[start:stop])
        rows = np.repeat(np.arange(stop - start), entries.widths)
        by_word = word_weights[entries.columns]
        matches[start:stop] = np.bincount(rows, weights=by_word, minlength=stop - start)
        word_weights[words] = 0
    return matches


def _online_share_terms(
    components: MixComponents,
    features: ListenerFeatures,
    songs: NDArray[np.int32],
    starts: NDArray[np.int64],
) -> dict[str, NDArray[np.float32]]:
    listeners = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    affinity = features.affinities[listeners, components.labels[songs]]
    shares = (
        {}
        if components.albums is None or features.albums is None
        else {"album": _log_shares(features.albums, components.albums[songs], starts)}
    )
    return {
        **shares,
        "artist": _log_shares(features.artists, components.artists[songs], starts),
        "affinity": np.log(affinity + np.float32(SHARE_FLOOR)),
        "popularity": np.log(components.listeners[songs] + np.float32(0.5)),
        "genre": _genre_matches(components, features, songs, starts),
    }


def _log_shares(
    shares: csr_array, groups: NDArray[np.int32], starts: NDArray[np.int64]
) -> NDArray[np.float32]:
    """log(share + .02) of each song's group, for the listener whose songs are between two of `starts`."""
    share = np.empty(len(groups), dtype=np.float32)
    of_group = np.zeros(shares.shape[1], dtype=np.float32)
    for row, (start, stop) in enumerate(itertools.pairwise(starts)):
        codes, values = entries_of_row(shares, row)
        of_group[codes] = values
        share[start:stop] = of_group[groups[start:stop]]
        of_group[codes] = 0
    return np.asarray(np.log(share + np.float32(SHARE_FLOOR)))

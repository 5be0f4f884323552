"""The terms of all songs for some listeners: what a benchmark and the tuning need, and a request does not."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recommender.engine.data import Profiles
from recommender.engine.mix.components import MixComponents
from recommender.engine.mix.terms import (
    DIRECTION_TERMS,
    SHARE_FLOOR,
    TERM_NAMES,
    VOTE_TERMS,
    ListenerFeatures,
    TermMoments,
    linear_terms,
    standardise_term,
    term_moments,
)


def batch_terms(
    components: MixComponents, features: ListenerFeatures, profiles: Profiles, weights: NDArray[np.float64]
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Place in NAMES and values (n, n_songs) of each term that has a weight, one at a time."""
    wanted = {name for name, weight in zip(TERM_NAMES, weights, strict=True) if weight}
    rows = np.repeat(np.arange(profiles.n), np.diff(profiles.plays.indptr))
    heard = (rows, profiles.plays.indices)
    for name, raw in _batch_vote_terms(components, features, wanted):
        yield TERM_NAMES.index(name), _standardise_over_unplayed(raw, heard)
    if wanted & set(DIRECTION_TERMS):
        for name, raw in linear_terms(components, features.directions, slice(None)).items():
            yield TERM_NAMES.index(name), _standardise_over_unplayed(raw, heard)
    for name, values in _batch_shares(components, features, wanted):
        yield TERM_NAMES.index(name), values


def _batch_vote_terms(
    components: MixComponents, features: ListenerFeatures, wanted: set[str]
) -> Iterator[tuple[str, NDArray[np.float32]]]:
    for name, vote in VOTE_TERMS.items():
        if name in wanted and vote.matrix in components.neighbours:
            voice = features.profile_weights.weighted if vote.weighted else features.profile_weights.plain
            raw = (voice @ components.neighbours[vote.matrix]).toarray()
            yield name, np.sqrt(np.maximum(raw, 0)) if vote.root else raw


def _standardise_over_unplayed(
    raw: NDArray[np.float32], played: tuple[NDArray[np.int64], NDArray[np.int32]]
) -> NDArray[np.float32]:
    raw[played] = 0
    totals = raw.sum(axis=1, dtype=np.float64)
    squares = (raw * raw).sum(axis=1, dtype=np.float64)
    unheard = raw.shape[1] - np.bincount(played[0], minlength=len(raw))
    return standardise_term(raw, term_moments(totals, squares, unheard), 1.0)


def _batch_shares(
    components: MixComponents, features: ListenerFeatures, wanted: set[str]
) -> Iterator[tuple[str, NDArray[np.float32]]]:
    n = len(features.cold_start_weight)
    if "artist" in wanted:
        yield "artist", np.log(features.artists.toarray() + np.float32(SHARE_FLOOR))[:, components.artists]
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


PRESELECTED_CLUSTERS = 40  # best ones, each looked at by its most played songs
HITS_PER_CLUSTER = 3  # of every cluster: what most listeners play has its chance everywhere
PRESELECTED_ARTISTS = 40  # most played ones, each by so many of their songs:
SONGS_PER_ARTIST = 10


@dataclass(frozen=True)
class NeighbourVotes:
    """What the neighbours of one listener's songs say, of the songs they reach.

    Attributes:
        songs: shape (m,), ascending; none that was heard.
        sums: by term, shape (m,).
        spreads: by term, over all songs not heard.
    """

    songs: NDArray[np.int64]
    sums: dict[str, NDArray[np.float64]]
    spreads: dict[str, TermMoments]


def top_places(scores: NDArray[np.floating[Any]], n: int) -> NDArray[np.intp]:
    """Places of the n largest, ties: the first."""
    if n <= 0 or n >= len(scores):
        return np.argsort(-scores, kind="stable")[: max(n, 0)]
    # Only those that reach the n-th are sorted: a third of the time for 400 of 2 000.
    reach = np.flatnonzero(scores >= np.partition(scores, len(scores) - n)[len(scores) - n])
    return reach[np.argsort(-scores[reach], kind="stable")[:n]]


def sum_neighbour_votes(
    components: MixComponents, features: ListenerFeatures, profile: Profiles
) -> NeighbourVotes:
    plain, weighted = features.profile_weights.plain, features.profile_weights.weighted
    reached = {
        name: _take_sparse_rows(matrix, plain.indices) for name, matrix in components.neighbours.items()
    }
    mask = np.zeros(components.n_songs, dtype=np.bool_)
    for entries in reached.values():
        mask[entries.songs] = True
    mask[profile.plays.indices] = False
    songs = np.flatnonzero(mask)
    # Only the places of songs reached are written, and read: the rest of the array costs nothing.
    place = np.empty(components.n_songs, dtype=np.int32)
    place[songs] = np.arange(len(songs), dtype=np.int32)
    place[profile.plays.indices] = len(songs)
    sums: dict[str, NDArray[np.float64]] = {}
    for name, vote in VOTE_TERMS.items():
        if vote.matrix in reached:
            entries = reached[vote.matrix]
            voice = np.repeat((weighted if vote.weighted else plain).data, entries.widths)
            weights = entries.values * voice
            raw: NDArray[Any] = np.bincount(place[entries.songs], weights=weights, minlength=len(songs) + 1)[
                : len(songs)
            ]
            sums[name] = np.sqrt(np.maximum(raw, 0)) if vote.root else raw
    unheard = np.array([components.n_songs - profile.plays.nnz])
    spreads = {
        name: term_moments(np.array([raw.sum()]), np.array([(raw**2).sum()]), unheard)
        for name, raw in sums.items()
    }
    return NeighbourVotes(songs, sums, spreads)


class SparseRows(NamedTuple):
    """Some rows of a sparse matrix, one after the other."""

    songs: NDArray[np.int32]
    values: NDArray[np.float32]
    widths: NDArray[np.int64]


def _take_sparse_rows(matrix: csr_array, rows: NDArray[np.integer[Any]]) -> SparseRows:
    starts, stops = matrix.indptr[rows], matrix.indptr[rows + 1]
    widths = (stops - starts).astype(np.int64)
    ends = np.cumsum(widths)
    places = np.repeat(starts - (ends - widths), widths) + np.arange(ends[-1] if len(ends) else 0)
    return SparseRows(matrix.indices[places], matrix.data[places], widths)


def preselect_songs(
    components: MixComponents,
    weights: NDArray[np.float64],
    features: ListenerFeatures,
    profile: Profiles,
    votes: NeighbourVotes,
    budget: int,
) -> NDArray[np.int64]:
    """Songs to look at, ascending: reached by votes, heads of clusters, songs of the listener's artists."""
    mask = np.full(components.n_songs, budget >= components.n_songs, dtype=np.bool_)
    if budget < components.n_songs:
        reached = _top_voted_songs(weights, votes, budget // 2)
        clusters, sizes = _best_clusters(components, features, votes, budget - len(reached))
        everywhere = np.arange(components.n_clusters)
        artists = features.artists.indices[top_places(features.artists.data, PRESELECTED_ARTISTS)]
        mask[reached] = True
        mask[_first_songs_of_groups(components.by_cluster, components.cluster_starts, clusters, sizes)] = True
        mask[
            _first_songs_of_groups(
                components.by_cluster, components.cluster_starts, everywhere, np.array(HITS_PER_CLUSTER)
            )
        ] = True
        mask[
            _first_songs_of_groups(
                components.by_artist, components.artist_starts, artists, np.array(SONGS_PER_ARTIST)
            )
        ] = True
    mask[profile.plays.indices] = False
    if profile.excluded is not None:
        mask[profile.excluded.indices] = False
    songs = np.flatnonzero(mask)
    return songs[components.available[songs]]


def _top_voted_songs(weights: NDArray[np.float64], votes: NeighbourVotes, most: int) -> NDArray[np.int64]:
    """The songs with the best sum of votes, as far as there are more than `most`."""
    if len(votes.songs) <= most:
        return votes.songs
    total = np.zeros(len(votes.songs))
    for name, spread in votes.spreads.items():
        deviation = float(spread.deviation[0])
        if deviation > 0:
            total += votes.sums[name] * (weights[TERM_NAMES.index(name)] / deviation)
    return votes.songs[np.argpartition(-total, most)[:most]]


def _best_clusters(
    components: MixComponents, features: ListenerFeatures, votes: NeighbourVotes, songs: int
) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
    """The best clusters by the listener's affinity and the votes' share, and how many songs to take of each.

    Half of `songs` is spread evenly: it finds what is new; half by share: it finds all that is liked.
    """
    shares = features.affinities[0].astype(np.float64)
    if "rp3" in votes.sums and votes.sums["rp3"].any():
        sums, labels = votes.sums["rp3"], components.labels[votes.songs]
        shares += np.bincount(labels, weights=sums, minlength=components.n_clusters) / sums.sum()
    clusters = top_places(shares, PRESELECTED_CLUSTERS)
    liked = shares[clusters] / max(float(shares[clusters].sum()), 1e-12)
    return clusters, np.ceil(songs / 2 * (1 / len(clusters) + liked)).astype(np.int64)


def _first_songs_of_groups(
    order: NDArray[np.int32], starts: NDArray[np.int64], groups: NDArray[np.intp], each: NDArray[np.int64]
) -> NDArray[np.int32]:
    """The first `each` songs of each group, in an order that is sorted by group."""
    begins = starts[groups]
    sizes = np.minimum(starts[groups + 1] - begins, each)
    ends = np.cumsum(sizes)
    places = np.repeat(begins - (ends - sizes), sizes) + np.arange(ends[-1] if len(ends) else 0)
    return np.asarray(order[places])


def online_terms(
    components: MixComponents,
    features: ListenerFeatures,
    profile: Profiles,
    votes: NeighbourVotes,
    songs: NDArray[np.integer[Any]],
) -> NDArray[np.float32]:
    """Shape (n_terms, m): each term of terms.NAMES for the songs asked for."""
    terms = np.zeros((len(TERM_NAMES), len(songs)), dtype=np.float32)
    for name, raw, spread in [
        *_online_vote_terms(votes, songs),
        *_online_linear_terms(components, features, profile, songs),
    ]:
        terms[TERM_NAMES.index(name)] = standardise_term(raw, spread, 1.0)[0]
    for name, values in _song_shares(components, features, songs).items():
        terms[TERM_NAMES.index(name)] = values
    return terms


def _online_vote_terms(
    votes: NeighbourVotes, songs: NDArray[np.integer[Any]]
) -> list[tuple[str, NDArray[np.float32], TermMoments]]:
    """Each sparse term of the songs asked for, 0 where no vote reaches, and its moments."""
    if not len(votes.songs):
        return []
    places = np.minimum(np.searchsorted(votes.songs, songs), len(votes.songs) - 1)
    is_reached = votes.songs[places] == songs
    return [
        (name, np.where(is_reached, sums[places], 0).astype(np.float32)[np.newaxis], votes.spreads[name])
        for name, sums in votes.sums.items()
    ]


def _online_linear_terms(
    components: MixComponents, features: ListenerFeatures, profile: Profiles, songs: NDArray[np.integer[Any]]
) -> list[tuple[str, NDArray[np.float32], TermMoments]]:
    """Each linear term of the songs asked for, and its moments over all songs but those heard."""
    asked = linear_terms(components, features.directions, songs)
    heard = linear_terms(components, features.directions, profile.plays.indices)
    unheard = np.array([components.n_songs - profile.plays.nnz])
    found = []
    for name, vector in features.directions.vectors().items():
        space, width = name.removesuffix("_short"), vector.shape[1]
        direction, own = vector[0], heard[name][0].astype(np.float64)
        mean = components.centres[space][:width] @ direction
        square = direction @ components.products[space][:width, :width] @ direction
        total = np.array([components.n_songs * mean - own.sum()])
        squares = np.array([components.n_songs * square - (own**2).sum()])
        found.append((name, asked[name], term_moments(total, squares, unheard)))
    return found


def _genre_matches(
    components: MixComponents, features: ListenerFeatures, songs: NDArray[np.integer[Any]]
) -> NDArray[np.float32]:
    """Shape (m,): how well the songs' genres match the listener's favourites."""
    if not features.favourite_genres.nnz:
        return np.zeros(len(songs), dtype=np.float32)
    wanted = np.zeros(components.genres.shape[1], dtype=np.float32)
    wanted[features.favourite_genres.indices] = features.favourite_genres.data
    entries = _take_sparse_rows(components.genres, songs)
    rows = np.repeat(np.arange(len(songs)), entries.widths)
    return np.bincount(rows, weights=wanted[entries.songs], minlength=len(songs))[np.newaxis].astype(
        np.float32
    )


def _song_shares(
    components: MixComponents, features: ListenerFeatures, songs: NDArray[np.integer[Any]]
) -> dict[str, NDArray[np.float32]]:
    codes, shares = features.artists.indices, features.artists.data
    of_song = np.zeros(len(songs), dtype=np.float32)
    if len(codes):
        artists = components.artists[songs]
        places = np.minimum(np.searchsorted(codes, artists), len(codes) - 1)
        of_song = np.where(codes[places] == artists, shares[places], 0)
    affinity = features.affinities[0][components.labels[songs]]
    return {
        "artist": np.log(of_song + np.float32(SHARE_FLOOR)),
        "affinity": np.log(affinity + np.float32(SHARE_FLOOR)),
        "popularity": np.log(components.listeners[songs] + np.float32(0.5)),
        "genre": _genre_matches(components, features, songs),
    }

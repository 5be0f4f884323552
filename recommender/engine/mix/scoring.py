"""Computes the terms of `mix`: batch for all songs, online for the preselected songs of a request."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recommender.engine.algorithms.base import expand_ranges
from recommender.engine.data import Profiles
from recommender.engine.mix.components import MixComponents
from recommender.engine.mix.terms import (
    DIRECTION_TERMS,
    SHARE_FLOOR,
    TERM_NAMES,
    TIME_TERMS,
    VOTE_TERMS,
    ListenerFeatures,
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
    sums: NDArray[np.float64]  # shape (len(names), m)
    moments: TermMoments  # of each term over all unplayed songs, shape (len(names),)

    def sums_of(self, name: str) -> NDArray[np.float64] | None:
        """The term's sums, shape (m,); None if the model does not have the term."""
        return self.sums[self.names.index(name)] if name in self.names else None


def sum_neighbour_votes(
    components: MixComponents, features: ListenerFeatures, profile: Profiles
) -> NeighbourVotes:
    plain, weighted = features.profile_weights.plain, features.profile_weights.weighted
    reached = {
        name: take_sparse_rows(matrix, plain.indices) for name, matrix in components.neighbours.items()
    }
    mask = np.zeros(components.n_songs, dtype=np.bool_)
    for entries in reached.values():
        mask[entries.columns] = True
    by_listeners = None
    if components.neighbourhood is not None:
        key = None if features.keys is None else int(features.keys[0])
        by_listeners = components.neighbourhood.votes_of_one(weighted, key)
        mask[by_listeners[0]] = True
    mask[profile.plays.indices] = False
    songs = np.flatnonzero(mask)
    # Uninitialised: only the entries of reached and played songs are written and read.
    place = np.empty(components.n_songs, dtype=np.intp)
    place[songs] = np.arange(len(songs))
    place[profile.plays.indices] = len(songs)
    raw: dict[tuple[str, bool], NDArray[np.float64]] = {}
    for name, entries in reached.items():
        places = place[entries.columns]
        # All weights of `plain` are 1.
        raw[name, False] = _sum_by_place(places, entries.values, len(songs))
        if VoteTerm(name, weighted=True, root=False) in VOTE_TERMS.values():
            by_play = entries.values * np.repeat(weighted.data, entries.widths)
            raw[name, True] = _sum_by_place(places, by_play, len(songs))
    sums = {
        name: np.sqrt(np.maximum(raw[vote.matrix, vote.weighted], 0))
        if vote.root
        else raw[vote.matrix, vote.weighted]
        for name, vote in VOTE_TERMS.items()
        if vote.matrix in reached
    }
    if by_listeners is not None:
        sums["user_knn"] = _sum_by_place(place[by_listeners[0]], by_listeners[1], len(songs))
    rows = np.array(list(sums.values())).reshape(len(sums), len(songs))
    n_unplayed = np.array([components.n_songs - profile.plays.nnz])
    return NeighbourVotes(
        songs, tuple(sums), rows, term_moments(rows.sum(axis=1), (rows**2).sum(axis=1), n_unplayed)
    )


def _sum_by_place(places: NDArray[np.intp], values: NDArray[np.float32], n_songs: int) -> NDArray[np.float64]:
    # Played songs share the last array element, which is cut off.
    sums: NDArray[Any] = np.bincount(places, weights=values, minlength=n_songs + 1)
    return sums[:n_songs]


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
    profile: Profiles,
    votes: NeighbourVotes,
    budget: int,
) -> NDArray[np.int64]:
    """About `budget` songs that are likely to score well, ascending.

    They are those with the most votes, the most played of the best clusters and favourite artists, and a few
    of every cluster.
    """
    mask = np.full(components.n_songs, budget >= components.n_songs, dtype=np.bool_)
    if budget < components.n_songs:
        voted = _top_voted_songs(weights, votes, budget // 2)
        clusters, sizes = _best_clusters(components, features, votes, budget - len(voted))
        all_clusters = np.arange(components.n_clusters)
        artists = features.artists.indices[top_places(features.artists.data, PRESELECTED_ARTISTS)]
        mask[voted] = True
        by_cluster = components.by_cluster, components.cluster_starts
        mask[_first_of_groups(*by_cluster, clusters, sizes)] = True
        mask[_first_of_groups(*by_cluster, all_clusters, np.array(HITS_PER_CLUSTER))] = True
        by_artist = components.by_artist, components.artist_starts
        mask[_first_of_groups(*by_artist, artists, np.array(SONGS_PER_ARTIST))] = True
    mask[profile.plays.indices] = False
    if profile.excluded is not None:
        mask[profile.excluded.indices] = False
    songs = np.flatnonzero(mask)
    return songs[components.available[songs]]


def _top_voted_songs(weights: NDArray[np.float64], votes: NeighbourVotes, most: int) -> NDArray[np.int64]:
    if len(votes.songs) <= most:
        return votes.songs
    total = np.zeros(len(votes.songs))
    for name, sums, deviation in zip(votes.names, votes.sums, votes.moments.deviation.tolist(), strict=True):
        if deviation > 0:
            total += sums * (weights[TERM_NAMES.index(name)] / deviation)
    return votes.songs[np.argpartition(-total, most)[:most]]


def _best_clusters(
    components: MixComponents, features: ListenerFeatures, votes: NeighbourVotes, songs: int
) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
    shares = features.affinities[0].astype(np.float64)
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
    profile: Profiles,
    votes: NeighbourVotes,
    songs: NDArray[np.integer[Any]],
) -> NDArray[np.float32]:
    terms = np.zeros((len(TERM_NAMES), len(songs)), dtype=np.float32)
    if len(votes.songs):
        places = np.minimum(np.searchsorted(votes.songs, songs), len(votes.songs) - 1)
        is_reached = votes.songs[places] == songs
        raw = np.where(is_reached, votes.sums[:, places], 0).astype(np.float32)
        terms[_term_rows(votes.names)] = standardise_term(raw, votes.moments)
    names, raw, moments = _online_linear_terms(components, features, profile, songs)
    terms[_term_rows(names)] = standardise_term(raw, moments)
    for name, values in _online_share_terms(components, features, songs).items():
        terms[TERM_NAMES.index(name)] = values
    for name, values in time_terms(components, songs).items():
        terms[TERM_NAMES.index(name)] = values
    return terms


def _term_rows(names: Sequence[str]) -> list[int]:
    return [TERM_NAMES.index(name) for name in names]


def _online_linear_terms(
    components: MixComponents, features: ListenerFeatures, profile: Profiles, songs: NDArray[np.integer[Any]]
) -> tuple[Sequence[str], NDArray[np.float32], TermMoments]:
    """The linear terms' names, their values, shape (n_terms, len(songs)), and their moments."""
    asked = linear_terms(components, features.directions, songs)
    played = linear_terms(components, features.directions, profile.plays.indices)
    totals, squares = [], []
    for name, vector in features.directions.vectors().items():
        space, width = name.removesuffix("_short"), vector.shape[1]
        direction, of_played = vector[0], played[name][0].astype(np.float64)
        # A linear score s = V p has the mean mean(V) p and the mean square p' (V'V / n) p, so the moments
        # need no scores of all songs.
        mean = components.centres[space][:width] @ direction
        mean_square = direction @ components.products[space][:width, :width] @ direction
        totals.append(components.n_songs * mean - of_played.sum())
        squares.append(components.n_songs * mean_square - (of_played**2).sum())
    n_unplayed = np.array([components.n_songs - profile.plays.nnz])
    moments = term_moments(np.array(totals), np.array(squares), n_unplayed)
    return DIRECTION_TERMS, np.concatenate([asked[name] for name in DIRECTION_TERMS]), moments


def _genre_matches(
    components: MixComponents, features: ListenerFeatures, songs: NDArray[np.integer[Any]]
) -> NDArray[np.float32]:
    if not features.favourite_genres.nnz:
        return np.zeros(len(songs), dtype=np.float32)
    word_weights = np.zeros(components.genres.shape[1], dtype=np.float32)
    word_weights[features.favourite_genres.indices] = features.favourite_genres.data
    entries = take_sparse_rows(components.genres, songs)
    rows = np.repeat(np.arange(len(songs)), entries.widths)
    matches = np.bincount(rows, weights=word_weights[entries.columns], minlength=len(songs))
    return matches.astype(np.float32)


def _online_share_terms(
    components: MixComponents, features: ListenerFeatures, songs: NDArray[np.integer[Any]]
) -> dict[str, NDArray[np.float32]]:
    affinity = features.affinities[0][components.labels[songs]]
    shares = (
        {}
        if components.albums is None or features.albums is None
        else {"album": _log_shares(features.albums, components.albums[songs])}
    )
    return {
        **shares,
        "artist": _log_shares(features.artists, components.artists[songs]),
        "affinity": np.log(affinity + np.float32(SHARE_FLOOR)),
        "popularity": np.log(components.listeners[songs] + np.float32(0.5)),
        "genre": _genre_matches(components, features, songs),
    }


def _log_shares(shares: csr_array, groups: NDArray[np.int32]) -> NDArray[np.float32]:
    """log(share + .02) of each song's group, for one listener."""
    codes = shares.indices
    share = np.zeros(len(groups), dtype=np.float32)
    if len(codes):
        places = np.minimum(np.searchsorted(codes, groups), len(codes) - 1)
        share = np.where(codes[places] == groups, shares.data[places], 0)
    return np.asarray(np.log(share + np.float32(SHARE_FLOOR)))

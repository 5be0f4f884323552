"""The terms of all songs for some listeners: what a benchmark and the tuning need, and a request does not."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recommender.engine.data import Profiles
from recommender.engine.mix.components import Parts
from recommender.engine.mix.terms import (
    DIRECTIONS,
    NAMES,
    SHARE_FLOOR,
    VOTES,
    Known,
    Moments,
    linear,
    moments,
    standardised,
)


def dense_terms(
    parts: Parts, known: Known, profiles: Profiles, weights: NDArray[np.float64]
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Place in NAMES and values (n, n_songs) of each term that has a weight, one at a time."""
    wanted = {name for name, weight in zip(NAMES, weights, strict=True) if weight}
    rows = np.repeat(np.arange(profiles.n), np.diff(profiles.plays.indptr))
    heard = (rows, profiles.plays.indices)
    for name, raw in _votes(parts, known, wanted):
        yield NAMES.index(name), _over_unheard(raw, heard)
    if wanted & set(DIRECTIONS):
        for name, raw in linear(parts, known.looks, slice(None)).items():
            yield NAMES.index(name), _over_unheard(raw, heard)
    for name, values in _batch_shares(parts, known, wanted):
        yield NAMES.index(name), values


def _votes(parts: Parts, known: Known, wanted: set[str]) -> Iterator[tuple[str, NDArray[np.float32]]]:
    for name, vote in VOTES.items():
        if name in wanted and vote.matrix in parts.neighbours:
            voice = known.voices.weighted if vote.weighted else known.voices.plain
            raw = (voice @ parts.neighbours[vote.matrix]).toarray()
            yield name, np.sqrt(np.maximum(raw, 0)) if vote.root else raw


def _over_unheard(
    raw: NDArray[np.float32], heard: tuple[NDArray[np.int64], NDArray[np.int32]]
) -> NDArray[np.float32]:
    raw[heard] = 0
    totals = raw.sum(axis=1, dtype=np.float64)
    squares = (raw * raw).sum(axis=1, dtype=np.float64)
    unheard = raw.shape[1] - np.bincount(heard[0], minlength=len(raw))
    return standardised(raw, moments(totals, squares, unheard), 1.0)


def _batch_shares(parts: Parts, known: Known, wanted: set[str]) -> Iterator[tuple[str, NDArray[np.float32]]]:
    n = len(known.lean)
    if "artist" in wanted:
        yield "artist", np.log(known.artists.toarray() + np.float32(SHARE_FLOOR))[:, parts.artists]
    if "affinity" in wanted:
        yield "affinity", np.log(known.affinities + np.float32(SHARE_FLOOR))[:, parts.labels]
    if "popularity" in wanted:
        yield "popularity", np.repeat(np.log(parts.listeners + np.float32(0.5))[np.newaxis, :], n, axis=0)
    if "genre" in wanted and known.wanted.nnz:
        yield "genre", np.asarray((known.wanted @ parts.genres.T).toarray(), dtype=np.float32)


CLUSTERS = 40  # best ones, each looked at by its most played songs
HITS = 3  # of every cluster: what most listeners play has its chance everywhere
ARTISTS = 40  # most played ones, each by so many of their songs:
ARTIST_SONGS = 10


@dataclass(frozen=True)
class Votes:
    """What the neighbours of one listener's songs say, of the songs they reach.

    Attributes:
        songs: shape (m,), ascending; none that was heard.
        sums: by term, shape (m,).
        spreads: by term, over all songs not heard.
    """

    songs: NDArray[np.int64]
    sums: dict[str, NDArray[np.float64]]
    spreads: dict[str, Moments]


def best(scores: NDArray[np.floating[Any]], n: int) -> NDArray[np.intp]:
    """Places of the n largest, ties: the first."""
    if n <= 0 or n >= len(scores):
        return np.argsort(-scores, kind="stable")[: max(n, 0)]
    # Only those that reach the n-th are sorted: a third of the time for 400 of 2 000.
    reach = np.flatnonzero(scores >= np.partition(scores, len(scores) - n)[len(scores) - n])
    return reach[np.argsort(-scores[reach], kind="stable")[:n]]


def votes_of(parts: Parts, known: Known, profile: Profiles) -> Votes:
    plain, weighted = known.voices.plain, known.voices.weighted
    reached = {name: _entries(matrix, plain.indices) for name, matrix in parts.neighbours.items()}
    mask = np.zeros(parts.n_songs, dtype=np.bool_)
    for entries in reached.values():
        mask[entries.songs] = True
    mask[profile.plays.indices] = False
    songs = np.flatnonzero(mask)
    # Only the places of songs reached are written, and read: the rest of the array costs nothing.
    place = np.empty(parts.n_songs, dtype=np.int32)
    place[songs] = np.arange(len(songs), dtype=np.int32)
    place[profile.plays.indices] = len(songs)
    sums: dict[str, NDArray[np.float64]] = {}
    for name, vote in VOTES.items():
        if vote.matrix in reached:
            entries = reached[vote.matrix]
            voice = np.repeat((weighted if vote.weighted else plain).data, entries.widths)
            weights = entries.values * voice
            raw: NDArray[Any] = np.bincount(place[entries.songs], weights=weights, minlength=len(songs) + 1)[
                : len(songs)
            ]
            sums[name] = np.sqrt(np.maximum(raw, 0)) if vote.root else raw
    unheard = np.array([parts.n_songs - profile.plays.nnz])
    spreads = {
        name: moments(np.array([raw.sum()]), np.array([(raw**2).sum()]), unheard)
        for name, raw in sums.items()
    }
    return Votes(songs, sums, spreads)


class Entries(NamedTuple):
    """Some rows of a sparse matrix, one after the other."""

    songs: NDArray[np.int32]
    values: NDArray[np.float32]
    widths: NDArray[np.int64]


def _entries(matrix: csr_array, rows: NDArray[np.integer[Any]]) -> Entries:
    starts, stops = matrix.indptr[rows], matrix.indptr[rows + 1]
    widths = (stops - starts).astype(np.int64)
    ends = np.cumsum(widths)
    places = np.repeat(starts - (ends - widths), widths) + np.arange(ends[-1] if len(ends) else 0)
    return Entries(matrix.indices[places], matrix.data[places], widths)


def likely(
    parts: Parts,
    weights: NDArray[np.float64],
    known: Known,
    profile: Profiles,
    votes: Votes,
    budget: int,
) -> NDArray[np.int64]:
    """Songs to look at, ascending: reached by votes, heads of clusters, songs of the listener's artists."""
    mask = np.full(parts.n_songs, budget >= parts.n_songs, dtype=np.bool_)
    if budget < parts.n_songs:
        reached = _reached(weights, votes, budget // 2)
        clusters, sizes = _best_clusters(parts, known, votes, budget - len(reached))
        everywhere = np.arange(parts.n_clusters)
        artists = known.artists.indices[best(known.artists.data, ARTISTS)]
        mask[reached] = True
        mask[_heads(parts.by_cluster, parts.cluster_starts, clusters, sizes)] = True
        mask[_heads(parts.by_cluster, parts.cluster_starts, everywhere, np.array(HITS))] = True
        mask[_heads(parts.by_artist, parts.artist_starts, artists, np.array(ARTIST_SONGS))] = True
    mask[profile.plays.indices] = False
    if profile.excluded is not None:
        mask[profile.excluded.indices] = False
    songs = np.flatnonzero(mask)
    return songs[parts.available[songs]]


def _reached(weights: NDArray[np.float64], votes: Votes, most: int) -> NDArray[np.int64]:
    """The songs with the best sum of votes, as far as there are more than `most`."""
    if len(votes.songs) <= most:
        return votes.songs
    total = np.zeros(len(votes.songs))
    for name, spread in votes.spreads.items():
        deviation = float(spread.deviation[0])
        if deviation > 0:
            total += votes.sums[name] * (weights[NAMES.index(name)] / deviation)
    return votes.songs[np.argpartition(-total, most)[:most]]


def _best_clusters(
    parts: Parts, known: Known, votes: Votes, songs: int
) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
    """The best clusters by the listener's affinity and the votes' share, and how many songs to take of each.

    Half of `songs` is spread evenly: it finds what is new; half by share: it finds all that is liked.
    """
    shares = known.affinities[0].astype(np.float64)
    if "rp3" in votes.sums and votes.sums["rp3"].any():
        sums, labels = votes.sums["rp3"], parts.labels[votes.songs]
        shares += np.bincount(labels, weights=sums, minlength=parts.n_clusters) / sums.sum()
    clusters = best(shares, CLUSTERS)
    liked = shares[clusters] / max(float(shares[clusters].sum()), 1e-12)
    return clusters, np.ceil(songs / 2 * (1 / len(clusters) + liked)).astype(np.int64)


def _heads(
    order: NDArray[np.int32], starts: NDArray[np.int64], groups: NDArray[np.intp], each: NDArray[np.int64]
) -> NDArray[np.int32]:
    """The first `each` songs of each group, in an order that is sorted by group."""
    begins = starts[groups]
    sizes = np.minimum(starts[groups + 1] - begins, each)
    ends = np.cumsum(sizes)
    places = np.repeat(begins - (ends - sizes), sizes) + np.arange(ends[-1] if len(ends) else 0)
    return np.asarray(order[places])


def terms_of(
    parts: Parts, known: Known, profile: Profiles, votes: Votes, songs: NDArray[np.integer[Any]]
) -> NDArray[np.float32]:
    """Shape (n_terms, m): each term of terms.NAMES for the songs asked for."""
    terms = np.zeros((len(NAMES), len(songs)), dtype=np.float32)
    for name, raw, spread in [*_voted(votes, songs), *_linear(parts, known, profile, songs)]:
        terms[NAMES.index(name)] = standardised(raw, spread, 1.0)[0]
    for name, values in _song_shares(parts, known, songs).items():
        terms[NAMES.index(name)] = values
    return terms


def _voted(votes: Votes, songs: NDArray[np.integer[Any]]) -> list[tuple[str, NDArray[np.float32], Moments]]:
    """Each sparse term of the songs asked for, 0 where no vote reaches, and its moments."""
    if not len(votes.songs):
        return []
    places = np.minimum(np.searchsorted(votes.songs, songs), len(votes.songs) - 1)
    is_reached = votes.songs[places] == songs
    return [
        (name, np.where(is_reached, sums[places], 0).astype(np.float32)[np.newaxis], votes.spreads[name])
        for name, sums in votes.sums.items()
    ]


def _linear(
    parts: Parts, known: Known, profile: Profiles, songs: NDArray[np.integer[Any]]
) -> list[tuple[str, NDArray[np.float32], Moments]]:
    """Each linear term of the songs asked for, and its moments over all songs but those heard."""
    asked = linear(parts, known.looks, songs)
    heard = linear(parts, known.looks, profile.plays.indices)
    unheard = np.array([parts.n_songs - profile.plays.nnz])
    found = []
    for name, vector in known.looks.vectors().items():
        space, width = name.removesuffix("_short"), vector.shape[1]
        direction, own = vector[0], heard[name][0].astype(np.float64)
        mean = parts.centres[space][:width] @ direction
        square = direction @ parts.products[space][:width, :width] @ direction
        total = np.array([parts.n_songs * mean - own.sum()])
        squares = np.array([parts.n_songs * square - (own**2).sum()])
        found.append((name, asked[name], moments(total, squares, unheard)))
    return found


def _genres(parts: Parts, known: Known, songs: NDArray[np.integer[Any]]) -> NDArray[np.float32]:
    """Shape (m,): how well the songs' genres match the listener's favourites."""
    if not known.wanted.nnz:
        return np.zeros(len(songs), dtype=np.float32)
    wanted = np.zeros(parts.genres.shape[1], dtype=np.float32)
    wanted[known.wanted.indices] = known.wanted.data
    entries = _entries(parts.genres, songs)
    rows = np.repeat(np.arange(len(songs)), entries.widths)
    return np.bincount(rows, weights=wanted[entries.songs], minlength=len(songs))[np.newaxis].astype(
        np.float32
    )


def _song_shares(
    parts: Parts, known: Known, songs: NDArray[np.integer[Any]]
) -> dict[str, NDArray[np.float32]]:
    codes, shares = known.artists.indices, known.artists.data
    of_song = np.zeros(len(songs), dtype=np.float32)
    if len(codes):
        artists = parts.artists[songs]
        places = np.minimum(np.searchsorted(codes, artists), len(codes) - 1)
        of_song = np.where(codes[places] == artists, shares[places], 0)
    affinity = known.affinities[0][parts.labels[songs]]
    return {
        "artist": np.log(of_song + np.float32(SHARE_FLOOR)),
        "affinity": np.log(affinity + np.float32(SHARE_FLOOR)),
        "popularity": np.log(parts.listeners[songs] + np.float32(0.5)),
        "genre": _genres(parts, known, songs),
    }

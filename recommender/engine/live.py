"""Score few songs for one listener, now: the dense model's scores without a look at most of the songs."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recommender.engine.catalogue import Profiles
from recommender.engine.mix import Mix
from recommender.engine.parts import Parts
from recommender.engine.terms import (
    NAMES,
    SHARE_FLOOR,
    VOTES,
    Known,
    Moments,
    blended,
    linear,
    moments,
    standardised,
)

LOOKED_AT_SHARE = 0.12  # of the catalogue: measured on two sets, no loss
FEWEST, MOST = 1_000, 4_000  # songs looked at: below it saves nothing, above a request takes over 6 ms
CLUSTERS = 40  # best ones, each looked at by its most played songs
HITS = 5  # of every cluster: what most listeners play has its chance everywhere
ARTISTS = 50  # most played ones, each by so many of their songs:
ARTIST_SONGS = 20


class Candidates(NamedTuple):
    """Songs by falling score, equal ones by their number, and their scores; shape (m,) each."""

    songs: NDArray[np.int32]
    scores: NDArray[np.float32]


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


def candidates(mix: Mix, profile: Profiles, *, n: int = 400, budget: int | None = None) -> Candidates:
    """The n best of the songs looked at, which are the likely ones; as scored by `Mix.scores`.

    Args:
        profile: of one listener.
        budget: how many songs to look at, about; None: 12 % of the catalogue, between 1 000 and 4 000.

    Nothing heard, excluded or unavailable is among them; fewer than n are given only where fewer are left.
    """
    asked = budget or int(min(MOST, max(FEWEST, LOOKED_AT_SHARE * mix.n_songs)))
    known = mix.known(profile)
    votes = _votes(mix.parts, known, profile)
    songs = _likely(mix, profile, known, votes, asked)
    while len(songs) < n and asked < mix.n_songs:
        asked *= 4
        songs = _likely(mix, profile, known, votes, asked)
    scores = _scores(mix, profile, known, votes, songs)
    best = _best(scores, n)
    return Candidates(songs[best].astype(np.int32), scores[best])


def score(mix: Mix, profile: Profiles, songs: NDArray[np.int32]) -> NDArray[np.float32]:
    """Shape (len(songs),): one listener's scores of songs not heard, as `Mix.scores` has them."""
    known = mix.known(profile)
    return _scores(mix, profile, known, _votes(mix.parts, known, profile), np.asarray(songs))


def _best(scores: NDArray[np.float32], n: int) -> NDArray[np.intp]:
    order = np.argsort(-scores, kind="stable")
    return order[:n]


def _votes(parts: Parts, known: Known, profile: Profiles) -> Votes:
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


def _likely(mix: Mix, profile: Profiles, known: Known, votes: Votes, budget: int) -> NDArray[np.int64]:
    """Songs to look at, ascending: reached by votes, heads of clusters, songs of the listener's artists."""
    parts = mix.parts
    mask = np.full(parts.n_songs, budget >= parts.n_songs, dtype=np.bool_)
    if budget < parts.n_songs:
        best = _best_clusters(parts, known, votes)
        everywhere = np.arange(parts.n_clusters)
        artists = known.artists.indices[_best(known.artists.data, ARTISTS)]
        mask[_reached(mix, votes, budget // 2)] = True
        mask[_heads(parts.by_cluster, parts.cluster_starts, best, budget // 2 // CLUSTERS)] = True
        mask[_heads(parts.by_cluster, parts.cluster_starts, everywhere, HITS)] = True
        mask[_heads(parts.by_artist, parts.artist_starts, artists, ARTIST_SONGS)] = True
    mask[profile.plays.indices] = False
    if profile.excluded is not None:
        mask[profile.excluded.indices] = False
    songs = np.flatnonzero(mask)
    return songs[parts.available[songs]]


def _reached(mix: Mix, votes: Votes, most: int) -> NDArray[np.int64]:
    """The songs with the best sum of votes, as far as there are more than `most`."""
    if len(votes.songs) <= most:
        return votes.songs
    total = np.zeros(len(votes.songs))
    for name, spread in votes.spreads.items():
        deviation = float(spread.deviation[0])
        if deviation > 0:
            total += votes.sums[name] * (mix.weights[NAMES.index(name)] / deviation)
    return votes.songs[np.argpartition(-total, most)[:most]]


def _best_clusters(parts: Parts, known: Known, votes: Votes) -> NDArray[np.intp]:
    """The clusters with the largest sum of the listener's affinity and of the share of the votes."""
    likely = known.affinities[0].astype(np.float64)
    if "rp3" in votes.sums and votes.sums["rp3"].any():
        sums = votes.sums["rp3"]
        likely += (
            np.bincount(parts.labels[votes.songs], weights=sums, minlength=parts.n_clusters) / sums.sum()
        )
    return _best(likely, CLUSTERS)


def _heads(
    order: NDArray[np.int32], starts: NDArray[np.int64], groups: NDArray[np.intp], each: int
) -> NDArray[np.int32]:
    """The first `each` songs of each group, in an order that is sorted by group."""
    begins = starts[groups]
    sizes = np.minimum(starts[groups + 1] - begins, max(1, each))
    ends = np.cumsum(sizes)
    places = np.repeat(begins - (ends - sizes), sizes) + np.arange(ends[-1] if len(ends) else 0)
    return np.asarray(order[places])


def _scores(
    mix: Mix, profile: Profiles, known: Known, votes: Votes, songs: NDArray[np.int64]
) -> NDArray[np.float32]:
    parts = mix.parts
    total: NDArray[np.float32] = np.zeros((1, len(songs)), dtype=np.float32)
    for name, raw, spread in [*_voted(votes, songs), *_linear(parts, known, profile, songs)]:
        total += standardised(raw, spread, mix.weights[NAMES.index(name)])
    genres = _genres(parts, known, songs)
    for name, values in _shares(parts, known, songs, genres).items():
        total += np.float32(mix.weights[NAMES.index(name)]) * values
    return blended(parts, known, total, songs, genres).ravel()


def _voted(votes: Votes, songs: NDArray[np.int64]) -> list[tuple[str, NDArray[np.float32], Moments]]:
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
    parts: Parts, known: Known, profile: Profiles, songs: NDArray[np.int64]
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


def _genres(parts: Parts, known: Known, songs: NDArray[np.int64]) -> NDArray[np.float32]:
    """Shape (1, m): how well the songs' genres match the listener's favourites."""
    if not known.wanted.nnz:
        return np.zeros((1, len(songs)), dtype=np.float32)
    wanted = np.zeros(parts.genres.shape[1], dtype=np.float32)
    wanted[known.wanted.indices] = known.wanted.data
    entries = _entries(parts.genres, songs)
    rows = np.repeat(np.arange(len(songs)), entries.widths)
    return np.bincount(rows, weights=wanted[entries.songs], minlength=len(songs))[np.newaxis].astype(
        np.float32
    )


def _shares(
    parts: Parts, known: Known, songs: NDArray[np.int64], genres: NDArray[np.float32]
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
        "genre": genres,
    }

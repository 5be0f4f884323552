"""Data structures shared by the engine: catalogue, plays, listener profiles, training set, model interfaces.

In every matrix listeners are rows and songs are columns.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array


class EngineError(Exception):
    """The engine cannot compute a result from this data."""


class TooFewSongs(EngineError):
    """The catalogue has too few songs to train on."""


class TooFewPlays(EngineError):
    """There are too few plays to train on."""


@dataclass(frozen=True)
class Catalogue:
    """The songs; entry j of every column describes song j.

    Attributes:
        ids: shape (n_songs,), strictly ascending.
        artists: '' if unknown, like the other texts.
        songwriters: comma-separated.
        genres: comma-separated, as the source sends them.
        release_years: NaN if unknown.
        durations: seconds, NaN if unknown.
        audio: one column per feature name, NaN if unknown; may be empty.
        available: songs that may be recommended.
    """

    ids: NDArray[np.int64]
    artists: list[str]
    albums: list[str]
    songwriters: list[str]
    genres: list[str]
    release_years: NDArray[np.float64]
    durations: NDArray[np.float64]
    audio: Mapping[str, NDArray[np.float64]]
    available: NDArray[np.bool_]

    @property
    def n_songs(self) -> int:
        return len(self.ids)

    def artist_codes(self) -> NDArray[np.int32]:
        """Shape (n_songs,): equal for equal artists; each song without an artist has its own code."""
        codes: dict[str, int] = {}
        return np.array(
            [
                codes.setdefault(artist.casefold().strip() or f"\0{index}", len(codes))
                for index, artist in enumerate(self.artists)
            ],
            dtype=np.int32,
        )


@dataclass(frozen=True)
class Interactions:
    """Plays in coordinate form; entry i of every column describes play i.

    Attributes:
        listeners: row of the listener.
        songs: column of the song.
        at: seconds since 1970; all zero if the data has no times.
        count: how often; 1 for a single play.
    """

    n_listeners: int
    n_songs: int
    listeners: NDArray[np.int32]
    songs: NDArray[np.int32]
    at: NDArray[np.float64]
    count: NDArray[np.float32]

    def matrix(self, weights: NDArray[np.float32] | None = None) -> csr_array:
        """Shape (n_listeners, n_songs): play counts, each multiplied by its weight."""
        values = self.count if weights is None else self.count * weights
        shape = (self.n_listeners, self.n_songs)
        matrix = csr_array((values, (self.listeners, self.songs)), shape=shape, dtype=np.float32)
        matrix.sum_duplicates()
        return matrix


@dataclass(frozen=True)
class Profiles:
    """Listeners to recommend songs to, one row each.

    Attributes:
        plays: shape (n, n_songs), play counts; songs with an entry are not recommended again.
        recent: the same, weighted by recency; None: use `plays`.
        skips: shape (n, n_songs), number of skips and dislikes; None: none.
        genres: favourite genres, comma-separated; None: unknown.
        keys: listener ids, which seed each listener's random draws.
        excluded: shape (n, n_songs), further songs that may not be recommended; None: none.
    """

    plays: csr_array
    recent: csr_array | None = None
    skips: csr_array | None = None
    genres: list[str] | None = None
    keys: NDArray[np.int64] | None = None
    excluded: csr_array | None = None

    @property
    def n(self) -> int:
        return int(self.plays.shape[0])


@dataclass(frozen=True)
class TrainingSet:
    """Everything a model is fitted on.

    Attributes:
        plays: shape (n_listeners, n_songs), counts.
        recent: the same, weighted by recency; None: use `plays`.
        skips: shape (n_listeners, n_songs); None: none.
        genres: each listener's favourite genres; None: unknown.
        tuning: shape (n_listeners, n_songs), held-out plays for tuning weights (the latest tenth), not in
            `plays`. None: a seeded tenth of `plays` is held out instead.
        configuration: may set `n_clusters`.
        warm_start: clusters to start from; None: cluster from scratch.
    """

    catalogue: Catalogue
    plays: csr_array
    recent: csr_array | None = None
    skips: csr_array | None = None
    genres: list[str] | None = None
    tuning: csr_array | None = None
    seed: int = 7
    configuration: Mapping[str, float | int | str] = field(default_factory=dict)
    warm_start: "WarmStartClusters | None" = None

    def profiles(self) -> Profiles:
        """The training listeners as profiles."""
        return Profiles(self.plays, self.recent, self.skips, self.genres)


@dataclass(frozen=True)
class WarmStartClusters:
    """Clusters of an earlier model, from which a new one starts.

    Attributes:
        labels: shape (n_songs,), each song's earlier cluster; -1 for a new song.
        n_clusters: includes clusters that have no song left.
    """

    labels: NDArray[np.int32]
    n_clusters: int


class RecommenderModel(Protocol):
    """A model that can be evaluated; test_every_model.py runs the same tests on all of them."""

    @property
    def name(self) -> str:
        """Name in tables and metrics."""

    def recommend(self, profiles: Profiles, n: int, *, seed: int = 7) -> NDArray[np.int32]:
        """Shape (profiles.n, n): song columns, best first, none played, excluded or unavailable.

        A row ends in -1 only if fewer than n songs are eligible.
        """


class ScoredSongs(NamedTuple):
    """Songs by descending score, and their scores; shape (m,) each."""

    songs: NDArray[np.int32]
    scores: NDArray[np.float32]


class ServableModel(Protocol):
    """What serving needs from a champion or challenger; every profile holds one listener."""

    @property
    def labels(self) -> NDArray[np.int32]:
        """Shape (n_songs,): each song's cluster."""

    @property
    def artists(self) -> NDArray[np.int32]:
        """Shape (n_songs,): equal for equal artists."""

    @property
    def available(self) -> NDArray[np.bool_]:
        """Shape (n_songs,): songs that may be recommended."""

    def candidates(self, profile: Profiles, *, n: int) -> ScoredSongs:
        """The listener's n best songs, none played, excluded or unavailable; fewer if fewer are eligible.

        Empty if the model has nothing to say about a listener without plays. Equal scores mean that the model
        does not rank: lists are then drawn by affinity alone.
        """

    def score(self, profile: Profiles, songs: NDArray[np.int32]) -> NDArray[np.float32]:
        """Shape (len(songs),): scores of unplayed songs, on the scale of `candidates`."""

    def explain_scores(self, profile: Profiles, songs: NDArray[np.int32]) -> dict[str, NDArray[np.float32]]:
        """What each term adds to the scores of unplayed songs; shape (len(songs),) each."""

    def similar(self, song: int, *, n: int) -> ScoredSongs:
        """At most n other songs, most similar first."""

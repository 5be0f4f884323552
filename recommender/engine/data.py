"""What every model is made from: songs as columns, listeners as rows."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array


class EngineError(Exception):
    """The engine cannot do what was asked, for a reason that lies in the data."""


class TooFewSongs(EngineError):
    """There are not enough songs to learn from."""


class TooFewPlays(EngineError):
    """There are not enough plays to learn from."""


@dataclass(frozen=True)
class Catalogue:
    """The songs; entry j of every column is song j.

    Attributes:
        ids: shape (n_songs,), strictly ascending.
        artists: '' where unknown, as are the other texts.
        genres: as the source sends them; several are separated by commas.
        songwriters: several are separated by commas.
        release_years: NaN where unknown.
        durations: seconds, NaN where unknown.
        audio: each feature's column by its name, NaN where unknown; may be empty.
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
        """Shape (n_songs,): equal where the artist is; a song of no known artist has one of its own."""
        known: dict[str, int] = {}
        return np.array(
            [
                known.setdefault(artist.casefold().strip() or f"\0{index}", len(known))
                for index, artist in enumerate(self.artists)
            ],
            dtype=np.int32,
        )


@dataclass(frozen=True)
class Interactions:
    """Who played what, and when; entry i of every column is one play.

    Attributes:
        listeners: row of the listener, int32.
        songs: column of the song, int32.
        at: seconds since 1970; all zero where the data has no times.
        count: how often; 1 for a play of its own.
    """

    n_listeners: int
    n_songs: int
    listeners: NDArray[np.int32]
    songs: NDArray[np.int32]
    at: NDArray[np.float64]
    count: NDArray[np.float32]

    def matrix(self, weights: NDArray[np.float32] | None = None) -> csr_array:
        """Shape (n_listeners, n_songs), float32: the counts, each times its weight, summed over plays."""
        values = self.count if weights is None else self.count * weights
        shape = (self.n_listeners, self.n_songs)
        matrix = csr_array((values, (self.listeners, self.songs)), shape=shape, dtype=np.float32)
        matrix.sum_duplicates()
        return matrix


@dataclass(frozen=True)
class Profiles:
    """What is known of some listeners when they are to be recommended something; one row each.

    Attributes:
        plays: shape (n, n_songs), play counts; what it holds is heard, and not recommended again.
        recent: the same, weighted by recency; None where there are no times: `plays` stands in.
        skips: shape (n, n_songs), how often skipped or disliked; None: never.
        genres: favourite genres as sent; None: unknown.
        keys: listener ids, which seed what is drawn for each.
        excluded: shape (n, n_songs), songs that may not be recommended besides those heard; None: none.
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
    """All that a model is fitted on.

    Attributes:
        plays: shape (n_listeners, n_songs), counts.
        recent: the same weighted by recency; None: `plays` stands in.
        skips: shape (n_listeners, n_songs); None: none.
        genres: each listener's favourite genres; None: unknown.
        tuning: shape (n_listeners, n_songs), the held-out plays that weights are tuned on (the latest tenth);
            `plays` does not hold them. None: a seeded tenth of `plays` is held out instead.
        carried: groups to carry on; None: they are found anew.
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
        """Each listener of the training, as a listener to recommend to."""
        return Profiles(self.plays, self.recent, self.skips, self.genres)


@dataclass(frozen=True)
class WarmStartClusters:
    """Groups of an earlier model, from which those of a new one are carried on.

    Attributes:
        labels: shape (n_songs,), each song's group so far; -1 for a song that had none.
        n_clusters: how many there are; some may have no song left.
    """

    labels: NDArray[np.int32]
    n_clusters: int


class RecommenderModel(Protocol):
    """What can recommend: every model passes the one suite of tests for them."""

    @property
    def name(self) -> str:
        """What it is called in tables and metrics."""

    def recommend(self, profiles: Profiles, n: int, *, seed: int = 7) -> NDArray[np.int32]:
        """Shape (profiles.n, n): song columns, best first, nothing heard, excluded or unavailable.

        A row ends in -1 only where fewer than n songs are eligible.
        """

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """All that `from_parts` needs besides `facts`: saved and loaded, it recommends the same."""

    def facts(self) -> dict[str, object]:
        """What of the model is no array; JSON can hold it."""


class ScoredSongs(NamedTuple):
    """Songs by falling score, and their scores; shape (m,) each."""

    songs: NDArray[np.int32]
    scores: NDArray[np.float32]


class ServableModel(Protocol):
    """All that serving asks of a model: whatever has this can be champion.

    A profile is of one listener.
    """

    @property
    def labels(self) -> NDArray[np.int32]:
        """Shape (n_songs,): each song's cluster."""

    @property
    def artists(self) -> NDArray[np.int32]:
        """Shape (n_songs,): equal where the artist is."""

    @property
    def available(self) -> NDArray[np.bool_]:
        """Shape (n_songs,): songs that may be recommended."""

    def candidates(self, profile: Profiles, *, n: int) -> ScoredSongs:
        """The listener's n best songs, nothing heard, excluded or unavailable; fewer where fewer are left.

        None for a listener without plays of whom the model can say nothing. All of one score where the model
        puts none before another: then lists are drawn by affinity alone.
        """

    def score(self, profile: Profiles, songs: NDArray[np.int32]) -> NDArray[np.float32]:
        """Shape (len(songs),): the scores of songs not heard, on the candidates' scale."""

    def explain_scores(self, profile: Profiles, songs: NDArray[np.int32]) -> dict[str, NDArray[np.float32]]:
        """What speaks for songs not heard: by term what it adds, shape (len(songs),) each."""

    def similar(self, song: int, *, n: int) -> ScoredSongs:
        """At most n other songs like this one, the likest first."""

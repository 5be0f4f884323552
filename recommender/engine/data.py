"""Data structures; in every matrix, listeners are rows and songs are columns."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, NamedTuple, Protocol, Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recommender.engine.identity.credits import ArtistCredits


class EngineError(Exception):
    """No result can be computed from this data."""


class TooFewSongs(EngineError):
    """Too few songs to train on."""


class InvalidNumberOfClusters(EngineError):
    """The number of clusters does not fit the catalogue."""


class TooFewPlays(EngineError):
    """Too few plays to train on."""


@dataclass(frozen=True)
class Catalogue:
    """The songs' metadata and sound; entry j of every column describes song j."""

    ids: NDArray[np.int64]  # shape (n_songs,), strictly ascending
    artists: list[str]  # '' if unknown, like the other texts
    albums: list[str]
    songwriters: list[str]  # comma-separated
    genres: list[str]  # comma-separated, as `GenreNames.normalise` writes them
    release_years: NDArray[np.float64]  # NaN if unknown
    durations: NDArray[np.float64]  # seconds, NaN if unknown
    audio: Mapping[str, NDArray[np.float64]]  # one column per feature name, NaN if unknown; may be empty
    available: NDArray[np.bool_]  # songs that may be recommended
    titles: list[str] = field(default_factory=list)  # empty if not needed

    @property
    def n_songs(self) -> int:
        return len(self.ids)

    @cached_property
    def credits(self) -> ArtistCredits:
        return ArtistCredits(self.artists)

    def artist_codes(self) -> NDArray[np.int32]:
        """A code for each song's lead artist; a song without an artist has a code of its own."""
        return _codes([self.credits.lead_key(artist) for artist in self.artists])

    def album_codes(self) -> NDArray[np.int32]:
        """A code for each song's album by a lead artist; a song without an album has a code of its own."""
        names = (
            (album.casefold().strip(), self.credits.lead_key(artist))
            for album, artist in zip(self.albums, self.artists, strict=True)
        )
        return _codes([f"{artist}\0{album}" if album else "" for album, artist in names])


def _codes(names: Sequence[str]) -> NDArray[np.int32]:
    """Number the names by first appearance; each empty name has a code of its own."""
    codes: dict[str, int] = {}
    return np.array(
        [codes.setdefault(name or f"\0{index}", len(codes)) for index, name in enumerate(names)],
        dtype=np.int32,
    )


@dataclass(frozen=True)
class Interactions:
    """Plays in coordinate form; entry i of every column is play i."""

    n_listeners: int
    n_songs: int
    listeners: NDArray[np.int32]  # row of the listener
    songs: NDArray[np.int32]  # column of the song
    at: NDArray[np.float64]  # seconds since 1970; all zero if the data has no times
    count: NDArray[np.float32]  # how often; 1 for a single play

    def matrix(self, weights: NDArray[np.float32] | None = None) -> csr_array:
        """Matrix of the sums of counts times weights, shape (n_listeners, n_songs)."""
        values = self.count if weights is None else self.count * weights
        shape = (self.n_listeners, self.n_songs)
        matrix = csr_array((values, (self.listeners, self.songs)), shape=shape, dtype=np.float32)
        matrix.sum_duplicates()
        return matrix


@dataclass(frozen=True)
class SongActivity:
    """How much each song is played at one moment, and since when; arrays have shape (n_songs,)."""

    # Listeners, each weighted by the age of their last play of the song: halved every 90 and 30 days.
    listeners_this_quarter: NDArray[np.float32]
    listeners_this_month: NDArray[np.float32]
    days_since_first_play: NDArray[np.float32]  # 0 for a song without plays


@dataclass(frozen=True)
class Profiles:
    """Histories of listeners who get recommendations, one row each."""

    plays: csr_array  # shape (n, n_songs), play counts; songs with an entry are not recommended again
    recent: csr_array | None = None  # the same, weighted by recency; None: use `plays`
    skips: csr_array | None = None  # shape (n, n_songs), number of skips and dislikes; None: none
    genres: list[str] | None = None  # favourite genres, comma-separated; None: unknown
    keys: NDArray[np.int64] | None = None  # listener ids, which seed each listener's random draws
    # Shape (n, n_songs), further songs that may not be recommended; None: none.
    excluded: csr_array | None = None
    # What a model computed from these histories, for its next calls; freed with this object.
    memo: dict[str, Any] = field(default_factory=dict, init=False, compare=False, repr=False)

    @property
    def n(self) -> int:
        return int(self.plays.shape[0])


@dataclass(frozen=True)
class TrainingSet:
    catalogue: Catalogue
    plays: csr_array  # shape (n_listeners, n_songs), counts
    recent: csr_array | None = None  # the same, weighted by recency; None: use `plays`
    skips: csr_array | None = None  # shape (n_listeners, n_songs); None: none
    genres: list[str] | None = None  # each listener's favourite genres; None: unknown
    # Shape (n_listeners, n_songs), held-out plays for tuning weights (the latest tenth), not in `plays`.
    # None: a seeded tenth of `plays` is held out instead.
    tuning: csr_array | None = None
    activity: SongActivity | None = None  # of `plays`, at their end; None: the plays have no times
    latest_activity: SongActivity | None = None  # of `plays` and `tuning`, at their end; None: use `activity`
    seed: int = 7
    configuration: Mapping[str, float | int | str] = field(default_factory=dict)  # may set `n_clusters`
    warm_start: "WarmStartClusters | None" = None  # clusters to start from; None: cluster from scratch
    keys: NDArray[np.int64] | None = None  # listener ids, so that no listener is their own neighbour
    processes: int = 1  # how many compute the songs' neighbours; changes no result

    def profiles(self) -> Profiles:
        return Profiles(self.plays, self.recent, self.skips, self.genres, self.keys)


@dataclass(frozen=True)
class WarmStartClusters:
    labels: NDArray[np.int32]  # shape (n_songs,), each song's earlier cluster; -1 for a new song
    n_clusters: int  # includes clusters that have no song left


@dataclass(frozen=True)
class NewSongs:
    """m songs that hardly anyone has played, placed by content; entry i of every array is song i."""

    columns: NDArray[np.int32]  # shape (m,), the model's columns; NOT_IN_MODEL for songs that came after it
    labels: NDArray[np.int32]  # shape (m,), clusters
    content: NDArray[np.float32]  # shape (m, d), rows of length 1, or 0 if nothing is known
    artists: NDArray[np.int32]  # shape (m,), the model's artist codes; negative: the model knows no song
    nearest: NDArray[np.int32]  # shape (m, k), columns of the known songs that are nearest by content


NOT_IN_MODEL: Final = -1


class RecommenderModel(Protocol):
    """A model that can be evaluated; test_every_model.py tests all of them."""

    @property
    def name(self) -> str:
        """The algorithm's name in tables and metrics."""

    def recommend(self, profiles: Profiles, n: int, *, seed: int = 7) -> NDArray[np.int32]:
        """Each listener's n best songs, best first, shape (profiles.n, n).

        Played, excluded and unavailable songs are left out; a row ends in -1 if fewer than n remain.
        """


class ScoredSongs(NamedTuple):
    """Songs and their scores in descending order of scores; shape (m,) each."""

    songs: NDArray[np.int32]
    scores: NDArray[np.float32]


class AlikeSongs(NamedTuple):
    """Songs that are as near to the same played songs as another song of the listener; shape (k,) each."""

    listeners: NDArray[np.intp]  # rows of the profiles
    songs: NDArray[np.int32]
    others: NDArray[np.int32]


NONE_ALIKE: Final = AlikeSongs(np.zeros(0, np.intp), np.zeros(0, np.int32), np.zeros(0, np.int32))


class NearestPlays(NamedTuple):
    """Pairs of a song and a song near it that the listener has played; shape (m,) each."""

    listeners: NDArray[np.intp]  # rows of the profiles
    songs: NDArray[np.int32]
    played: NDArray[np.int32]
    nearness: NDArray[np.float32]  # above 0; higher is nearer, comparable among the pairs of one song
    alike: AlikeSongs = NONE_ALIKE  # further songs, without pairs of their own: those of the others hold

    def chosen(self, which: NDArray[np.bool_]) -> Self:
        pairs = (self.listeners[which], self.songs[which], self.played[which], self.nearness[which])
        return type(self)(*pairs, self.alike)


def join_nearest_plays(parts: Sequence[NearestPlays]) -> NearestPlays:
    alike = zip(*(one.alike for one in parts), strict=True)
    return NearestPlays(
        np.concatenate([one.listeners for one in parts]),
        np.concatenate([one.songs for one in parts]),
        np.concatenate([one.played for one in parts]),
        np.concatenate([one.nearness for one in parts]),
        AlikeSongs(*(np.concatenate(one) for one in alike)),
    )


class ServableModel(Protocol):
    """The part of a model that serving calls.

    What a listener gets does not depend on the other listeners of a block, bit for bit.
    """

    @property
    def labels(self) -> NDArray[np.int32]:
        """Each song's cluster, shape (n_songs,)."""

    @property
    def artists(self) -> NDArray[np.int32]:
        """Each song's artist code, shape (n_songs,)."""

    @property
    def available(self) -> NDArray[np.bool_]:
        """Which songs may be recommended, shape (n_songs,)."""

    def candidates(self, profile: Profiles, *, n: int) -> ScoredSongs:
        """One listener's candidates, see `block_candidates`."""

    def block_candidates(self, profiles: Profiles, *, n: int) -> list[ScoredSongs]:
        """Each listener's n best songs; empty if the model can't rank songs for a listener without plays.

        Played, excluded and unavailable songs are left out. If all scores are equal, lists are drawn by
        affinity alone.
        """

    def score(self, profile: Profiles, songs: NDArray[np.int32]) -> NDArray[np.float32]:
        """One listener's scores, see `block_scores`."""

    def block_scores(
        self, profiles: Profiles, songs: Sequence[NDArray[np.int32]]
    ) -> list[NDArray[np.float32]]:
        """The scores of each listener's unplayed songs, on the scale of `candidates`."""

    def explain_scores(self, profile: Profiles, songs: NDArray[np.int32]) -> dict[str, NDArray[np.float32]]:
        """Each term's contribution to the songs' scores for one listener; shape (len(songs),) each."""

    def similar(self, song: int, *, n: int) -> ScoredSongs:
        """At most n other songs, the most similar first."""

    def nearest_plays(self, profiles: Profiles, songs: Sequence[NDArray[np.int32]]) -> NearestPlays:
        """The played songs that are near each listener's songs, in any order; none if nothing is near."""

    @property
    def new_song_ranker(self) -> "NewSongRanker | None":
        """The model's ranker of new songs; None if the model can't place them by content."""


class NewSongRanker(Protocol):
    """Ranks songs that hardly anyone has played."""

    @property
    def audio_names(self) -> list[str]:
        """The audio features that `place` reads."""

    def place(self, arrived: Catalogue, artists: NDArray[np.int32]) -> NewSongs:
        """Place by content the model's songs with hardly a listener, then the songs in `arrived`.

        Args:
            artists: codes of the arrived songs, negative if the model does not know the artist.
        """

    def rank(self, profiles: Profiles, new: NewSongs, allowed: NDArray[np.bool_]) -> NDArray[np.float32]:
        """How well each new song suits each listener, shape (n, m); -inf if not allowed or unknown.

        Args:
            allowed: shape (n, m).
        """

    def similarities(self, song: int, new: NewSongs) -> NDArray[np.float32]:
        """Each new song's score for a listener of this one song; -inf if not similar.

        Scores are on the scale of `similar`.
        """

    def similar_to(self, content: NDArray[np.float32], *, n: int) -> ScoredSongs:
        """At most n songs of the model with similar content, the most similar first."""

"""Data sets of real listening, read from files.

A data set is a folder with train, valid and test.csv.gz (user, song, count and, if known, day: days since
1970 of the last play) and songs.csv.gz (song, name, artist, album, genres, release_year, duration; empty =
unknown).
"""

import csv
import gzip
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recommender.engine.clustering.affinities import SECONDS_PER_DAY, recency_weights
from recommender.engine.data import Catalogue, Interactions, Profiles, SongActivity, TrainingSet
from recommender.engine.evaluation.splitting import plays_of_new_songs
from recommender.engine.song_activity import measure_song_activity

UNDATED_COLUMNS: Final = 3  # user, song, count
FEWEST_LISTENERS: Final = 3  # of songs that `without_plays_of_some_songs` empties
EMPTIED_SHARE: Final = 0.1


@dataclass(frozen=True)
class ListeningDataset:
    """A data set; matrices have shape (n_listeners, n_songs)."""

    catalogue: Catalogue
    train_plays: Interactions
    valid_plays: Interactions
    test_plays: csr_array  # all plays of the test

    @cached_property
    def test(self) -> csr_array:
        """The test's plays of songs that the listener had not played before."""
        return plays_of_new_songs(self.test_plays, self.known_plays)

    @cached_property
    def repeats(self) -> csr_array:
        """The test's plays of songs that the listener had played before."""
        repeats = csr_array(self.test_plays - self.test_plays.multiply(_ones(self.test)))
        repeats.eliminate_zeros()
        return repeats

    @cached_property
    def train(self) -> csr_array:
        return self.train_plays.matrix()

    @cached_property
    def valid(self) -> csr_array:
        return self.valid_plays.matrix()

    @cached_property
    def plays_before_test(self) -> Interactions:
        return _concatenate(self.train_plays, self.valid_plays)

    @cached_property
    def known_plays(self) -> csr_array:
        return self.plays_before_test.matrix()

    @property
    def is_dated(self) -> bool:
        return bool(self.train_plays.at.any())

    def without_plays_of_some_songs(self, seed: int) -> tuple["ListeningDataset", NDArray[np.int64]]:
        """The data set without the known plays of a tenth of the songs, and these songs, ascending."""
        listeners = np.bincount(self.known_plays.indices, minlength=self.catalogue.n_songs)
        played = np.flatnonzero(listeners >= FEWEST_LISTENERS)
        number = int(EMPTIED_SHARE * len(played))
        emptied = np.sort(np.random.default_rng(seed).choice(played, number, replace=False))
        train, valid = (_without_songs(plays, emptied) for plays in (self.train_plays, self.valid_plays))
        return ListeningDataset(self.catalogue, train, valid, self.test), emptied

    def without_times(self) -> "ListeningDataset":
        train, valid = (
            replace(plays, at=np.zeros_like(plays.at)) for plays in (self.train_plays, self.valid_plays)
        )
        return replace(self, train_plays=train, valid_plays=valid)

    @property
    def training(self) -> TrainingSet:
        """The training set: fit on train, tune on valid and refit on both."""
        return TrainingSet(
            self.catalogue, self.train, tuning=self.valid, recent=_weigh_by_recency(self.train_plays),
            keys=np.arange(self.train.shape[0]),
            activity=_measure_activity(self.train_plays),
            latest_activity=_measure_activity(self.plays_before_test),
        )  # fmt: skip

    @property
    def test_profiles(self) -> Profiles:
        """The test listeners' plays before the test."""
        recent = _weigh_by_recency(self.plays_before_test)
        rows = self.test_listeners
        return Profiles(self.known_plays[rows], None if recent is None else recent[rows], keys=rows)

    @property
    def test_listeners(self) -> NDArray[np.int64]:
        """Listeners with plays before the test and in it."""
        return np.flatnonzero((np.diff(self.known_plays.indptr) > 0) & (np.diff(self.test.indptr) > 0))


def read_dataset(folder: Path) -> ListeningDataset:
    """Read a folder.

    Raises:
        FileNotFoundError: a file is missing.
    """
    with gzip.open(folder / "songs.csv.gz", "rt", encoding="utf-8", newline="") as file:
        songs = list(csv.DictReader(file))
    parts = [_read_plays(folder / f"{part}.csv.gz") for part in ("train", "valid", "test")]
    n_listeners = 1 + max(int(part[:, 0].max(initial=-1)) for part in parts)
    train, valid, test = (_as_interactions(part, n_listeners, len(songs)) for part in parts)
    return ListeningDataset(_build_catalogue(songs), train, valid, test.matrix())


def _read_plays(path: Path) -> NDArray[np.float64]:
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        rows = csv.reader(file)
        width = len(next(rows))
        found = [[float(cell) for cell in row] for row in rows]
    table = np.array(found, dtype=np.float64).reshape(-1, width)
    return table if width > UNDATED_COLUMNS else np.hstack([table, np.zeros((len(table), 1))])


def _ones(matrix: csr_array) -> csr_array:
    ones = matrix.copy()
    ones.data = np.ones_like(ones.data)
    return ones


def _without_songs(plays: Interactions, songs: NDArray[np.int64]) -> Interactions:
    kept = ~np.isin(plays.songs, songs)
    return Interactions(
        plays.n_listeners, plays.n_songs, plays.listeners[kept], plays.songs[kept], plays.at[kept],
        plays.count[kept],
    )  # fmt: skip


def _as_interactions(table: NDArray[np.float64], n_listeners: int, n_songs: int) -> Interactions:
    users, songs, counts, days = table.T
    return Interactions(
        n_listeners, n_songs, users.astype(np.int32), songs.astype(np.int32), days * SECONDS_PER_DAY,
        counts.astype(np.float32),
    )  # fmt: skip


def _concatenate(one: Interactions, other: Interactions) -> Interactions:
    return Interactions(
        one.n_listeners, one.n_songs,
        np.concatenate([one.listeners, other.listeners]), np.concatenate([one.songs, other.songs]),
        np.concatenate([one.at, other.at]), np.concatenate([one.count, other.count]),
    )  # fmt: skip


def _measure_activity(plays: Interactions) -> SongActivity | None:
    return measure_song_activity(plays, float(plays.at.max(initial=0.0)))


def _weigh_by_recency(plays: Interactions) -> csr_array | None:
    """Plays weighted by their age at the newest play; None if they have no times."""
    if not plays.at.any():
        return None
    return plays.matrix(recency_weights(plays.at, float(plays.at.max())))


def _build_catalogue(songs: list[dict[str, str]]) -> Catalogue:
    def number(column: str) -> NDArray[np.float64]:
        return np.array([float(song.get(column) or "nan") for song in songs])

    def text(column: str) -> list[str]:
        return [song.get(column) or "" for song in songs]

    return Catalogue(
        ids=np.arange(len(songs), dtype=np.int64), artists=text("artist"), albums=text("album"),
        songwriters=[""] * len(songs), genres=text("genres"), release_years=number("release_year"),
        durations=number("duration"), audio={}, available=np.ones(len(songs), dtype=np.bool_),
    )  # fmt: skip


def has_content(catalogue: Catalogue) -> bool:
    """Whether anything is known about the songs that more than one song can share."""
    return any(any(texts) for texts in (catalogue.artists, catalogue.albums, catalogue.genres))


def no_songs() -> Catalogue:
    return _build_catalogue([])

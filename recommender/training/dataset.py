"""Reads the database tables into the arrays of a training set."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray
from scipy.sparse import csr_array

from ingestion.models import Listener, ListeningHistory, Song, numeric_features
from recommender import catalogue_generation
from recommender.engine.clustering.affinities import recency_weights
from recommender.engine.data import Catalogue, Interactions, TrainingSet
from recommender.engine.evaluation.splitting import split_at, split_latest
from recommender.listener_profiles import (
    DISLIKE_WEIGHT,
    LIKE_WEIGHT,
    MIN_LISTEN_SECONDS,
    PLAY_HALF_LIFE,
    find_columns,
)
from recommender.models import AttributedListen, Feedback, sql

FeedbackKind = Feedback.Kind
# Rows fetched at once: a few megabytes for any size of table.
FETCH_SIZE: Final = 5_000
TUNING_SHARE: Final = 0.1  # share of the latest plays
# If a larger share of plays has a time in the future, this machine's clock is wrong, and not the data.
MAX_FUTURE_SHARE: Final = 0.5
StageCallback = Callable[[str], None]


@dataclass(frozen=True)
class TrainingData:
    catalogue: Catalogue
    listener_ids: NDArray[np.int64]  # shape (n_listeners,), ascending; row i of every matrix is listener i
    genres: list[str]  # each listener's favourite genres, as sent by the source
    plays: Interactions  # sessions, listens and likes; a like weighs more than a play
    skips: Interactions  # skips and dislikes
    cut_off: datetime | None  # time of the newest session or feedback that was read; None without any
    # Plays of songs that no list had recommended to the listener before. Models are evaluated only on these:
    # recommended plays would favour the champion, whose lists caused them.
    organic: Interactions

    @property
    def n_plays(self) -> int:
        return len(self.plays.at)

    @property
    def n_active_listeners(self) -> int:
        return len(np.unique(self.plays.listeners))

    def up_to(self, instant: float) -> "TrainingData":
        return replace(
            self, plays=_before(self.plays, instant), skips=_before(self.skips, instant),
            organic=_before(self.organic, instant),
        )  # fmt: skip

    def to_training(self, *, seed: int, configuration: dict[str, float | int | str]) -> TrainingSet:
        """The training set, with the latest tenth of the plays held out for tuning."""
        early, late = split_latest(self.plays, TUNING_SHARE)
        now = float(self.plays.at.max(initial=0.0))
        return TrainingSet(
            catalogue=self.catalogue, plays=early.matrix(), recent=weight_by_recency(early, now),
            skips=self.skips.matrix(), genres=self.genres, tuning=late.matrix(), seed=seed,
            configuration=configuration,
        )  # fmt: skip


def weight_by_recency(plays: Interactions, now: float) -> csr_array:
    """Plays weighted by their age at `now` (seconds since 1970), shape (n_listeners, n_songs)."""
    return plays.matrix(recency_weights(plays.at, now, half_life_days=PLAY_HALF_LIFE.days))


def read_training_data(
    cut_off: datetime | None = None, on_stage: StageCallback = lambda name: None
) -> TrainingData:
    """Read songs, listeners, sessions and feedback up to `cut_off`; None: up to now.

    Unavailable songs are kept and marked. Plays of unknown songs and sessions that the source withdrew are
    left out. Future times count as now, because recency and the latest week are measured from the newest
    play.
    """
    on_stage("reading songs")
    catalogue = read_catalogue()
    on_stage("reading listeners")
    rows = Listener.objects.filter(unavailable_at=None).order_by("pk").values_list("pk", "favorite_genres")
    listeners = list(rows.iterator(chunk_size=FETCH_SIZE))
    ids = np.array([pk for pk, _ in listeners], dtype=np.int64)
    on_stage("reading sessions and feedback")
    reader = _InteractionReader(ids, catalogue.ids, cut_off)
    sessions = reader.read_sessions()
    played, skipped = reader.read_feedback()
    now = datetime.now(UTC).timestamp()
    organic = _clip_future_times(_exclude(sessions, reader.read_recommended_plays()), now)
    plays, skipped = _clip_future_times(_concatenate(sessions, played), now), _clip_future_times(skipped, now)
    newest = max((float(part.at.max(initial=0.0)) for part in (plays, skipped)), default=0.0)
    return TrainingData(
        catalogue, ids, [genres for _, genres in listeners], plays, skipped,
        datetime.fromtimestamp(newest, UTC) if newest else None, organic,
    )  # fmt: skip


def read_catalogue() -> Catalogue:
    names = ("pk", "artist", "album", "songwriters", "genres", "release_year", "duration", "unavailable_at")
    rows = Song.objects.order_by("pk").values_list(*names).iterator(chunk_size=FETCH_SIZE)
    columns: list[list[Any]] = [list(column) for column in zip(*rows, strict=True)] or [[] for _ in names]
    ids, artists, albums, writers, genres, years, durations, gone = columns
    return Catalogue(
        ids=np.array(ids, dtype=np.int64), artists=artists, albums=albums, songwriters=writers, genres=genres,
        release_years=np.array([np.nan if year is None else year for year in years], dtype=np.float64),
        durations=np.array([duration.total_seconds() for duration in durations], dtype=np.float64),
        audio=_audio_columns(ids), available=np.array([moment is None for moment in gone], dtype=np.bool_),
    )  # fmt: skip


def _audio_columns(ids: Sequence[int]) -> dict[str, NDArray[np.float64]]:
    columns: dict[str, NDArray[np.float64]] = {}
    for place, features in _match_to_ids(ids, sql.json_column(Song, "audio_features", FETCH_SIZE)):
        for name, value in numeric_features(orjson.loads(features) if features else None).items():
            if name not in columns:
                columns[name] = np.full(len(ids), np.nan)
            columns[name][place] = value
    return dict(sorted(columns.items()))


def _match_to_ids(
    ids: Sequence[int], rows: Iterable[tuple[int, str | None]]
) -> Iterator[tuple[int, str | None]]:
    place = 0
    for pk, text in rows:
        while place < len(ids) and ids[place] < pk:
            place += 1
        if place < len(ids) and ids[place] == pk:
            yield place, text


class _InteractionReader:
    """Reads interactions as columns, without those of unknown listeners or songs."""

    def __init__(
        self, listener_ids: NDArray[np.int64], song_ids: NDArray[np.int64], cut_off: datetime | None
    ) -> None:
        self._listener_ids, self._song_ids = listener_ids, song_ids
        self._until = {} if cut_off is None else {"created_at__lte": cut_off}
        self._feedback_until = {} if cut_off is None else {"at__lte": cut_off}

    def read_sessions(self) -> Interactions:
        rows = ListeningHistory.objects.filter(unavailable_at=None, **self._until).order_by("pk")
        users, times, lengths, songs = [], [], [], []
        for user, at, items in rows.values_list("user_id", "created_at", "items").iterator(
            chunk_size=FETCH_SIZE
        ):
            users.append(user)
            times.append(at.timestamp())
            lengths.append(len(items))
            songs.append(np.array(items, dtype=np.int64))
        repeats = np.array(lengths, dtype=np.int64)
        return self._build_interactions(
            np.repeat(np.array(users, dtype=np.int64), repeats),
            np.concatenate(songs) if songs else np.empty(0, dtype=np.int64),
            np.repeat(np.array(times, dtype=np.float64), repeats),
            np.ones(int(repeats.sum()), dtype=np.float32),
        )

    def read_feedback(self) -> tuple[Interactions, Interactions]:
        rows = catalogue_generation.feedback_on_current(
            Feedback.objects.filter(**self._feedback_until)
        ).order_by("pk")
        played, skipped = [], []
        columns = rows.values_list("listener_id", "song_id", "at", "kind", "seconds")
        for listener, song, at, kind, seconds in columns.iterator(chunk_size=FETCH_SIZE):
            if kind == FeedbackKind.LIKE:
                played.append((listener, song, at.timestamp(), LIKE_WEIGHT))
            elif kind == FeedbackKind.LISTEN and (seconds or 0.0) >= MIN_LISTEN_SECONDS:
                played.append((listener, song, at.timestamp(), 1.0))
            elif kind in {FeedbackKind.SKIP, FeedbackKind.DISLIKE}:
                skipped.append(
                    (listener, song, at.timestamp(), DISLIKE_WEIGHT if kind == FeedbackKind.DISLIKE else 1.0)
                )
        return self._from_rows(played), self._from_rows(skipped)

    def read_recommended_plays(self) -> Interactions:
        """Plays of songs that an earlier list had recommended to the listener."""
        rows = AttributedListen.objects.values_list("served_list__listener_id", "song_id", "at")
        return self._from_rows(
            [
                (listener, song, at.timestamp(), 1.0)
                for listener, song, at in rows.iterator(chunk_size=FETCH_SIZE)
            ]
        )

    def _from_rows(self, rows: Iterable[tuple[int, int, float, float]]) -> Interactions:
        listeners, songs, times, counts = (
            ([*column] for column in zip(*rows, strict=True)) if rows else ([],) * 4
        )
        return self._build_interactions(
            np.array(listeners, dtype=np.int64), np.array(songs, dtype=np.int64),
            np.array(times, dtype=np.float64), np.array(counts, dtype=np.float32),
        )  # fmt: skip

    def _build_interactions(
        self, listeners: NDArray[np.int64], songs: NDArray[np.int64], at: NDArray[np.float64],
        count: NDArray[np.float32],
    ) -> Interactions:  # fmt: skip
        row, known_row = find_columns(self._listener_ids, listeners)
        column, known_column = find_columns(self._song_ids, songs)
        kept = known_row & known_column
        return Interactions(
            len(self._listener_ids), len(self._song_ids), row[kept].astype(np.int32),
            column[kept].astype(np.int32), at[kept], count[kept],
        )  # fmt: skip


def _before(plays: Interactions, instant: float) -> Interactions:
    return split_at(plays, instant)[0]


def _concatenate(one: Interactions, other: Interactions) -> Interactions:
    return Interactions(
        one.n_listeners, one.n_songs,
        np.concatenate([one.listeners, other.listeners]), np.concatenate([one.songs, other.songs]),
        np.concatenate([one.at, other.at]), np.concatenate([one.count, other.count]),
    )  # fmt: skip


def _exclude(plays: Interactions, others: Interactions) -> Interactions:
    ours, theirs = (part.listeners.astype(np.int64) * part.n_songs + part.songs for part in (plays, others))
    known = set(zip(theirs.tolist(), others.at.tolist(), strict=True))
    kept = np.ones(len(ours), dtype=np.bool_)
    # Few plays share listener and song with one in `others`, so only these are looked up in the set.
    for place in np.flatnonzero(np.isin(ours, theirs)).tolist():
        kept[place] = (int(ours[place]), float(plays.at[place])) not in known
    return replace(
        plays, listeners=plays.listeners[kept], songs=plays.songs[kept], at=plays.at[kept],
        count=plays.count[kept],
    )  # fmt: skip


def _clip_future_times(plays: Interactions, now: float) -> Interactions:
    # If most times are after `now`, this machine's clock is wrong, and nothing changes.
    future = plays.at > now
    if not future.any() or future.mean() > MAX_FUTURE_SHARE:
        return plays
    return replace(plays, at=np.minimum(plays.at, now))

"""Reads the database tables into the arrays of a training set."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import chain, islice
from typing import Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray
from scipy.sparse import csr_array

from ingestion.models import Listener, ListeningHistory, Song, numeric_features
from recommender import catalogue_generation
from recommender.engine.algorithms.engines import Engine, LocalEngine, WantedPlays
from recommender.engine.clustering.affinities import recency_weights
from recommender.engine.data import Catalogue, Interactions, TrainingSet
from recommender.engine.evaluation.splitting import split_at, split_latest
from recommender.engine.feedback_state import EventKind, FeedbackState, heard_threshold, reported_twice
from recommender.engine.identity.text import has_text
from recommender.engine.song_activity import measure_song_activity
from recommender.engine.song_columns import find_columns
from recommender.listener_profiles import (
    DISLIKE_WEIGHT,
    EVENT_CODES,
    LIKE_WEIGHT,
    PLAY_HALF_LIFE,
)
from recommender.models import AttributedListen, Feedback, sql
from recommender.models.naming import read_genre_names

# Rows fetched at once: a few megabytes for any size of table.
FETCH_SIZE: Final = 5_000
TUNING_SHARE: Final = 0.1  # share of the latest plays
# Columns whose equal texts are kept once: half the memory of a large catalogue.
SHARED_TEXTS: Final = frozenset({"artist", "album", "songwriters", "genres"})
# If a larger share of plays has a time in the future, this machine's clock is wrong, and not the data.
MAX_FUTURE_SHARE: Final = 0.5
StageCallback = Callable[[str], None]


@dataclass(frozen=True)
class TrainingData:
    catalogue: Catalogue
    listener_ids: NDArray[np.int64]  # shape (n_listeners,), ascending; row i of every matrix is listener i
    genres: list[str]  # each listener's favourite genres, normalised
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
        """A training set that holds out the latest tenth of the plays for tuning."""
        early, late = split_latest(self.plays, TUNING_SHARE)
        now = float(self.plays.at.max(initial=0.0))
        return TrainingSet(
            catalogue=self.catalogue, plays=early.matrix(), recent=weight_by_recency(early, now),
            skips=weight_by_recency(self.skips, now), genres=self.genres, tuning=late.matrix(), seed=seed,
            configuration=configuration,
            keys=self.listener_ids, activity=measure_song_activity(early, float(early.at.max(initial=0.0))),
            latest_activity=measure_song_activity(self.plays, now),
        )  # fmt: skip


def weight_by_recency(plays: Interactions, now: float) -> csr_array:
    """Plays weighted by their age at `now` (seconds since 1970), shape (n_listeners, n_songs)."""
    return plays.matrix(recency_weights(plays.at, now, half_life_days=PLAY_HALF_LIFE.days))


def read_training_data(
    cut_off: datetime | None = None,
    on_stage: StageCallback = lambda name: None,
    engine: Engine | None = None,
) -> TrainingData:
    """Songs, listeners, sessions and feedback up to `cut_off`; None: up to now.

    Unavailable songs are marked; plays of unknown songs and withdrawn sessions are left out. Future times
    count as now, because recency and the latest week are measured from the newest play.

    Args:
        engine: reads the sessions; None: from the database.
    """
    engine = engine or LocalEngine(read_plays=read_sessions)
    on_stage("reading songs")
    catalogue = read_catalogue()
    on_stage("reading listeners")
    rows = Listener.objects.filter(unavailable_at=None).order_by("pk").values_list("pk", "favorite_genres")
    listeners = list(rows.iterator(chunk_size=FETCH_SIZE))
    ids = np.array([pk for pk, _ in listeners], dtype=np.int64)
    on_stage("reading sessions and feedback")
    sessions = engine.plays(WantedPlays(ids, catalogue.ids, cut_off))
    reader = _InteractionReader(ids, catalogue.ids, cut_off)
    played, skipped = reader.read_feedback(sessions, catalogue.durations)
    now = datetime.now(UTC).timestamp()
    organic = _clip_future_times(_exclude(sessions, reader.read_recommended_plays()), now)
    plays, skipped = _clip_future_times(_concatenate(sessions, played), now), _clip_future_times(skipped, now)
    newest = max((float(part.at.max(initial=0.0)) for part in (plays, skipped)), default=0.0)
    genres = read_genre_names().normalise_all(favourites for _, favourites in listeners)
    return TrainingData(
        catalogue, ids, genres, plays, skipped,
        datetime.fromtimestamp(newest, UTC) if newest else None, organic,
    )  # fmt: skip


@dataclass(frozen=True)
class FeedbackEvents:
    """Feedback events as columns, in no particular order."""

    listeners: NDArray[np.int64]  # ids, like `songs`
    songs: NDArray[np.int64]
    kinds: NDArray[np.int8]  # see EventKind
    at: NDArray[np.float64]  # seconds since 1970
    counts: NDArray[np.bool_]  # whether the event counts after the listener's later words


def read_events(durations: NDArray[np.float64], song_ids: NDArray[np.int64], **until: Any) -> FeedbackEvents:
    """Events on the current catalogue that were not withdrawn.

    Args:
        durations: in seconds, of the songs `song_ids` (ascending); they decide which listens count.
        until: a filter of the events, such as `at__lte`.
    """
    standing = catalogue_generation.feedback_on_current(Feedback.objects.not_withdrawn().filter(**until))
    rows = standing.order_by().annotate(epoch=sql.epoch_seconds("at"))
    names = ("pk", "listener_id", "song_id", "kind", "seconds", "epoch")
    ids, listeners, songs, kinds, seconds, at = _read_columns(
        rows.values_list(*names).iterator(chunk_size=FETCH_SIZE), EVENT_TYPES
    )
    places, known = find_columns(song_ids, songs)
    lengths = np.zeros(len(ids))
    lengths[known] = durations[places[known]]
    kinds[(kinds == EventKind.LISTEN) & (seconds < heard_threshold(lengths))] = EventKind.NOT_HEARD
    # Listener and song as one number: ids have 64 bits, so places stand in for them.
    _, rows_of = np.unique(listeners, return_inverse=True)
    distinct, columns_of = np.unique(songs, return_inverse=True)
    state = FeedbackState(rows_of * len(distinct) + columns_of, kinds, at, ids)
    return FeedbackEvents(listeners, songs, kinds, at, state.counts)


def _read_columns(
    rows: Iterator[Sequence[Any]], types: Sequence[Callable[[Sequence[Any]], NDArray[Any]]]
) -> list[NDArray[Any]]:
    """Read rows into one array per column; only FETCH_SIZE rows are Python objects at once."""
    parts: list[list[NDArray[Any]]] = [[convert([])] for convert in types]
    while chunk := list(islice(rows, FETCH_SIZE)):
        for part, convert, column in zip(parts, types, zip(*chunk, strict=True), strict=True):
            part.append(convert(column))
    return [np.concatenate(part) for part in parts]


def _as_ids(values: Sequence[int]) -> NDArray[np.int64]:
    return np.array(values, dtype=np.int64)


def _as_numbers(values: Sequence[float | None]) -> NDArray[np.float64]:
    return np.array(values, dtype=np.float64)


def _as_seconds(values: Sequence[datetime]) -> NDArray[np.float64]:
    return np.fromiter((at.timestamp() for at in values), np.float64, len(values))


def _as_kinds(values: Sequence[str]) -> NDArray[np.int8]:
    return np.fromiter((EVENT_CODES[kind] for kind in values), np.int8, len(values))


EVENT_TYPES: Final = (_as_ids, _as_ids, _as_ids, _as_kinds, _as_numbers, _as_numbers)


def read_catalogue() -> Catalogue:
    names = (
        "pk", "artist", "album", "songwriters", "genres", "release_year", "duration", "unavailable_at",
        "name",
    )  # fmt: skip
    rows = Song.objects.order_by("pk").values_list(*names).iterator(chunk_size=FETCH_SIZE)
    columns: list[list[Any]] = [[] for _ in names]
    known: dict[str, str] = {}
    while chunk := list(islice(rows, FETCH_SIZE)):
        for name, column, values in zip(names, columns, zip(*chunk, strict=True), strict=True):
            column.extend(map(known.setdefault, values, values) if name in SHARED_TEXTS else values)
    ids, artists, albums, writers, genres, years, durations, gone, titles = columns
    # A song that a list can't show is not recommended.
    servable = [
        moment is None and has_text(name) and has_text(artist)
        for moment, name, artist in zip(gone, titles, artists, strict=True)
    ]
    return Catalogue(
        ids=np.array(ids, dtype=np.int64), artists=artists, albums=albums, songwriters=writers,
        genres=read_genre_names().normalise_all(genres), titles=titles,
        release_years=np.array([np.nan if year is None else year for year in years], dtype=np.float64),
        durations=np.array([duration.total_seconds() for duration in durations], dtype=np.float64),
        audio=_audio_columns(ids), available=np.array(servable, dtype=np.bool_),
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


def read_sessions(wanted: WantedPlays) -> Interactions:
    """The wanted plays from the database, in 20 bytes each; see `Engine.plays`."""
    until = {} if wanted.until is None else {"created_at__lte": wanted.until}
    rows = ListeningHistory.objects.filter(unavailable_at=None, **until).order_by("pk")
    sessions = rows.values_list("user_id", "created_at", "items").iterator(chunk_size=FETCH_SIZE)
    plays = _GrowingInteractions()
    while chunk := list(islice(sessions, FETCH_SIZE)):
        users, times, items = zip(*chunk, strict=True)
        lengths = [len(songs) for songs in items]
        plays.append(
            build_interactions(
                wanted.listener_ids, wanted.song_ids,
                np.repeat(_as_ids(users), lengths),
                np.fromiter(chain.from_iterable(items), np.int64, sum(lengths)),
                np.repeat(_as_seconds(times), lengths),
                np.ones(sum(lengths), dtype=np.float32),
            )
        )  # fmt: skip
    return plays.to_interactions(len(wanted.listener_ids), len(wanted.song_ids))


class _GrowingInteractions:
    """Columns that grow in place: joining parts would need twice the memory."""

    def __init__(self) -> None:
        self._length = 0
        self._listeners, self._songs = np.empty(0, np.int32), np.empty(0, np.int32)
        self._at, self._count = np.empty(0, np.float64), np.empty(0, np.float32)

    def append(self, part: Interactions) -> None:
        start, end = self._length, self._length + len(part.at)
        if end > len(self._at):
            self._resize(end + end // 32)
        self._listeners[start:end], self._songs[start:end] = part.listeners, part.songs
        self._at[start:end], self._count[start:end] = part.at, part.count
        self._length = end

    def to_interactions(self, n_listeners: int, n_songs: int) -> Interactions:
        self._resize(self._length)
        return Interactions(n_listeners, n_songs, self._listeners, self._songs, self._at, self._count)

    def _resize(self, length: int) -> None:
        # In place: the C library moves the pages of a large array instead of copying them.
        for column in (self._listeners, self._songs, self._at, self._count):
            column.resize(length, refcheck=False)


class _InteractionReader:
    """Reads interactions as columns, without unknown listeners and songs."""

    def __init__(
        self, listener_ids: NDArray[np.int64], song_ids: NDArray[np.int64], cut_off: datetime | None
    ) -> None:
        self._listener_ids, self._song_ids = listener_ids, song_ids
        self._feedback_until = {} if cut_off is None else {"at__lte": cut_off}

    def read_feedback(
        self, sessions: Interactions, durations: NDArray[np.float64]
    ) -> tuple[Interactions, Interactions]:
        """The feedback that counts as plays and is not in `sessions`, and the feedback that counts as skips.

        As in a listener's profile, the latest event counts, see `FeedbackState`.
        """
        events = read_events(durations, self._song_ids, **self._feedback_until)
        is_like, is_dislike = events.kinds == EventKind.LIKE, events.kinds == EventKind.DISLIKE
        worth = np.select([is_like, is_dislike], [LIKE_WEIGHT, DISLIKE_WEIGHT], 1.0).astype(np.float32)
        skipped = is_dislike | (events.kinds == EventKind.SKIP)

        def interactions(chosen: NDArray[np.bool_]) -> Interactions:
            return build_interactions(
                self._listener_ids, self._song_ids,
                events.listeners[chosen], events.songs[chosen], events.at[chosen], worth[chosen],
            )  # fmt: skip

        listens = interactions(events.counts & (events.kinds == EventKind.LISTEN))
        twice = reported_twice(_pairs(listens), listens.at, _pairs(sessions), sessions.at)
        played = _concatenate(_select(listens, ~twice), interactions(events.counts & is_like))
        return played, interactions(events.counts & skipped)

    def read_recommended_plays(self) -> Interactions:
        """Plays of songs that an earlier list had recommended to the listener."""
        known = AttributedListen.objects.with_listener().exclude(heard_by=None)
        rows = known.values_list("heard_by", "song_id", "at").iterator(chunk_size=FETCH_SIZE)
        listeners, songs, at = _read_columns(rows, (_as_ids, _as_ids, _as_seconds))
        ones = np.ones(len(at), dtype=np.float32)
        return build_interactions(self._listener_ids, self._song_ids, listeners, songs, at, ones)


def build_interactions(
    listener_ids: NDArray[np.int64],
    song_ids: NDArray[np.int64],
    listeners: NDArray[np.int64],
    songs: NDArray[np.int64],
    at: NDArray[np.float64],
    count: NDArray[np.float32],
) -> Interactions:
    """Plays by row and column, without those of listeners and songs that are not in the ascending ids."""
    row, known_row = find_columns(listener_ids, listeners)
    column, known_column = find_columns(song_ids, songs)
    kept = known_row & known_column
    return Interactions(
        len(listener_ids), len(song_ids), row[kept].astype(np.int32), column[kept].astype(np.int32),
        at[kept], count[kept],
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
    ours, theirs = _pairs(plays), _pairs(others)
    kept = np.ones(len(ours), dtype=np.bool_)
    # Few plays share listener and song with one in `others`, so the times of these only are compared.
    shared = np.flatnonzero(np.isin(ours, theirs))
    kept[shared] = ~np.isin(_moments(ours[shared], plays.at[shared]), _moments(theirs, others.at))
    return _select(plays, kept)


def _moments(pairs: NDArray[np.int64], at: NDArray[np.float64]) -> NDArray[Any]:
    return np.rec.fromarrays([pairs, at])


def _select(plays: Interactions, kept: NDArray[np.bool_]) -> Interactions:
    return replace(
        plays, listeners=plays.listeners[kept], songs=plays.songs[kept], at=plays.at[kept],
        count=plays.count[kept],
    )  # fmt: skip


def _pairs(plays: Interactions) -> NDArray[np.int64]:
    return plays.listeners.astype(np.int64) * plays.n_songs + plays.songs


def _clip_future_times(plays: Interactions, now: float) -> Interactions:
    # If most times are after `now`, this machine's clock is wrong, and nothing changes.
    future = plays.at > now
    if not future.any() or future.mean() > MAX_FUTURE_SHARE:
        return plays
    return replace(plays, at=np.minimum(plays.at, now))

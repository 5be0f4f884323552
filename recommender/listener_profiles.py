"""Builds listener profiles from history and feedback: plays, skips, excluded songs, fingerprints."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from itertools import chain
from typing import Final, NamedTuple

import numpy as np
import orjson
from django.db.models import Count, Max, Q, Sum
from numpy.typing import NDArray
from scipy.sparse import csr_array

from ingestion.models import ListeningHistory, Song
from recommender import catalogue_generation
from recommender.engine.clustering.affinities import recency_weights
from recommender.engine.data import Profiles
from recommender.engine.feedback_state import (
    HEARD_SECONDS,
    EventKind,
    FeedbackState,
    heard_threshold,
    reported_twice,
)
from recommender.engine.song_columns import are_among, find_columns
from recommender.models import Feedback, sql
from recommender.models.naming import read_genre_names
from recommender.models.served import FeedbackQuerySet

# Taste drifts over months.
PLAY_HALF_LIFE: Final = timedelta(days=90)
# A skip means "not now": it excludes the song for a month, and lowers the cluster's affinity while it fades.
SKIP_EXCLUDES_FOR: Final = timedelta(days=30)
# A like weighs more than one play, and less than the plays of a favourite song.
LIKE_WEIGHT: Final = 2.0  # plays
DISLIKE_WEIGHT: Final = 2.0  # skips
EVENT_CODES: Final = {kind.value: EventKind[kind.name] for kind in Feedback.Kind}
# Of older sessions and feedback only sums by song are read, so that a listener with 100 000 events takes as
# long as one with some thousands. It takes years to collect 10 000 events.
DETAILED_SESSIONS: Final = 2_000
DETAILED_EVENTS: Final = 10_000
MICROSECONDS: Final = 1_000_000  # of a second
EMPTY_HISTORY: Final = "0"  # fingerprint of a history without sessions
# Attributes of a profile with one entry per played song.
PLAY_COLUMNS: Final = ("songs", "plays", "recent", "play_counts", "habits", "last_played_at")
Ids = NDArray[np.int64]
Values = NDArray[np.float32]


@dataclass
class _Sessions:
    """Sessions as columns: objects for each of thousands of sessions keep the garbage collector busy."""

    pks: list[int] = field(default_factory=list)
    at: list[int] = field(default_factory=list)  # microseconds since 1970
    changed_at: list[int] = field(default_factory=list)  # microseconds since 1970
    lengths: list[int] = field(default_factory=list)  # number of songs
    songs: list[int] = field(default_factory=list)  # of one session after the other


class OlderPlays(NamedTuple):
    """A song's number of plays in all but the newest sessions."""

    song: int
    plays: int
    at: float  # the last of them, in seconds since 1970


class FeedbackRow(NamedTuple):
    pk: int
    song: int
    kind: str
    seconds: float | None
    at: float  # seconds since 1970
    stands: bool  # false: withdrawn, or about a song of an earlier catalogue
    events: int = 1  # more if the row sums all older events of a kind on a song; `at` is the last one's


@dataclass
class _History:
    sessions: _Sessions = field(default_factory=_Sessions)
    older_plays: list[OlderPlays] = field(default_factory=list)
    feedback: list[FeedbackRow] = field(default_factory=list)
    fingerprint: str | None = None  # None: computed from `sessions`, which are all


@dataclass(frozen=True)
class _Events:
    """A listener's feedback events as columns, and which of the events count."""

    songs: Ids
    kinds: NDArray[np.int8]
    at: NDArray[np.float64]
    events: NDArray[np.float64]  # number of events in each entry
    state: FeedbackState

    def counting(self, kind: EventKind) -> NDArray[np.intp]:
        return np.flatnonzero(self.state.counts & (self.kinds == kind))


@dataclass(frozen=True)
class ListenerProfile:
    """A listener's plays, skips and exclusions from listening history and feedback."""

    listener_id: int
    genres: str  # favourite genres, normalised
    songs: Ids  # ids of the played songs, ascending; the next five arrays have one entry per song
    plays: Values  # plays and likes, in plays; a like counts LIKE_WEIGHT
    recent: Values  # plays and likes, weighted by recency
    play_counts: Values  # plays alone
    habits: Values  # plays and likes, each weighted by (its age in days + .5) to the power of -.5
    last_played_at: NDArray[np.float64]  # time of the last play or like, in seconds since 1970
    skipped: Ids  # ids of the skipped and disliked songs, ascending
    # Skips of each song in `skipped`, weighted by recency; a dislike counts DISLIKE_WEIGHT.
    skips: Values
    excluded: frozenset[int]  # disliked songs, and songs skipped within the last month
    # Songs that the listener reported as wrong for their cluster: the cluster's number; None: any cluster.
    excluded_clusters: dict[int, int | None]
    history_at: datetime | None  # time of the newest session
    feedback_id: int  # id of the newest feedback; 0 for none
    history_fingerprint: str = EMPTY_HISTORY  # see `fingerprint_history`
    run_id: int = 0  # newest ingestion run that finished before the sessions were read; 0 for none

    @cached_property
    def excluded_ids(self) -> Ids:
        """The excluded songs, ascending."""
        return np.array(sorted(self.excluded), dtype=np.int64)

    @property
    def has_likes(self) -> bool:
        return bool((self.plays > self.play_counts).any())

    def without_songs(self, songs: Ids) -> "ListenerProfile":
        kept = ~are_among(self.songs, songs)
        columns = {name: getattr(self, name)[kept] for name in PLAY_COLUMNS}
        return replace(self, **columns)

    def last_plays_of(self, songs: Ids) -> dict[int, float]:
        """When each song was last played, in seconds since 1970, without unplayed songs."""
        places = np.flatnonzero(are_among(self.songs, songs))
        return dict(zip(self.songs[places].tolist(), self.last_played_at[places].tolist(), strict=True))

    def model_profile(self, song_ids: Ids) -> Profiles:
        """The profile as one row, for a model whose song j is `song_ids[j]` (ascending).

        Songs that the model does not know are left out.
        """
        return build_model_profiles([self], song_ids)


def build_model_profiles(profiles: Sequence[ListenerProfile], song_ids: Ids) -> Profiles:
    """One row per listener, see `ListenerProfile.model_profile`."""
    plays, recent = _build_sparse_rows(
        song_ids,
        [one.songs for one in profiles],
        [one.plays for one in profiles],
        [one.recent for one in profiles],
    )
    (skips,) = _build_sparse_rows(
        song_ids, [one.skipped for one in profiles], [one.skips for one in profiles]
    )
    excluded_ids = [one.excluded_ids for one in profiles]
    ones = [np.ones(len(ids), dtype=np.float32) for ids in excluded_ids]
    (excluded,) = _build_sparse_rows(song_ids, excluded_ids, ones)
    return Profiles(
        plays=plays,
        recent=recent,
        skips=skips,
        genres=[one.genres for one in profiles],
        keys=np.array([one.listener_id for one in profiles], dtype=np.int64),
        excluded=excluded,
    )


def build_sparse_row(song_ids: Ids, songs: Ids, values: Values) -> csr_array:
    """A float32 row of shape (1, n_songs) with `values` at the columns of `songs` (ascending)."""
    return _build_sparse_rows(song_ids, [songs], [values])[0]


def _build_sparse_rows(
    song_ids: Ids, songs: Sequence[Ids], *values: Sequence[Values]
) -> tuple[csr_array, ...]:
    """Float32 matrices of shape (len(songs), n_songs) with `values` at the columns of `songs` (ascending)."""
    columns, there = find_columns(song_ids, np.concatenate(songs))
    n_before = np.concatenate([[0], np.cumsum(there)])
    ends = np.concatenate([[0], np.cumsum([len(one) for one in songs])])
    indices, indptr = columns[there].astype(np.int32), n_before[ends].astype(np.int32)
    shape = (len(songs), len(song_ids))
    return tuple(csr_array((np.concatenate(one)[there], indices, indptr), shape=shape) for one in values)


def read_profile(listener_id: int, now: datetime) -> ListenerProfile | None:
    return read_profiles([listener_id], now).get(listener_id)


def read_profiles(
    listener_ids: Collection[int], now: datetime, *, until: datetime | None = None
) -> dict[int, ListenerProfile]:
    """The listeners' profiles by id, without unknown ids, from five to seven queries.

    Args:
        now: recency and the month after a skip are counted back from it.
        until: ignore sessions and feedback from then on.
    """
    # Read before the sessions: if a run ends in between, the history is compared once more than necessary.
    run_id = sql.newest_finished_run()
    genres = sql.favourite_genres(listener_ids)
    names = read_genre_names()
    histories: dict[int, _History] = {listener: _History() for listener in genres}
    _read_sessions(histories, until)
    _read_feedback(histories, until)
    all_feedback = [row for history in histories.values() for row in history.feedback]
    clusters, durations = _wrong_style_clusters(all_feedback), _durations_of_short_listens(all_feedback)
    return {
        listener: replace(
            _build_profile(listener, text, histories[listener], clusters, durations, now), run_id=run_id
        )
        for listener, text in zip(genres, names.normalise_all(genres.values()), strict=True)
    }


def _read_sessions(histories: dict[int, _History], until: datetime | None) -> None:
    for listener, at, changed_at, items, pk in sql.newest_sessions(histories, until, DETAILED_SESSIONS):
        sessions, songs = histories[listener].sessions, orjson.loads(items)
        sessions.pks.append(pk)
        sessions.at.append(at)
        sessions.changed_at.append(changed_at)
        sessions.lengths.append(len(songs))
        sessions.songs += songs
    for listener, history in histories.items():
        if len(history.sessions.pks) == DETAILED_SESSIONS:
            older = ListeningHistory.objects.filter(
                user_id=listener, unavailable_at=None, pk__lt=min(history.sessions.pks)
            ).order_by()
            older = older if until is None else older.filter(created_at__lt=until)
            history.older_plays = [OlderPlays(*row) for row in sql.count_songs(older)]
            history.fingerprint = read_history_fingerprints([listener])[listener]


def _read_feedback(histories: dict[int, _History], until: datetime | None) -> None:
    # All rows and not only those that count, because a candidate list must know the newest id.
    for listener, *event in sql.newest_feedback(histories, until, DETAILED_EVENTS):
        histories[listener].feedback.append(FeedbackRow(*event))
    stands = Q(catalogue_generation.is_on_current(), withdrawn_at=None)
    for listener, history in histories.items():
        if len(history.feedback) == DETAILED_EVENTS:
            first = min(row.pk for row in history.feedback)
            older = Feedback.objects.filter(stands, listener_id=listener, pk__lt=first).order_by()
            older = older if until is None else older.filter(at__lt=until)
            history.feedback += _sum_feedback(older)


def _sum_feedback(rows: FeedbackQuerySet) -> list[FeedbackRow]:
    """Feedback summed by song and kind, without listens that were too short."""
    sums = rows.without_short_listens().annotate(epoch=sql.epoch_seconds("at")).values_list("song_id", "kind")
    return [
        FeedbackRow(pk, song, kind, HEARD_SECONDS, at, True, events)
        for song, kind, pk, at, events in sums.annotate(Max("pk"), Max("epoch"), Count("pk"))
    ]


def fingerprint_history(sessions: int, newest: int, changed_at: datetime | None, songs: int) -> str:
    """A string that changes whenever the listener's available sessions change.

    They change if a session arrives late, gets longer, becomes unavailable or becomes available again.

    Args:
        sessions: number of available sessions.
        newest: id of the newest session.
        changed_at: time of the newest change to a session; None if there are no sessions.
        songs: number of plays in all sessions.
    """
    return f"{sessions}.{newest}.{changed_at.timestamp():.0f}.{songs}" if changed_at else EMPTY_HISTORY


def read_history_fingerprints(listener_ids: Collection[int]) -> dict[int, str]:
    """Fingerprints by listener, in one query; EMPTY_HISTORY for listeners without sessions."""
    rows = (
        ListeningHistory.objects.filter(user_id__in=listener_ids, unavailable_at=None)
        .order_by()
        .values_list("user_id")
        .annotate(
            n=Count("pk"),
            newest=Max("pk"),
            changed_at=Max("updated_at"),
            songs=Sum(sql.json_array_length("items")),
        )
    )
    found = {
        user: fingerprint_history(n, newest, changed_at, songs or 0)
        for user, n, newest, changed_at, songs in rows
    }
    return {listener: found.get(listener, EMPTY_HISTORY) for listener in listener_ids}


def excluded_since(listener_id: int, history_at: datetime | None, feedback_id: int) -> set[int]:
    """Songs with a play after `history_at` or feedback after `feedback_id`, to exclude from older lists."""
    sessions = ListeningHistory.objects.filter(user_id=listener_id, unavailable_at=None)
    if history_at is not None:
        sessions = sessions.filter(created_at__gt=history_at)
    played = set(chain.from_iterable(sessions.values_list("items", flat=True)))
    feedback = Feedback.objects.not_withdrawn().filter(listener_id=listener_id, pk__gt=feedback_id)
    feedback = feedback.exclude(kind=Feedback.Kind.CLEAR)
    return played | set(feedback.values_list("song_id", flat=True))


def _build_profile(
    listener_id: int,
    genres: str,
    history: _History,
    clusters: dict[int, int | None],
    durations: dict[int, float],
    now: datetime,
) -> ListenerProfile:
    sessions, feedback = history.sessions, history.feedback
    standing = [row for row in feedback if row.stands]
    events = _build_events(standing, durations)
    skipped, skips = _aggregate_skips(events, now)
    songs, plays, recent, play_counts, habits, last_played_at = _aggregate_plays(history, events, now)
    return ListenerProfile(
        listener_id=listener_id,
        genres=genres,
        songs=songs,
        plays=plays,
        recent=recent,
        play_counts=play_counts,
        habits=habits,
        last_played_at=last_played_at,
        skipped=skipped,
        skips=skips,
        excluded=_excluded_songs(events, now),
        excluded_clusters={
            row.song: clusters.get(row.pk)
            for row in (standing[place] for place in events.counting(EventKind.WRONG_STYLE))
        },
        history_at=_newest_session_at(history),
        feedback_id=max((one.pk for one in feedback), default=0),
        history_fingerprint=history.fingerprint
        or fingerprint_history(
            len(sessions.pks),
            max(sessions.pks, default=0),
            _to_datetime(max(sessions.changed_at, default=None)),
            len(sessions.songs),
        ),
    )


def _newest_session_at(history: _History) -> datetime | None:
    newest = _to_datetime(max(history.sessions.at, default=None))
    older = max((plays.at for plays in history.older_plays), default=None)
    if newest is None or older is None:
        return newest
    # Rounded up, because a candidate list is stale if there is a newer session.
    return max(newest, datetime.fromtimestamp(older, UTC) + timedelta(milliseconds=1))


def _to_datetime(micros: int | None) -> datetime | None:
    """Exact to the microsecond, because a candidate list is stale if there is a newer session."""
    return None if micros is None else sql.EPOCH + timedelta(microseconds=micros)


def _build_events(rows: Sequence[FeedbackRow], durations: dict[int, float]) -> _Events:
    ids, songs, kinds, seconds, at = zip(*(row[:5] for row in rows), strict=True) if rows else [()] * 5
    codes = np.fromiter((EVENT_CODES[kind] for kind in kinds), np.int8, len(rows))
    short = [
        place for place in np.flatnonzero(codes == EventKind.LISTEN).tolist()
        if seconds[place] < HEARD_SECONDS
    ]  # fmt: skip
    needed = heard_threshold(np.array([durations.get(songs[place], 0.0) for place in short]))
    for place, threshold in zip(short, needed.tolist(), strict=True):
        if seconds[place] < threshold:
            codes[place] = EventKind.NOT_HEARD
    song_ids, times = np.array(songs, dtype=np.int64), np.array(at, dtype=np.float64)
    state = FeedbackState(song_ids, codes, times, np.array(ids, dtype=np.int64))
    return _Events(song_ids, codes, times, np.array([row.events for row in rows], dtype=np.float64), state)


def _excluded_songs(events: _Events, now: datetime) -> frozenset[int]:
    lately = events.at > (now - SKIP_EXCLUDES_FOR).timestamp()
    excludes = events.state.excludes & (lately | (events.kinds == EventKind.DISLIKE))
    return frozenset(events.songs[excludes].tolist())


def _aggregate_plays(
    history: _History, events: _Events, now: datetime
) -> tuple[Ids, Values, Values, Values, Values, NDArray[np.float64]]:
    """The values of PLAY_COLUMNS. A play that both the app and a session report counts once."""
    sessions, older = history.sessions, history.older_plays
    in_sessions = np.array([*sessions.songs, *(row.song for row in older)], dtype=np.int64)
    seconds = np.array(sessions.at, dtype=np.int64) / MICROSECONDS
    times = np.repeat(seconds, sessions.lengths)
    sessions_at = np.concatenate([times, [row.at for row in older]])
    in_each = np.concatenate([np.ones(len(times)), [row.plays for row in older]])
    listens, likes = events.counting(EventKind.LISTEN), events.counting(EventKind.LIKE)
    listened = _count_listens(events, listens, in_sessions, sessions_at, in_each)
    songs = np.concatenate([in_sessions, events.songs[listens], events.songs[likes]])
    at = np.concatenate([sessions_at, events.at[listens], events.at[likes]])
    plays = np.concatenate([in_each, listened, np.zeros(len(likes))])
    worth = plays + LIKE_WEIGHT * (np.arange(len(songs)) >= len(songs) - len(likes))
    played, places = np.unique(songs, return_inverse=True)
    recent = worth * recency_weights(at, now.timestamp(), half_life_days=PLAY_HALF_LIFE.days)
    days = np.maximum(0.0, now.timestamp() - at) / timedelta(days=1).total_seconds()
    last = np.zeros(len(played))
    np.maximum.at(last, places, at)
    return (
        played,
        _sums(places, worth, len(played)),
        _sums(places, recent, len(played)),
        _sums(places, plays, len(played)),
        _sums(places, worth * (days + 0.5) ** -0.5, len(played)),
        last,
    )


def _count_listens(
    events: _Events,
    listens: NDArray[np.intp],
    songs: Ids,
    at: NDArray[np.float64],
    plays: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Plays that each listen adds to those of the sessions."""
    counts = events.events[listens].copy()
    single = np.flatnonzero(counts == 1)
    twice = reported_twice(events.songs[listens[single]], events.at[listens[single]], songs, at)
    counts[single[twice]] = 0
    sums = np.flatnonzero(counts > 1)
    if len(sums):
        # The times of summed listens are unknown; those in excess of the plays in sessions are additional.
        known, places = np.unique(songs, return_inverse=True)
        columns, there = find_columns(known, events.songs[listens[sums]])
        in_sessions = np.bincount(places, plays, len(known) + 1)
        counts[sums] = np.maximum(counts[sums] - np.where(there, in_sessions[columns], 0), 0)
    return counts


def _aggregate_skips(events: _Events, now: datetime) -> tuple[Ids, Values]:
    """Song ids (ascending), and their skips and dislikes, which fade like plays."""
    dislikes = events.counting(EventKind.DISLIKE)
    negative = np.concatenate([events.counting(EventKind.SKIP), dislikes])
    is_dislike = events.kinds[negative] == EventKind.DISLIKE
    worth = np.where(is_dislike, DISLIKE_WEIGHT, events.events[negative])
    recent = worth * recency_weights(events.at[negative], now.timestamp(), half_life_days=PLAY_HALF_LIFE.days)
    skipped, places = np.unique(events.songs[negative], return_inverse=True)
    return skipped, _sums(places, recent, len(skipped))


def _sums(places: NDArray[np.intp], values: NDArray[np.floating], length: int) -> Values:
    return np.bincount(places, values, length).astype(np.float32)


def _wrong_style_clusters(feedback: Iterable[FeedbackRow]) -> dict[int, int | None]:
    """The cluster in which the list of a wrong-style event served the song, by the event's id."""
    events = {one.pk: one.song for one in feedback if one.kind == Feedback.Kind.WRONG_STYLE.value}
    if not events:
        return {}
    rows = Feedback.objects.filter(pk__in=sql.ids_as_one_parameter(sorted(events)))
    served = rows.exclude(served_list=None).order_by().values_list("pk", "served_list__items")
    return {
        pk: next((item["cluster"] for item in items if item["song"] == events[pk]), None)
        for pk, items in served
    }


def _durations_of_short_listens(feedback: Iterable[FeedbackRow]) -> dict[int, float]:
    """Durations in seconds of songs with a listen that counts only if the song is short."""
    listen = Feedback.Kind.LISTEN.value
    songs = {one.song for one in feedback if one.kind == listen and (one.seconds or 0.0) < HEARD_SECONDS}
    if not songs:
        return {}
    rows = Song.objects.filter(pk__in=sql.ids_as_one_parameter(sorted(songs))).values_list("pk", "duration")
    return {song: duration.total_seconds() for song, duration in rows}

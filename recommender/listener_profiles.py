"""Listener profiles from history and feedback: plays, skips, excluded songs, history fingerprints."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import chain
from typing import Any, Final, NamedTuple

import numpy as np
from django.db.models import Count, Max, Sum
from numpy.typing import NDArray
from scipy.sparse import csr_array

from ingestion.models import IngestionRun, Listener, ListeningHistory
from recommender import catalogue_generation
from recommender.engine.clustering.affinities import recency_weights
from recommender.engine.data import Profiles
from recommender.models import Feedback, ServedList, sql

# Taste drifts over months.
PLAY_HALF_LIFE: Final = timedelta(days=90)
# A skip means "not now": it excludes the song for a month, and reduces the cluster's affinity for good.
SKIP_EXCLUDES_FOR: Final = timedelta(days=30)
# The music industry counts a stream from 30 seconds on.
MIN_LISTEN_SECONDS: Final = 30.0
# A like weighs more than one play, and less than the plays of a favourite song.
LIKE_WEIGHT: Final = 2.0  # plays
DISLIKE_WEIGHT: Final = 2.0  # skips
EMPTY_HISTORY: Final = "0"  # fingerprint of a history without sessions
Ids = NDArray[np.int64]
Values = NDArray[np.float32]


class ListeningSession(NamedTuple):
    at: datetime
    items: list[int]
    pk: int
    changed_at: datetime


class FeedbackRow(NamedTuple):
    pk: int
    song: int
    kind: str
    seconds: float | None
    at: datetime
    served_list: Any  # id of the list that the feedback is about; None: no list


@dataclass(frozen=True)
class ListenerProfile:
    """Plays, skips and exclusions of one listener, from listening history and feedback."""

    listener_id: int
    genres: str  # favourite genres, comma-separated
    songs: Ids  # ids of the played songs, ascending; the next three arrays have one entry per song
    plays: Values  # plays and likes, in plays
    recent: Values  # plays and likes, weighted by recency
    last_played_at: NDArray[np.float64]  # seconds since 1970
    skipped: Ids  # ids of the skipped and disliked songs, ascending
    skips: Values  # number of skips of each song in `skipped`; a dislike counts DISLIKE_WEIGHT
    excluded: frozenset[int]  # disliked songs, and songs skipped within the last month
    # Songs that the listener reported as wrong for their cluster: the cluster's number; None: any cluster.
    excluded_clusters: dict[int, int | None]
    history_at: datetime | None  # time of the newest session
    feedback_id: int  # id of the newest feedback; 0 for none
    history_fingerprint: str = EMPTY_HISTORY  # see `fingerprint_history`
    run_id: int = 0  # newest ingestion run that finished before the sessions were read; 0 for none

    def without_songs(self, songs: Ids) -> "ListenerProfile":
        kept = ~np.isin(self.songs, songs)
        columns = {name: getattr(self, name)[kept] for name in ("songs", "plays", "recent", "last_played_at")}
        return replace(self, **columns)

    def last_plays_of(self, songs: Ids) -> dict[int, float]:
        """When each song was last played, in seconds since 1970, without unplayed songs."""
        places = np.flatnonzero(np.isin(self.songs, songs))
        return dict(zip(self.songs[places].tolist(), self.last_played_at[places].tolist(), strict=True))

    def model_profile(self, song_ids: Ids) -> Profiles:
        """The profile as one matrix row, for a model whose song j is `song_ids[j]` (ascending).

        Songs that the model does not know are left out.
        """
        excluded = np.array(sorted(self.excluded), dtype=np.int64)
        return Profiles(
            plays=build_sparse_row(song_ids, self.songs, self.plays),
            recent=build_sparse_row(song_ids, self.songs, self.recent),
            skips=build_sparse_row(song_ids, self.skipped, self.skips),
            genres=[self.genres],
            keys=np.array([self.listener_id], dtype=np.int64),
            excluded=build_sparse_row(song_ids, excluded, np.ones(len(excluded), dtype=np.float32)),
        )


def find_columns(song_ids: Ids, songs: Ids) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The column of each song in `song_ids` (ascending), and whether the song is there.

    The column of a missing song has no meaning.
    """
    if not len(song_ids):
        return np.zeros(len(songs), dtype=np.int64), np.zeros(len(songs), dtype=np.bool_)
    columns = np.minimum(np.searchsorted(song_ids, songs), len(song_ids) - 1)
    return columns, song_ids[columns] == songs


def build_sparse_row(song_ids: Ids, songs: Ids, values: Values) -> csr_array:
    """Matrix of shape (1, n_songs), float32, with `values` at the columns of `songs` (ascending)."""
    columns, there = find_columns(song_ids, songs)
    columns, values = columns[there].astype(np.int32), values[there]
    indptr = np.array([0, len(columns)], dtype=np.int32)
    return csr_array((values, columns, indptr), shape=(1, len(song_ids)))


def read_profile(listener_id: int, now: datetime) -> ListenerProfile | None:
    return read_profiles([listener_id], now).get(listener_id)


def read_profiles(
    listener_ids: Collection[int], now: datetime, *, until: datetime | None = None
) -> dict[int, ListenerProfile]:
    """Profiles by listener id, without unknown ids; four queries, or five after wrong-style feedback.

    Args:
        now: recency and the month after a skip are counted back from this time.
        until: ignore sessions and feedback from this time on; None: use all.
    """
    # Read before the sessions: if a run ends in between, the history is compared once more than necessary.
    run_id = newest_finished_run()
    genres = dict(Listener.objects.filter(pk__in=listener_ids).values_list("pk", "favorite_genres"))
    sessions: dict[int, list[ListeningSession]] = defaultdict(list)
    rows = ListeningHistory.objects.filter(user_id__in=listener_ids, unavailable_at=None).order_by()
    feedback = catalogue_generation.feedback_on_current(
        Feedback.objects.filter(listener_id__in=listener_ids)
    ).order_by("pk")
    if until is not None:
        rows, feedback = rows.filter(created_at__lt=until), feedback.filter(at__lt=until)
    session_columns = ("user_id", "created_at", "items", "pk", "updated_at")
    for listener, *session in rows.values_list(*session_columns).iterator():
        sessions[listener].append(ListeningSession(*session))
    events: dict[int, list[FeedbackRow]] = defaultdict(list)
    event_columns = ("listener_id", "pk", "song_id", "kind", "seconds", "at", "served_list_id")
    for listener, *event in feedback.values_list(*event_columns):
        events[listener].append(FeedbackRow(*event))
    clusters = _wrong_style_clusters(chain.from_iterable(events.values()))
    return {
        listener: replace(
            _build_profile(listener, text, sessions[listener], events[listener], clusters, now), run_id=run_id
        )
        for listener, text in genres.items()
    }


def newest_finished_run() -> int:
    finished = IngestionRun.objects.filter(finished_at__isnull=False).order_by("-pk")
    return finished.values_list("pk", flat=True).first() or 0


def fingerprint_history(sessions: int, newest: int, changed_at: datetime | None, songs: int) -> str:
    """Text that changes whenever the history does: by late, longer, withdrawn or returned sessions.

    Args:
        newest: id of the newest session.
        changed_at: the newest change of any session; None: no sessions.
        songs: number of plays in all sessions.
    """
    return f"{sessions}.{newest}.{changed_at.timestamp():.0f}.{songs}" if changed_at else EMPTY_HISTORY


def read_history_fingerprints(listener_ids: Collection[int]) -> dict[int, str]:
    """Each listener's fingerprint, in one query; EMPTY_HISTORY for listeners without sessions."""
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
    feedback = Feedback.objects.filter(listener_id=listener_id, pk__gt=feedback_id)
    return played | set(feedback.values_list("song_id", flat=True))


def _build_profile(
    listener_id: int,
    genres: str,
    sessions: Sequence[ListeningSession],
    feedback: Sequence[FeedbackRow],
    clusters: dict[tuple[Any, int], int],
    now: datetime,
) -> ListenerProfile:
    songs, plays, recent, last_played_at = _aggregate_plays(sessions, feedback, now)
    skipped, skips = _aggregate_skips(feedback)
    return ListenerProfile(
        listener_id=listener_id,
        genres=genres,
        songs=songs,
        plays=plays,
        recent=recent,
        last_played_at=last_played_at,
        skipped=skipped,
        skips=skips,
        excluded=frozenset(one.song for one in feedback if _excludes_song(one, now)),
        excluded_clusters={
            one.song: clusters.get((one.served_list, one.song))
            for one in feedback
            if one.kind == Feedback.Kind.WRONG_STYLE
        },
        history_at=max((session.at for session in sessions), default=None),
        feedback_id=max((one.pk for one in feedback), default=0),
        history_fingerprint=fingerprint_history(
            len(sessions),
            max((session.pk for session in sessions), default=0),
            max((session.changed_at for session in sessions), default=None),
            sum(len(session.items) for session in sessions),
        ),
    )


def _excludes_song(feedback: FeedbackRow, now: datetime) -> bool:
    recently_skipped = feedback.kind == Feedback.Kind.SKIP and now - feedback.at < SKIP_EXCLUDES_FOR
    return recently_skipped or feedback.kind == Feedback.Kind.DISLIKE


def _worth_in_plays(feedback: FeedbackRow) -> float:
    if feedback.kind == Feedback.Kind.LIKE:
        return LIKE_WEIGHT
    return float(feedback.kind == Feedback.Kind.LISTEN and (feedback.seconds or 0.0) >= MIN_LISTEN_SECONDS)


def _aggregate_plays(
    sessions: Sequence[ListeningSession], feedback: Sequence[FeedbackRow], now: datetime
) -> tuple[Ids, Values, Values, NDArray[np.float64]]:
    positive = [one for one in feedback if _worth_in_plays(one)]
    counts = [len(session.items) for session in sessions]
    items = chain(chain.from_iterable(session.items for session in sessions), (one.song for one in positive))
    songs = np.fromiter(items, dtype=np.int64, count=sum(counts) + len(positive))
    at = np.concatenate(
        [
            np.repeat([session.at.timestamp() for session in sessions], counts),
            [one.at.timestamp() for one in positive],
        ]
    )
    worth = np.concatenate([np.ones(sum(counts)), [_worth_in_plays(one) for one in positive]])
    played, places = np.unique(songs, return_inverse=True)
    recent = worth * recency_weights(at, now.timestamp(), half_life_days=PLAY_HALF_LIFE.days)
    last = np.zeros(len(played))
    np.maximum.at(last, places, at)
    return played, _sums(places, worth, len(played)), _sums(places, recent, len(played)), last


def _aggregate_skips(feedback: Sequence[FeedbackRow]) -> tuple[Ids, Values]:
    weights = {Feedback.Kind.SKIP.value: 1.0, Feedback.Kind.DISLIKE.value: DISLIKE_WEIGHT}
    negative = [one for one in feedback if one.kind in weights]
    skipped, places = np.unique(np.array([one.song for one in negative], dtype=np.int64), return_inverse=True)
    return skipped, _sums(places, np.array([weights[one.kind] for one in negative]), len(skipped))


def _sums(places: NDArray[np.intp], values: NDArray[np.floating], length: int) -> Values:
    return np.bincount(places, values, length).astype(np.float32)


def _wrong_style_clusters(feedback: Iterable[FeedbackRow]) -> dict[tuple[Any, int], int]:
    lists = {one.served_list for one in feedback if one.kind == Feedback.Kind.WRONG_STYLE and one.served_list}
    if not lists:
        return {}
    served = ServedList.objects.filter(pk__in=lists).values_list("pk", "items")
    return {(pk, item["song"]): item["cluster"] for pk, items in served for item in items}

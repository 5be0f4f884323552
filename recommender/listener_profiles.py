"""Whether a history is still what it was: sessions come late, grow, go and come back with a run."""

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

EMPTY_HISTORY: Final = "0"


def newest_finished_run() -> int:
    """The newest run that is over; 0 for none."""
    ended = IngestionRun.objects.filter(finished_at__isnull=False).order_by("-pk")
    return ended.values_list("pk", flat=True).first() or 0


def fingerprint_history(sessions: int, newest: int, changed_at: datetime | None, songs: int) -> str:
    """The same for the same history: how many sessions and songs, the newest one, the newest change."""
    return f"{sessions}.{newest}.{changed_at.timestamp():.0f}.{songs}" if changed_at else EMPTY_HISTORY


def read_history_fingerprints(listener_ids: Collection[int]) -> dict[int, str]:
    """Each listener's mark, in one query; `NOTHING` of who has no sessions."""
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


# Taste drifts over months: after a quarter of a year a play counts half.
PLAY_HALF_LIFE: Final = timedelta(days=90)
# A skip says "not now": the song rests for a month, its cluster is believed a little less for good.
SKIP_EXCLUDES_FOR: Final = timedelta(days=30)
# What the trade counts as a stream; shorter is trying a song out.
MIN_LISTEN_SECONDS: Final = 30.0  # seconds
# Saying so weighs more than playing once, less than a favourite's plays.
LIKE_WEIGHT: Final = 2.0  # plays
DISLIKE_WEIGHT: Final = 2.0  # skips
Ids = NDArray[np.int64]
Values = NDArray[np.float32]


class ListeningSession(NamedTuple):
    at: datetime
    items: list[int]
    pk: int
    changed_at: datetime


class FeedbackRow(NamedTuple):
    """One row of feedback; `served_list` is its list's id."""

    pk: int
    song: int
    kind: str
    seconds: float | None
    at: datetime
    served_list: Any


@dataclass(frozen=True)
class ListenerProfile:
    """What the tables hold of one listener.

    Attributes:
        songs: heard, ascending; the three columns beside it go with it.
        recent: plays weighted by recency.
        heard_at: seconds since 1970, the last time.
        skipped: ascending; `skips` goes with it.
        barred: disliked for ever, or skipped of late.
        refused: clusters' numbers by song that it was said not to belong to; None: to any.
        history_at: the newest session's time.
        history: mark of all sessions, see `histories`.
        run_id: the newest run that was over before they were read.
        feedback_id: the newest feedback's; 0 for none.
    """

    listener_id: int
    genres: str
    songs: Ids
    plays: Values
    recent: Values
    heard_at: NDArray[np.float64]
    skipped: Ids
    skips: Values
    excluded: frozenset[int]
    excluded_clusters: dict[int, int | None]
    history_at: datetime | None
    feedback_id: int
    history_fingerprint: str = EMPTY_HISTORY
    run_id: int = 0

    def without_songs(self, songs: Ids) -> "ListenerProfile":
        """The same, as if these songs had never been heard."""
        kept = ~np.isin(self.songs, songs)
        columns = {name: getattr(self, name)[kept] for name in ("songs", "plays", "recent", "heard_at")}
        return replace(self, **columns)

    def model_profile(self, song_ids: Ids) -> Profiles:
        """One row for a model whose song j is `song_ids[j]` (ascending); others are left out."""
        barred = np.array(sorted(self.excluded), dtype=np.int64)
        return Profiles(
            plays=build_sparse_row(song_ids, self.songs, self.plays),
            recent=build_sparse_row(song_ids, self.songs, self.recent),
            skips=build_sparse_row(song_ids, self.skipped, self.skips),
            genres=[self.genres],
            keys=np.array([self.listener_id], dtype=np.int64),
            excluded=build_sparse_row(song_ids, barred, np.ones(len(barred), dtype=np.float32)),
        )


def find_columns(song_ids: Ids, songs: Ids) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Columns of `songs` among `song_ids` (ascending), and which are there; the rest mean nothing."""
    if not len(song_ids):
        return np.zeros(len(songs), dtype=np.int64), np.zeros(len(songs), dtype=np.bool_)
    columns = np.minimum(np.searchsorted(song_ids, songs), len(song_ids) - 1)
    return columns, song_ids[columns] == songs


def build_sparse_row(song_ids: Ids, songs: Ids, values: Values) -> csr_array:
    """Shape (1, n_songs), float32: `values` at the columns of `songs`, which ascend."""
    columns, there = find_columns(song_ids, songs)
    columns, values = columns[there].astype(np.int32), values[there]
    indptr = np.array([0, len(columns)], dtype=np.int32)
    return csr_array((values, columns, indptr), shape=(1, len(song_ids)))


def read_profiles(
    listener_ids: Collection[int], now: datetime, *, until: datetime | None = None
) -> dict[int, ListenerProfile]:
    """What is known of each listener by id, in four queries; ids of nobody are left out.

    Args:
        until: as it was known then; None: all that there is.
    """
    # Before the sessions: what a run brings meanwhile is then asked after once too often, and never missed.
    run_id = newest_finished_run()
    genres = dict(Listener.objects.filter(pk__in=listener_ids).values_list("pk", "favorite_genres"))
    sessions: dict[int, list[ListeningSession]] = defaultdict(list)
    # A session that the source took back was none.
    rows = ListeningHistory.objects.filter(user_id__in=listener_ids, unavailable_at=None).order_by()
    feedback = catalogue_generation.feedback_on_current(
        Feedback.objects.filter(listener_id__in=listener_ids)
    ).order_by("pk")
    if until is not None:
        rows, feedback = rows.filter(created_at__lt=until), feedback.filter(at__lt=until)
    columns = ("user_id", "created_at", "items", "pk", "updated_at")
    for listener, *session in rows.values_list(*columns).iterator():
        sessions[listener].append(ListeningSession(*session))
    said: dict[int, list[FeedbackRow]] = defaultdict(list)
    for one in feedback.values_list(
        "pk", "song_id", "kind", "seconds", "at", "served_list_id", "listener_id"
    ):
        said[one[-1]].append(FeedbackRow(*one[:-1]))
    clusters = _wrong_style_clusters(chain.from_iterable(said.values()))
    return {
        listener: replace(
            _build_profile(listener, text, sessions[listener], said[listener], clusters, now), run_id=run_id
        )
        for listener, text in genres.items()
    }


def excluded_since(listener_id: int, history_at: datetime | None, feedback_id: int) -> set[int]:
    """Songs heard, skipped, disliked or refused later than that; what an older shelf must not offer."""
    sessions = ListeningHistory.objects.filter(user_id=listener_id, unavailable_at=None)
    if history_at is not None:
        sessions = sessions.filter(created_at__gt=history_at)
    heard = set(chain.from_iterable(sessions.values_list("items", flat=True)))
    said = Feedback.objects.filter(listener_id=listener_id, pk__gt=feedback_id)
    return heard | set(said.values_list("song_id", flat=True))


def _build_profile(
    listener_id: int,
    genres: str,
    sessions: Sequence[ListeningSession],
    feedback: Sequence[FeedbackRow],
    clusters: dict[tuple[Any, int], int],
    now: datetime,
) -> ListenerProfile:
    songs, plays, recent, heard_at = _aggregate_plays(sessions, feedback, now)
    skipped, skips = _aggregate_skips(feedback)
    return ListenerProfile(
        listener_id=listener_id,
        genres=genres,
        songs=songs,
        plays=plays,
        recent=recent,
        heard_at=heard_at,
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
    is_resting = feedback.kind == Feedback.Kind.SKIP and now - feedback.at < SKIP_EXCLUDES_FOR
    return is_resting or feedback.kind == Feedback.Kind.DISLIKE


def _worth_in_plays(feedback: FeedbackRow) -> float:
    """How many plays it is worth."""
    if feedback.kind == Feedback.Kind.LIKE:
        return LIKE_WEIGHT
    return float(feedback.kind == Feedback.Kind.LISTEN and (feedback.seconds or 0.0) >= MIN_LISTEN_SECONDS)


def _aggregate_plays(
    sessions: Sequence[ListeningSession], feedback: Sequence[FeedbackRow], now: datetime
) -> tuple[Ids, Values, Values, NDArray[np.float64]]:
    """Songs ascending, their plays, the same weighted by recency, and when they were last heard."""
    told = [one for one in feedback if _worth_in_plays(one)]
    counts = [len(session.items) for session in sessions]
    items = chain(chain.from_iterable(session.items for session in sessions), (one.song for one in told))
    songs = np.fromiter(items, dtype=np.int64, count=sum(counts) + len(told))
    at = np.concatenate(
        [
            np.repeat([session.at.timestamp() for session in sessions], counts),
            [one.at.timestamp() for one in told],
        ]
    )
    worth = np.concatenate([np.ones(sum(counts)), [_worth_in_plays(one) for one in told]])
    known, places = np.unique(songs, return_inverse=True)
    faded = worth * recency_weights(at, now.timestamp(), half_life_days=PLAY_HALF_LIFE.days)
    last = np.zeros(len(known))
    np.maximum.at(last, places, at)
    return known, _sums(places, worth, len(known)), _sums(places, faded, len(known)), last


def _aggregate_skips(feedback: Sequence[FeedbackRow]) -> tuple[Ids, Values]:
    weights = {Feedback.Kind.SKIP.value: 1.0, Feedback.Kind.DISLIKE.value: DISLIKE_WEIGHT}
    against = [one for one in feedback if one.kind in weights]
    known, places = np.unique(np.array([one.song for one in against], dtype=np.int64), return_inverse=True)
    return known, _sums(places, np.array([weights[one.kind] for one in against]), len(known))


def _sums(places: NDArray[np.intp], values: NDArray[np.floating], length: int) -> Values:
    return np.bincount(places, values, length).astype(np.float32)


def _wrong_style_clusters(feedback: Iterable[FeedbackRow]) -> dict[tuple[Any, int], int]:
    """The cluster a song was served under, by list and song, where that was said to be wrong."""
    lists = {one.served_list for one in feedback if one.kind == Feedback.Kind.WRONG_STYLE and one.served_list}
    if not lists:
        return {}
    served = ServedList.objects.filter(pk__in=lists).values_list("pk", "items")
    return {(pk, item["song"]): item["cluster"] for pk, items in served for item in items}

"""Measures drift of listening and feedback: the last full week against the eight weeks before.

Organic listening is also compared with the weeks before the last full training: recent weeks move along
with a slow drift.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ingestion.models import ListeningHistory, Song
from recommender.engine.drift import (
    MOST_LISTENERS,
    REFERENCE_WEEKS,
    WEEKS_NEEDED,
    ListeningChange,
    change_similarity,
    group_small_clusters,
    measure_listening_change,
    select_compared_weeks,
    stronger_change,
)
from recommender.engine.song_columns import find_columns
from recommender.models import AttributedListen, DriftReport, Feedback, ModelVersion, TrainingRun
from recommender.monitoring.drift_reports import (
    WEEK,
    last_full_week,
    previous_report,
    save_report,
    week_start,
)
from recommender.registry.model_loader import ServingModel

DriftKind = DriftReport.Kind
YEAR: Final = 52 * WEEK  # whole weeks, so that weekdays match
MAX_NAMED: Final = 5  # causes, and songs of each cause
REACTIONS: Final = ("likes", "listens", "skips and dislikes")


@dataclass(frozen=True)
class WeeklyPlays:
    """All plays of the compared weeks; entry i of each array is play i."""

    listeners: NDArray[np.int64]  # listener ids
    weeks: NDArray[np.int64]  # 0 for the earliest, `WEEKS_NEEDED` - 1 for the week that is checked
    songs: NDArray[np.int64]  # song ids
    recommended: NDArray[np.bool_]  # whether a list had recommended the song before


def check_week(model: ServingModel, now: datetime, *, seed: int = 7) -> list[DriftReport]:
    """Report on organic and recommended listening and on feedback; replaces earlier reports of the week."""
    week = last_full_week(now)
    return [
        *_check_listening(model, week, now, seed),
        _check_feedback(model, week, now, seed),
    ]


def _check_listening(model: ServingModel, week: date, now: datetime, seed: int) -> list[DriftReport]:
    plays = _read_plays(week, seed)
    groups = group_small_clusters(
        np.bincount(model.scorer.labels, minlength=len(model.clusters)).astype(np.float64)
    )
    clusters = _clusters_of_plays(model, plays)
    reports = []
    for kind, chosen in (
        (DriftKind.LISTENING, ~plays.recommended),
        (DriftKind.RECOMMENDED, plays.recommended),
    ):
        part = chosen & (clusters >= 0)
        weeks = _count_plays_per_week(plays, part, groups[clusters], int(groups.max(initial=0)) + 1)
        change = _measure_change(weeks, kind, week, seed)
        if kind == DriftKind.LISTENING:
            standing = _change_since_full_training(model, week, plays, groups, seed)
            change = stronger_change(change, standing)
        causes = _find_causes(change, model, groups, clusters, plays, part) if change.is_drift else []
        is_organic = kind == DriftKind.LISTENING
        season = (
            _change_a_year_ago(model, week, change, groups, seed) if is_organic and change.is_drift else {}
        )
        reports.append(_save_change(model, kind, week, now, change, causes, season))
    return reports


def _check_feedback(model: ServingModel, week: date, now: datetime, seed: int) -> DriftReport:
    change = _measure_change(_count_reactions_per_week(week, seed), DriftKind.FEEDBACK, week, seed)
    causes = [
        {"name": REACTIONS[at], "part": round(float(change.parts[at]), 5),
         "change": round(float(change.shares[at]), 4)}
        for at in np.argsort(-change.parts)
    ] if change.is_drift else []  # fmt: skip
    return _save_change(model, DriftKind.FEEDBACK, week, now, change, causes, {})


def _measure_change(weeks: NDArray[np.float64], kind: str, week: date, seed: int) -> ListeningChange:
    before = previous_report(kind, week)
    after_drift = before is not None and before.drifted and not before.alarm
    return measure_listening_change(select_compared_weeks(weeks, after_drift=after_drift), seed=seed)


def _save_change(
    model: ServingModel,
    kind: str,
    week: date,
    now: datetime,
    change: ListeningChange,
    causes: list[dict[str, Any]],
    season: dict[str, Any],
) -> DriftReport:
    return save_report(
        model.version, kind, week, now, change,
        n=change.plays, listeners=change.listeners, p=change.p, effect=change.effect, limit=change.limit,
        causes=causes, season=season,
    )  # fmt: skip


def _clusters_of_plays(model: ServingModel, plays: WeeklyPlays) -> NDArray[np.int64]:
    columns, known = find_columns(model.song_ids, plays.songs)
    return np.where(known, model.scorer.labels[columns], -1).astype(np.int64)


def _change_a_year_ago(
    model: ServingModel, week: date, change: ListeningChange, groups: NDArray[np.int64], seed: int
) -> dict[str, Any]:
    """The change of the same week last year against its eight weeks before; {} with too few plays."""
    plays = _read_plays(week - YEAR, seed)
    clusters = _clusters_of_plays(model, plays)
    organic = (clusters >= 0) & ~plays.recommended
    weeks = _count_plays_per_week(plays, organic, groups[clusters], int(groups.max(initial=0)) + 1)
    then = measure_listening_change(select_compared_weeks(weeks, after_drift=False), seed=seed)
    if not then.has_enough_data:
        return {}
    return {
        "week": (week - YEAR).isoformat(), "n": then.plays, "listeners": then.listeners,
        "likeness": round(change_similarity(change, then), 2),
    }  # fmt: skip


def _change_since_full_training(
    model: ServingModel, week: date, plays: WeeklyPlays, groups: NDArray[np.int64], seed: int
) -> ListeningChange | None:
    """The change of the week's organic listening since the eight weeks before the last full training.

    None if those weeks overlap with the recent ones, or if nobody who listens now listened then.
    """
    base = _week_before_full_training()
    if base is None or week - base < WEEKS_NEEDED * WEEK:
        return None
    then = _read_plays(base, seed, active_in=week)
    counts = []
    for one in (then, plays):
        clusters = _clusters_of_plays(model, one)
        organic = (clusters >= 0) & ~one.recommended
        counts.append(_count_plays_per_week(one, organic, groups[clusters], int(groups.max(initial=0)) + 1))
    known, before, now = np.intersect1d(
        np.unique(then.listeners), np.unique(plays.listeners), return_indices=True
    )
    if not len(known):
        return None
    reference, current = counts[0][before, -REFERENCE_WEEKS:], counts[1][now, -1:]
    return measure_listening_change(np.concatenate([reference, current], axis=1), seed=seed)


def _week_before_full_training() -> date | None:
    """Monday of the last whole week before the newest full training, or before the first version."""
    full = TrainingRun.objects.filter(full=True, version__isnull=False).order_by("-started_at").first()
    first = ModelVersion.objects.order_by("created_at").values_list("created_at", flat=True).first()
    at = full.started_at if full is not None else first
    return last_full_week(at) if at is not None else None


def _read_plays(week: date, seed: int, *, active_in: date | None = None) -> WeeklyPlays:
    """Plays of the weeks up to this one, of listeners who play in the last one or in `active_in`."""
    since, until = _period(week)
    sessions = ListeningHistory.objects.filter(
        created_at__gte=since, created_at__lt=until, unavailable_at=None
    )
    ends = week_start(active_in) + WEEK if active_in is not None else until
    active = ListeningHistory.objects.filter(
        created_at__gte=ends - WEEK, created_at__lt=ends, unavailable_at=None
    ).values_list("user_id", flat=True)
    chosen = _sample_listeners(sorted(set(active)), seed)
    attributed = {
        (listener, song, at)
        for listener, song, at in AttributedListen.objects.with_listener()
        .filter(at__gte=since, at__lt=until, heard_by__in=chosen)
        .values_list("heard_by", "song_id", "at")
    }
    rows: list[tuple[int, int, int, bool]] = []
    for listener, at, items in sessions.filter(user_id__in=chosen).values_list(
        "user_id", "created_at", "items"
    ):
        number = (at - since) // WEEK
        rows += [(listener, number, song, (listener, song, at) in attributed) for song in items]
    columns = list(zip(*rows, strict=True)) or [(), (), (), ()]
    listeners, weeks, songs = (np.array(column, dtype=np.int64) for column in columns[:3])
    return WeeklyPlays(listeners, weeks, songs, np.array(columns[3], dtype=np.bool_))


def _period(week: date) -> tuple[datetime, datetime]:
    until = week_start(week) + WEEK
    return until - WEEKS_NEEDED * WEEK, until


def _sample_listeners(listeners: list[int], seed: int) -> list[int]:
    if len(listeners) <= MOST_LISTENERS:
        return listeners
    chosen = np.random.default_rng(seed).choice(len(listeners), MOST_LISTENERS, replace=False)
    return [listeners[place] for place in sorted(chosen.tolist())]


def _count_plays_per_week(
    plays: WeeklyPlays, part: NDArray[np.bool_], groups: NDArray[np.int64], n_groups: int
) -> NDArray[np.float64]:
    _, rows = np.unique(plays.listeners, return_inverse=True)
    counts = np.zeros((int(rows.max(initial=-1)) + 1, WEEKS_NEEDED, n_groups))
    np.add.at(counts, (rows[part], plays.weeks[part], groups[part]), 1)
    return counts


def _count_reactions_per_week(week: date, seed: int) -> NDArray[np.float64]:
    since, until = _period(week)
    no_reactions = (Feedback.Kind.WRONG_STYLE, Feedback.Kind.CLEAR)
    events = (
        Feedback.objects.not_withdrawn().filter(at__gte=since, at__lt=until).exclude(kind__in=no_reactions)
    )
    active = sorted(set(events.filter(at__gte=until - WEEK).values_list("listener_id", flat=True)))
    chosen = {listener: row for row, listener in enumerate(_sample_listeners(active, seed))}
    counts = np.zeros((len(chosen), WEEKS_NEEDED, len(REACTIONS)))
    columns = {Feedback.Kind.LIKE: 0, Feedback.Kind.LISTEN: 1}
    rows = events.filter(listener_id__in=chosen).values_list("listener_id", "at", "kind")
    for listener, at, kind in rows:
        counts[chosen[listener], (at - since) // WEEK, columns.get(Feedback.Kind(kind), 2)] += 1
    return counts


def _find_causes(
    change: ListeningChange,
    model: ServingModel,
    groups: NDArray[np.int64],
    clusters: NDArray[np.int64],
    plays: WeeklyPlays,
    part: NDArray[np.bool_],
) -> list[dict[str, Any]]:
    last_week = part & (plays.weeks == WEEKS_NEEDED - 1)
    causes = []
    for group in np.argsort(-change.parts)[:MAX_NAMED].tolist():
        members = np.flatnonzero(groups == group)
        chosen = last_week & np.isin(clusters, members)
        causes.append(
            {
                "clusters": [_cluster_facts(model, int(member)) for member in members[:MAX_NAMED]],
                "others": max(0, len(members) - MAX_NAMED),
                "part": round(float(change.parts[group]), 5),
                "change": round(float(change.shares[group]), 4),
                "songs": _most_played(plays.songs[chosen].tolist()),
            }
        )
    return causes


def _cluster_facts(model: ServingModel, label: int) -> dict[str, Any]:
    cluster = model.clusters[label]
    return {"id": cluster.number, "name": cluster.name}


def _most_played(songs: Sequence[int]) -> list[dict[str, Any]]:
    counts = Counter(songs).most_common(MAX_NAMED)
    names = {song.pk: str(song) for song in Song.objects.filter(pk__in=[song for song, _ in counts])}
    return [{"id": song, "name": names.get(song, f"song {song}"), "plays": plays} for song, plays in counts]

"""Has the world moved away from what the champion learnt? A look once a week, at the week that is over."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ingestion.models import ListeningHistory, Song
from recommender.engine.drift import (
    MOST_LISTENERS,
    WEEKS_NEEDED,
    ListeningChange,
    change_similarity,
    group_small_clusters,
    is_alarm,
    measure_listening_change,
    select_compared_weeks,
)
from recommender.listener_profiles import find_columns
from recommender.models import AttributedListen, DriftReport, Feedback
from recommender.registry.model_loader import ServingModel

DriftKind = DriftReport.Kind
WEEK: Final = timedelta(days=7)
YEAR: Final = 52 * WEEK  # whole weeks: days of the week stay where they are
MAX_NAMED: Final = 5  # causes, and songs of each
REACTIONS: Final = ("likes", "listens", "skips and dislikes")


@dataclass(frozen=True)
class WeeklyPlays:
    """Plays of some weeks, entry by entry.

    Attributes:
        listeners: ids.
        weeks: 0 the earliest, WEEKS - 1 the one that is looked at.
        songs: ids.
        recommended: whether a list had offered the song.
    """

    listeners: NDArray[np.int64]
    weeks: NDArray[np.int64]
    songs: NDArray[np.int64]
    recommended: NDArray[np.bool_]


def last_full_week(now: datetime) -> date:
    """The Monday of the last week that is over, in UTC."""
    today = now.astimezone(UTC).date()
    return today - timedelta(days=today.weekday() + 7)


def check_week(model: ServingModel, now: datetime, *, seed: int = 7) -> list[DriftReport]:
    """Look at the last week's organic and recommended listening and feedback; one report each.

    Looking again replaces the week's reports.
    """
    week = last_full_week(now)
    plays = _read_plays(week, seed)
    groups = group_small_clusters(
        np.bincount(model.scorer.labels, minlength=len(model.clusters)).astype(np.float64)
    )
    clusters = _clusters_of_plays(model, plays)
    known = clusters >= 0
    found = []
    for kind, chosen in (
        (DriftKind.LISTENING, ~plays.recommended),
        (DriftKind.RECOMMENDED, plays.recommended),
    ):
        part = chosen & known
        weeks = _count_plays_per_week(plays, part, groups[clusters], int(groups.max(initial=0)) + 1)
        change = measure_listening_change(
            select_compared_weeks(weeks, after_drift=_is_after_drift(kind, week)), seed=seed
        )
        causes = _find_causes(change, model, groups, clusters, plays, part)
        is_asked = kind == DriftKind.LISTENING and change.is_drift
        season = _change_a_year_ago(model, week, change, groups, seed) if is_asked else {}
        found.append(_save_report(model, kind, week, now, change, causes, season))
    weeks = select_compared_weeks(
        _count_reactions_per_week(week, seed), after_drift=_is_after_drift(DriftKind.FEEDBACK, week)
    )
    reactions = measure_listening_change(weeks, seed=seed)
    named = [
        {"name": REACTIONS[at], "part": round(float(reactions.parts[at]), 5),
         "change": round(float(reactions.shares[at]), 4)}
        for at in np.argsort(-reactions.parts)
    ]  # fmt: skip
    found.append(_save_report(model, DriftKind.FEEDBACK, week, now, reactions, named, {}))
    return found


def previous_report(kind: str, week: date) -> DriftReport | None:
    """The report of the week before, by whichever version served then: most weeks bring another one."""
    return DriftReport.objects.filter(kind=kind, week=week - WEEK).order_by("-pk").first()


def _is_after_drift(kind: str, week: date) -> bool:
    last = previous_report(kind, week)
    return last is not None and last.drifted and not last.alarm


def _save_report(
    model: ServingModel,
    kind: str,
    week: date,
    now: datetime,
    change: ListeningChange,
    causes: list[dict[str, Any]],
    season: dict[str, Any],
) -> DriftReport:
    last = previous_report(kind, week)
    report, _ = DriftReport.objects.update_or_create(
        version=model.version, kind=kind, week=week,
        defaults={
            "at": now, "n": change.plays, "listeners": change.listeners, "p": change.p,
            "effect": change.effect, "limit": change.limit, "drifted": change.is_drift,
            "alarm": is_alarm(change, drifted_before=last is not None and last.drifted),
            "causes": causes if change.is_drift else [], "season": season,
        },
    )  # fmt: skip
    return report


def _clusters_of_plays(model: ServingModel, plays: WeeklyPlays) -> NDArray[np.int64]:
    """Of each play; -1 for a song that the model does not know."""
    columns, known = find_columns(model.song_ids, plays.songs)
    return np.where(known, model.scorer.labels[columns], -1).astype(np.int64)


def _change_a_year_ago(
    model: ServingModel, week: date, change: ListeningChange, groups: NDArray[np.int64], seed: int
) -> dict[str, Any]:
    """How the same week moved a year ago, in the champion's clusters; empty where too little was played."""
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


def _read_plays(week: date, seed: int) -> WeeklyPlays:
    since, until = _period(week)
    sessions = ListeningHistory.objects.filter(
        created_at__gte=since, created_at__lt=until, unavailable_at=None
    )
    active = sessions.filter(created_at__gte=until - WEEK).values_list("user_id", flat=True)
    chosen = _sample_listeners(sorted(set(active)), seed)
    attributed = {
        (listener, song, at)
        for listener, song, at in AttributedListen.objects.filter(
            at__gte=since, at__lt=until, served_list__listener__in=chosen
        ).values_list("served_list__listener_id", "song_id", "at")
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
    """From the beginning of the first of the weeks that a look needs to the end of this one."""
    until = datetime(week.year, week.month, week.day, tzinfo=UTC) + WEEK
    return until - WEEKS_NEEDED * WEEK, until


def _sample_listeners(listeners: list[int], seed: int) -> list[int]:
    if len(listeners) <= MOST_LISTENERS:
        return listeners
    chosen = np.random.default_rng(seed).choice(len(listeners), MOST_LISTENERS, replace=False)
    return [listeners[place] for place in sorted(chosen.tolist())]


def _count_plays_per_week(
    plays: WeeklyPlays, part: NDArray[np.bool_], groups: NDArray[np.int64], n_groups: int
) -> NDArray[np.float64]:
    """Shape (n_listeners, WEEKS, n_groups)."""
    _, rows = np.unique(plays.listeners, return_inverse=True)
    counts = np.zeros((int(rows.max(initial=-1)) + 1, WEEKS_NEEDED, n_groups))
    np.add.at(counts, (rows[part], plays.weeks[part], groups[part]), 1)
    return counts


def _count_reactions_per_week(week: date, seed: int) -> NDArray[np.float64]:
    """Likes, listens and refusals, shape (n_listeners, WEEKS, 3)."""
    since, until = _period(week)
    said = Feedback.objects.filter(at__gte=since, at__lt=until).exclude(kind=Feedback.Kind.WRONG_STYLE)
    active = sorted(set(said.filter(at__gte=until - WEEK).values_list("listener_id", flat=True)))
    chosen = {listener: row for row, listener in enumerate(_sample_listeners(active, seed))}
    counts = np.zeros((len(chosen), WEEKS_NEEDED, len(REACTIONS)))
    place = {Feedback.Kind.LIKE: 0, Feedback.Kind.LISTEN: 1}
    rows = said.filter(listener_id__in=chosen).values_list("listener_id", "at", "kind")
    for listener, at, kind in rows:
        counts[chosen[listener], (at - since) // WEEK, place.get(Feedback.Kind(kind), 2)] += 1
    return counts


def _find_causes(
    change: ListeningChange,
    model: ServingModel,
    groups: NDArray[np.int64],
    clusters: NDArray[np.int64],
    plays: WeeklyPlays,
    part: NDArray[np.bool_],
) -> list[dict[str, Any]]:
    """The groups that add most, each with its clusters and the songs played most of late."""
    lately = part & (plays.weeks == WEEKS_NEEDED - 1)
    found = []
    for group in np.argsort(-change.parts)[:MAX_NAMED].tolist():
        members = np.flatnonzero(groups == group)
        here = lately & np.isin(clusters, members)
        found.append(
            {
                "clusters": [_cluster_facts(model, int(member)) for member in members[:MAX_NAMED]],
                "others": max(0, len(members) - MAX_NAMED),
                "part": round(float(change.parts[group]), 5),
                "change": round(float(change.shares[group]), 4),
                "songs": _most_played(plays.songs[here].tolist()),
            }
        )
    return found


def _cluster_facts(model: ServingModel, label: int) -> dict[str, Any]:
    group = model.clusters[label]
    return {"id": group.number, "name": group.name}


def _most_played(songs: Sequence[int]) -> list[dict[str, Any]]:
    best = Counter(songs).most_common(MAX_NAMED)
    names = {song.pk: str(song) for song in Song.objects.filter(pk__in=[song for song, _ in best])}
    return [{"id": song, "name": names.get(song, f"song {song}"), "plays": plays} for song, plays in best]

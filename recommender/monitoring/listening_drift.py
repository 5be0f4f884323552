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
    WEEKS,
    Change,
    change_of,
    compared,
    grouped,
    is_alarm,
    likeness,
)
from recommender.listener_profiles import columns_of
from recommender.models import AttributedListen, DriftReport, Feedback
from recommender.registry.model_loader import Model

Kind = DriftReport.Kind
WEEK: Final = timedelta(days=7)
YEAR: Final = 52 * WEEK  # whole weeks: days of the week stay where they are
NAMED: Final = 5  # causes, and songs of each
REACTIONS: Final = ("likes", "listens", "skips and dislikes")


@dataclass(frozen=True)
class Plays:
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


def monday_before(now: datetime) -> date:
    """The Monday of the last week that is over, in UTC."""
    today = now.astimezone(UTC).date()
    return today - timedelta(days=today.weekday() + 7)


def check(model: Model, now: datetime, *, seed: int = 7) -> list[DriftReport]:
    """Look at the last week's organic and recommended listening and feedback; one report each.

    Looking again replaces the week's reports.
    """
    week = monday_before(now)
    plays = _plays(week, seed)
    groups = grouped(np.bincount(model.learnt.labels, minlength=len(model.groups)).astype(np.float64))
    clusters = _clusters(model, plays)
    known = clusters >= 0
    found = []
    for kind, chosen in ((Kind.LISTENING, ~plays.recommended), (Kind.RECOMMENDED, plays.recommended)):
        part = chosen & known
        weeks = _weeks(plays, part, groups[clusters], int(groups.max(initial=0)) + 1)
        change = change_of(compared(weeks, after_drift=_is_after_drift(kind, week)), seed=seed)
        causes = _causes(change, model, groups, clusters, plays, part)
        is_asked = kind == Kind.LISTENING and change.is_drift
        season = _a_year_ago(model, week, change, groups, seed) if is_asked else {}
        found.append(_report(model, kind, week, now, change, causes, season))
    weeks = compared(_reactions(week, seed), after_drift=_is_after_drift(Kind.FEEDBACK, week))
    reactions = change_of(weeks, seed=seed)
    named = [
        {"name": REACTIONS[at], "part": round(float(reactions.parts[at]), 5),
         "change": round(float(reactions.shares[at]), 4)}
        for at in np.argsort(-reactions.parts)
    ]  # fmt: skip
    found.append(_report(model, Kind.FEEDBACK, week, now, reactions, named, {}))
    return found


def last_week(kind: str, week: date) -> DriftReport | None:
    """The report of the week before, by whichever version served then: most weeks bring another one."""
    return DriftReport.objects.filter(kind=kind, week=week - WEEK).order_by("-pk").first()


def _is_after_drift(kind: str, week: date) -> bool:
    last = last_week(kind, week)
    return last is not None and last.drifted and not last.alarm


def _report(
    model: Model,
    kind: str,
    week: date,
    now: datetime,
    change: Change,
    causes: list[dict[str, Any]],
    season: dict[str, Any],
) -> DriftReport:
    last = last_week(kind, week)
    report, _ = DriftReport.objects.update_or_create(
        version=model.version, kind=kind, week=week,
        defaults={
            "at": now, "n": change.plays, "listeners": change.listeners, "p": change.p,
            "effect": change.effect, "limit": change.limit, "drifted": change.is_drift,
            "alarm": is_alarm(change, before=last is not None and last.drifted),
            "causes": causes if change.is_drift else [], "season": season,
        },
    )  # fmt: skip
    return report


def _clusters(model: Model, plays: Plays) -> NDArray[np.int64]:
    """Of each play; -1 for a song that the model does not know."""
    columns, known = columns_of(model.song_ids, plays.songs)
    return np.where(known, model.learnt.labels[columns], -1).astype(np.int64)


def _a_year_ago(
    model: Model, week: date, change: Change, groups: NDArray[np.int64], seed: int
) -> dict[str, Any]:
    """How the same week moved a year ago, in the champion's clusters; empty where too little was played."""
    plays = _plays(week - YEAR, seed)
    clusters = _clusters(model, plays)
    organic = (clusters >= 0) & ~plays.recommended
    weeks = _weeks(plays, organic, groups[clusters], int(groups.max(initial=0)) + 1)
    then = change_of(compared(weeks, after_drift=False), seed=seed)
    if not then.is_enough:
        return {}
    return {
        "week": (week - YEAR).isoformat(), "n": then.plays, "listeners": then.listeners,
        "likeness": round(likeness(change, then), 2),
    }  # fmt: skip


def _plays(week: date, seed: int) -> Plays:
    since, until = _span(week)
    sessions = ListeningHistory.objects.filter(
        created_at__gte=since, created_at__lt=until, unavailable_at=None
    )
    active = sessions.filter(created_at__gte=until - WEEK).values_list("user_id", flat=True)
    chosen = _sampled(sorted(set(active)), seed)
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
    return Plays(listeners, weeks, songs, np.array(columns[3], dtype=np.bool_))


def _span(week: date) -> tuple[datetime, datetime]:
    """From the beginning of the first of the weeks that a look needs to the end of this one."""
    until = datetime(week.year, week.month, week.day, tzinfo=UTC) + WEEK
    return until - WEEKS * WEEK, until


def _sampled(listeners: list[int], seed: int) -> list[int]:
    if len(listeners) <= MOST_LISTENERS:
        return listeners
    chosen = np.random.default_rng(seed).choice(len(listeners), MOST_LISTENERS, replace=False)
    return [listeners[place] for place in sorted(chosen.tolist())]


def _weeks(
    plays: Plays, part: NDArray[np.bool_], groups: NDArray[np.int64], n_groups: int
) -> NDArray[np.float64]:
    """Shape (n_listeners, WEEKS, n_groups)."""
    _, rows = np.unique(plays.listeners, return_inverse=True)
    counts = np.zeros((int(rows.max(initial=-1)) + 1, WEEKS, n_groups))
    np.add.at(counts, (rows[part], plays.weeks[part], groups[part]), 1)
    return counts


def _reactions(week: date, seed: int) -> NDArray[np.float64]:
    """Likes, listens and refusals, shape (n_listeners, WEEKS, 3)."""
    since, until = _span(week)
    said = Feedback.objects.filter(at__gte=since, at__lt=until).exclude(kind=Feedback.Kind.WRONG_STYLE)
    active = sorted(set(said.filter(at__gte=until - WEEK).values_list("listener_id", flat=True)))
    chosen = {listener: row for row, listener in enumerate(_sampled(active, seed))}
    counts = np.zeros((len(chosen), WEEKS, len(REACTIONS)))
    place = {Feedback.Kind.LIKE: 0, Feedback.Kind.LISTEN: 1}
    rows = said.filter(listener_id__in=chosen).values_list("listener_id", "at", "kind")
    for listener, at, kind in rows:
        counts[chosen[listener], (at - since) // WEEK, place.get(Feedback.Kind(kind), 2)] += 1
    return counts


def _causes(
    change: Change,
    model: Model,
    groups: NDArray[np.int64],
    clusters: NDArray[np.int64],
    plays: Plays,
    part: NDArray[np.bool_],
) -> list[dict[str, Any]]:
    """The groups that add most, each with its clusters and the songs played most of late."""
    lately = part & (plays.weeks == WEEKS - 1)
    found = []
    for group in np.argsort(-change.parts)[:NAMED].tolist():
        members = np.flatnonzero(groups == group)
        here = lately & np.isin(clusters, members)
        found.append(
            {
                "clusters": [_named(model, int(member)) for member in members[:NAMED]],
                "others": max(0, len(members) - NAMED),
                "part": round(float(change.parts[group]), 5),
                "change": round(float(change.shares[group]), 4),
                "songs": _most_played(plays.songs[here].tolist()),
            }
        )
    return found


def _named(model: Model, label: int) -> dict[str, Any]:
    group = model.groups[label]
    return {"id": group.number, "name": group.name}


def _most_played(songs: Sequence[int]) -> list[dict[str, Any]]:
    best = Counter(songs).most_common(NAMED)
    names = {song.pk: str(song) for song in Song.objects.filter(pk__in=[song for song, _ in best])}
    return [{"id": song, "name": names.get(song, f"song {song}"), "plays": plays} for song, plays in best]

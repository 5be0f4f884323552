"""Interleaved lists that count: opened when they are served, closed once, after the feed has come.

A listener's first list of a UTC day counts. It closes at the first successful ingestion that begins 48 hours
or more after it was served: what comes later never opens it again, and a failed feed leaves it open.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Final, NamedTuple
from uuid import UUID

from ingestion.models import IngestionRun, ListeningHistory
from recommender.engine.experiments.interleaving_credit import InterleavingCredit, ListCredit, credit_list
from recommender.listener_profiles import MIN_LISTEN_SECONDS
from recommender.models import Experiment, Feedback, ScoredList, ServedList

SCORING_WINDOW: Final = timedelta(hours=48)
BATCH_SIZE: Final = 500  # lists, whose events are read at once
POSITIVE_KINDS: Final = {Feedback.Kind.LIKE.value, Feedback.Kind.LISTEN.value}
NEGATIVE_KINDS: Final = {Feedback.Kind.SKIP.value, Feedback.Kind.DISLIKE.value}


class OverlappingList(NamedTuple):
    """A list as far as scoring needs it."""

    pk: UUID
    at: datetime
    songs: frozenset[int]


@dataclass(frozen=True)
class ListenerEvents:
    """What one listener said and played in the time that is looked at, and the lists they were given."""

    lists: Sequence[OverlappingList]
    feedback: Sequence[tuple[datetime, int, str]]
    sessions: Sequence[tuple[datetime, list[int]]]


def open_scored_list(served: ServedList, experiment: Experiment, teams: Sequence[bool]) -> None:
    """Let this list count, unless the listener's first of the day is another.

    Args:
        teams: for each place, whether the challenger drew it.
    """
    row = ScoredList(
        experiment=experiment, served_list=served, listener_id=served.listener_id,
        day=served.generated_at.astimezone(UTC).date(), rounds=len(teams) // 2,
        first_picks=sum(teams[: len(teams) // 2 * 2 : 2]),
    )  # fmt: skip
    # Two requests at the same moment: the database lets one of them be the first.
    ScoredList.objects.bulk_create([row], ignore_conflicts=True)


def close_due_lists(now: datetime) -> int:
    """Close every list whose time has come; how many there were."""
    read_at = (
        IngestionRun.objects.filter(status=IngestionRun.Status.SUCCEEDED, dry_run=False, started_at__lte=now)
        .order_by("-started_at")
        .values_list("started_at", flat=True)
        .first()
    )
    if read_at is None:
        return 0
    due = ScoredList.objects.filter(closed_at=None, served_list__generated_at__lte=read_at - SCORING_WINDOW)
    closed = 0
    while rows := list(due.select_related("served_list").order_by("pk")[:BATCH_SIZE]):
        heard = _read_listener_events(rows)
        for row in rows:
            score = _score_closed_list(row, heard[row.listener_id])
            # Whoever closes it first has closed it.
            closed += ScoredList.objects.filter(pk=row.pk, closed_at=None).update(
                closed_at=now, wins=score.wins, losses=score.losses
            )
    return closed


def read_closed_scores(experiment: Experiment, until: datetime | None = None) -> list[ListCredit]:
    """The closed lists, by day and listener; days count from the experiment's start.

    Wins are those of what is on trial: the challenger's, in an anchor's test the champion's.

    Args:
        until: those that were closed by then.
    """
    started = (experiment.started_at or experiment.created_at).astimezone(UTC).date()
    rows = ScoredList.objects.filter(experiment=experiment, closed_at__isnull=False)
    rows = rows if until is None else rows.filter(closed_at__lte=until)
    columns = ("losses", "wins") if experiment.kind == Experiment.Kind.ANCHOR else ("wins", "losses")
    return [
        ListCredit(listener, (day - started).days, InterleavingCredit(wins, losses))
        for listener, day, wins, losses in rows.order_by("day", "listener_id").values_list(
            "listener_id", "day", *columns
        )
    ]


def hash_scores(scores: Iterable[ListCredit]) -> str:
    """The same for the same lists, in their order: what a decision rested on can be told again."""
    digest = sha256()
    for one in scores:
        digest.update(f"{one.listener},{one.day},{one.credit.wins},{one.credit.losses};".encode())
    return digest.hexdigest()


def _read_listener_events(rows: Collection[ScoredList]) -> dict[int, ListenerEvents]:
    listeners = {row.listener_id for row in rows}
    since = min(row.served_list.generated_at for row in rows)
    until = max(row.served_list.generated_at for row in rows) + SCORING_WINDOW
    lists: dict[int, list[OverlappingList]] = defaultdict(list)
    served = ServedList.objects.filter(listener_id__in=listeners, generated_at__range=(since, until))
    for pk, listener, at, items in served.order_by("generated_at").values_list(
        "pk", "listener_id", "generated_at", "items"
    ):
        lists[listener].append(OverlappingList(pk, at, frozenset(item["song"] for item in items)))
    said: dict[int, list[tuple[datetime, int, str]]] = defaultdict(list)
    feedback = Feedback.objects.filter(listener_id__in=listeners, at__range=(since, until)).order_by("pk")
    # A song that was tried for some seconds was not listened to.
    feedback = feedback.exclude(kind=Feedback.Kind.LISTEN, seconds__lt=MIN_LISTEN_SECONDS)
    for listener, at, song, kind in feedback.values_list("listener_id", "at", "song_id", "kind"):
        said[listener].append((at, song, kind))
    sessions: dict[int, list[tuple[datetime, list[int]]]] = defaultdict(list)
    histories = ListeningHistory.objects.filter(
        user_id__in=listeners, created_at__range=(since, until), unavailable_at=None
    )
    for listener, at, items in histories.order_by("created_at").values_list("user_id", "created_at", "items"):
        sessions[listener].append((at, items))
    return {one: ListenerEvents(lists[one], said[one], sessions[one]) for one in listeners}


def _score_closed_list(row: ScoredList, events: ListenerEvents) -> InterleavingCredit:
    served = row.served_list
    begun, ended = served.generated_at, served.generated_at + SCORING_WINDOW

    def is_ours(at: datetime, song: int) -> bool:
        """Within the time, and no later list before it offered the song again."""
        if not begun <= at <= ended:
            return False
        return not any(begun < other.at <= at and song in other.songs for other in events.lists)

    songs = [item["song"] for item in served.items]
    engaged = {song for at, song, kind in events.feedback if kind in POSITIVE_KINDS and is_ours(at, song)}
    refused = {song for at, song, kind in events.feedback if kind in NEGATIVE_KINDS and is_ours(at, song)}
    first = next(((at, items) for at, items in events.sessions if begun <= at <= ended), None)
    if first is not None:
        engaged |= {song for song in first[1] if is_ours(first[0], song)}
    return credit_list(songs, [item["by_challenger"] for item in served.items], engaged, refused)

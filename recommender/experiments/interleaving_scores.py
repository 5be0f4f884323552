"""Scores of interleaved lists: opened when a list is served, and closed after a later ingestion.

Only a listener's first list of a UTC day counts. Its score is closed after the first successful ingestion
that begins at least 48 hours after the list was served, and is final.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Final

from recommender.engine.experiments.interleaving_credit import InterleavingCredit, ListCredit, credit_list
from recommender.feedback.engagement import ListEngagement, engagement_by_list, last_ingestion_at
from recommender.models import Experiment, ScoredList, ServedList

SCORING_WINDOW: Final = timedelta(hours=48)
BATCH_SIZE: Final = 500  # lists whose events are in memory at once


def open_scored_list(served: ServedList, experiment: Experiment, teams: Sequence[bool]) -> None:
    """Open the score of this list, unless the listener has an earlier list on the same day.

    Args:
        teams: for each song, whether the challenger drew it.
    """
    row = ScoredList(
        experiment=experiment, served_list=served, listener_id=served.listener_id,
        day=served.generated_at.astimezone(UTC).date(), rounds=len(teams) // 2,
        first_picks=sum(teams[: len(teams) // 2 * 2 : 2]),
    )  # fmt: skip
    # Of two simultaneous requests the database's unique constraint keeps one.
    ScoredList.objects.bulk_create([row], ignore_conflicts=True)


def close_due_lists(now: datetime) -> int:
    """Score and close every list whose 48 hours are over and imported; return how many."""
    ingested_at = last_ingestion_at(now)
    if ingested_at is None:
        return 0
    due = ScoredList.objects.filter(
        closed_at=None, served_list__generated_at__lte=ingested_at - SCORING_WINDOW
    )
    closed = 0
    while rows := list(due.select_related("served_list").order_by("pk")[:BATCH_SIZE]):
        engagement = engagement_by_list([row.served_list for row in rows], SCORING_WINDOW)
        for row in rows:
            credit = _credit(row.served_list, engagement[row.served_list_id])
            # Two tasks may score the same list: the first one closes it.
            closed += ScoredList.objects.filter(pk=row.pk, closed_at=None).update(
                closed_at=now, wins=credit.wins, losses=credit.losses
            )
    return closed


def _credit(served: ServedList, engagement: ListEngagement) -> InterleavingCredit:
    songs = [item["song"] for item in served.items]
    teams = [item["by_challenger"] for item in served.items]
    return credit_list(songs, teams, engagement.engaged(SCORING_WINDOW, first_session_only=True))


def read_closed_scores(experiment: Experiment, until: datetime | None = None) -> list[ListCredit]:
    """The closed scores by day and listener; days count from the experiment's start.

    Wins are the challenger's. In a holdback experiment, which tests the champion, they are the champion's.

    Args:
        until: only scores that were closed by this time.
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
    """SHA-256 of the scores in order; a different value shows that a decision's data has changed."""
    digest = sha256()
    for score in scores:
        digest.update(f"{score.listener},{score.day},{score.credit.wins},{score.credit.losses};".encode())
    return digest.hexdigest()

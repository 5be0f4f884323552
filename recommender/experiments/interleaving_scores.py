"""Scores of a listener's first interleaved list of each UTC day.

A score closes when the listening of the next 48 hours is imported, and then never changes.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from typing import Final

from recommender.engine.experiments.interleaving_credit import InterleavingCredit, ListCredit, credit_list
from recommender.experiments.feed_health import SCORING_WINDOW, history_read_until
from recommender.feedback.engagement import ListEngagement, engagement_by_list
from recommender.models import Experiment, ScoredList, ServedList, sql

BATCH_SIZE: Final = 500  # lists whose events are in memory at once


def open_scored_list(served: ServedList, experiment: Experiment, teams: Sequence[bool]) -> None:
    """Store the list for scoring; `teams` says for each song whether the challenger drew it."""
    row = ScoredList(
        experiment=experiment, served_list=served, listener_id=served.listener_id,
        day=served.generated_at.astimezone(UTC).date(), rounds=len(teams) // 2,
        first_picks=sum(teams[: len(teams) // 2 * 2 : 2]),
    )  # fmt: skip
    # Of two simultaneous requests the database's unique constraint keeps one.
    sql.insert_row_unless_exists(row)


def close_due_lists(now: datetime) -> int:
    """Close the due scores; return how many were closed."""
    read_until = history_read_until(now)
    if read_until is None:
        return 0
    due = ScoredList.objects.filter(
        closed_at=None, served_list__generated_at__lte=read_until - SCORING_WINDOW
    )
    # Not the other columns of the lists, which hold kilobytes.
    columns = ("served_list", *(f"served_list__{name}" for name in ("listener", "generated_at", "items")))
    lists = due.select_related("served_list").only(*columns).order_by("pk")
    closed = 0
    while rows := list(lists[:BATCH_SIZE]):
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


def read_closed_scores(
    experiment: Experiment, until: datetime | None = None, *, served_by: str = ""
) -> list[ListCredit]:
    """Closed scores by day (since the start) and listener.

    Wins are the challenger's; in the holdback the champion's.

    Args:
        until: only scores closed by this time.
        served_by: only lists of the champion with this label; empty: of all.
    """
    started = (experiment.started_at or experiment.created_at).astimezone(UTC).date()
    rows = ScoredList.objects.filter(experiment=experiment, closed_at__isnull=False)
    rows = rows if until is None else rows.filter(closed_at__lte=until)
    rows = rows.filter(served_list__version__label=served_by) if served_by else rows
    columns = ("losses", "wins") if experiment.tests_champion else ("wins", "losses")
    return [
        ListCredit(listener, (day - started).days, InterleavingCredit(wins, losses))
        for listener, day, wins, losses in rows.order_by("day", "listener_id").values_list(
            "listener_id", "day", *columns
        )
    ]


def hash_scores(scores: Iterable[ListCredit]) -> str:
    """SHA-256 of the scores in order; another value shows that a decision's data has changed."""
    digest = sha256()
    for score in scores:
        digest.update(f"{score.listener},{score.day},{score.credit.wins},{score.credit.losses};".encode())
    return digest.hexdigest()

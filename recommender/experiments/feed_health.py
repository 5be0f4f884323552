"""Checks whether the listening history, from which lists are scored, is complete and looks normal."""

from datetime import datetime, timedelta
from itertools import pairwise
from typing import Final

from django.db.models import Count, Max, Q, QuerySet

from ingestion.models import IngestionRun, ListeningHistory
from recommender.engine.experiments.sequential import log_e_value_of_share
from recommender.models import ScoredList, sql

SCORING_WINDOW: Final = timedelta(hours=48)
# A source whose newest session is a day older than a complete run is quiet, not late: a small site may have
# no session in the last hours of a night. A tiny site is quiet for as many days as it was before.
DAY: Final = timedelta(days=1)
LONGEST_WITHOUT_RUN: Final = timedelta(hours=48)
# A list served just after a daily run is scored by the third run after it.
LATEST_CLOSING: Final = SCORING_WINDOW + timedelta(hours=24)
RECENT: Final = timedelta(days=7)  # compared with the four weeks before
USUAL: Final = timedelta(days=28)
FEWEST_LISTS: Final = 30
FAR_BELOW: Final = 0.5  # of the usual share of lists with a decisive round
LOG_ODDS_OF_A_FALL: Final = 4.6  # ln 100, as for every allocation check


def history_read_until(now: datetime) -> datetime | None:
    """The time up to which the imported listening is complete; None before the first session.

    The newest session, or the start of the last successful run if the source is merely quiet.
    """
    newest: datetime | None = ListeningHistory.objects.filter(created_at__lte=now).aggregate(
        newest=Max("created_at")
    )["newest"]
    if newest is None:
        return None
    run = _last_success(now)
    return run if run is not None and newest < run <= newest + _usual_silence(newest) else newest


def why_not_trusted(now: datetime) -> str:
    """The reason why no verdict may rest on the imported listening; empty if it may."""
    run = _last_success(now)
    if run is None:
        return "no import has succeeded yet."
    if now - run > LONGEST_WITHOUT_RUN:
        return f"no import has succeeded since {run:%Y-%m-%d %H:%M} UTC."
    if overdue := _open_at(now).filter(served_list__generated_at__lte=now - LATEST_CLOSING).count():
        until = history_read_until(now)
        read = f"its newest session is of {until:%Y-%m-%d %H:%M} UTC" if until else "it is empty"
        return f"{overdue} lists are older than 72 hours and their listening is not imported; {read}."
    return _why_engagement_fell(now)


def _last_success(now: datetime) -> datetime | None:
    runs = IngestionRun.objects.succeeded().filter(started_at__lte=now)
    return runs.order_by("-started_at").values_list("started_at", flat=True).first()


def _usual_silence(newest: datetime) -> timedelta:
    """The longest time between days with sessions in the last four weeks; at least a day."""
    days = sql.days_with_sessions(newest - USUAL, newest)
    return max((later - earlier for earlier, later in pairwise(days)), default=1) * DAY


def _open_at(now: datetime) -> QuerySet[ScoredList]:
    return ScoredList.objects.filter(Q(closed_at=None) | Q(closed_at__gt=now))


def _why_engagement_fell(now: datetime) -> str:
    """A sentence if far fewer lists than usual have a decisive round, as a share; otherwise empty.

    The last seven days are compared with the four weeks before.
    """
    today = now.date()
    decisive = Count("pk", filter=Q(wins__gt=0) | Q(losses__gt=0))
    closed = ScoredList.objects.filter(closed_at__lte=now)
    recent = closed.filter(day__gt=today - RECENT).aggregate(lists=Count("pk"), decisive=decisive)
    usual = closed.filter(day__gt=today - RECENT - USUAL, day__lte=today - RECENT).aggregate(
        lists=Count("pk"), decisive=decisive
    )
    if min(recent["lists"], usual["lists"]) < FEWEST_LISTS or not usual["decisive"]:
        return ""
    expected = min(0.99, usual["decisive"] / usual["lists"])
    share = recent["decisive"] / recent["lists"]
    if share >= FAR_BELOW * expected:
        return ""
    missed = recent["lists"] - recent["decisive"]
    if log_e_value_of_share(recent["decisive"], missed, expected) < LOG_ODDS_OF_A_FALL:
        return ""
    return (
        f"only {share:.0%} of the lists of the last seven days have any decisive round, "
        f"{expected:.0%} in the four weeks before."
    )

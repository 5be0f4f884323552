"""The page of the loop, for staff: how the models do, what is tested, and what was decided."""

from typing import Any

from django.contrib import admin
from django.contrib.admin.views.decorators import staff_member_required
from django.db.models import Case, Count, F, OuterRef, Q, QuerySet, Subquery, Sum, When
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone

from recommender import portraits, presentation
from recommender.detecting import detectable
from recommender.experiments import LIST_SHARE
from recommender.models import Decision, Experiment, ScoredList
from recommender.stories import unseen

Kind, Status = Experiment.Kind, Experiment.Status


@staff_member_required
def models(request: HttpRequest) -> HttpResponse:
    """Versions over time, the running tests, the map of clusters, drift, and the ledger as a story."""
    now = timezone.now()
    versions, experiments = portraits.lately(), list(_told_of())
    tests = [test for test in experiments if test.status != Status.ENDED]
    change = next((test for test in tests if test.kind == Kind.CHANGE and test.started_at), None)
    played = (change.days or 0, change.rounds or 0) if change else (0, 0)
    ledger, drift = presentation.ledger(), portraits.drift_reports()
    days = portraits.engagement_days(now)
    context = {
        **admin.site.each_context(request),
        "title": "Models",
        "now": now,
        "headline": portraits.headline(versions, tests, ledger, drift, now),
        "tests": [{"test": test, "said": _said(test)} for test in tests],
        "change": change,
        # Of the change that is tested, or of one that began now.
        "card": detectable(change.list_share if change else LIST_SHARE, now, played, days),
        "plots": [
            portraits.versions_plot(versions.newest),
            portraits.engagement_plot(days),
            portraits.cohesion_plot(versions.newest),
            portraits.drift_plot(drift),
            portraits.map_plot(versions.champion),
        ],
        "story": presentation.story(ledger, [test for test in experiments if test.status == Status.ENDED]),
    }
    return render(request, "recommender/models.html", context)


def _said(test: Any) -> str:
    return (test.last_verdict or {}).get("reason") or unseen(test)


def _told_of() -> "QuerySet[Experiment, Any]":
    """The tests that are not over, each with the last verdict on it, and those that the ledger tells of.

    Of a change that runs: on how many days lists were closed, and how many decisive rounds they had.
    """
    looks = Decision.objects.filter(experiment=OuterRef("pk")).order_by("-id")
    closed = ScoredList.objects.filter(experiment=OuterRef("pk"), closed_at__isnull=False)
    tested = closed.order_by().values("experiment")
    runs = Q(status=Status.RUNNING, kind=Kind.CHANGE)
    dropped = presentation.lost_or_dropped().values("pk")
    tests = Experiment.objects.filter(~Q(status=Status.ENDED) | Q(pk__in=dropped))
    return tests.select_related("champion", "challenger").annotate(
        last_verdict=Subquery(looks.values("verdict")[:1]),
        days=Case(When(runs, then=Subquery(tested.values(n=Count("day", distinct=True))))),
        rounds=Case(When(runs, then=Subquery(tested.values(n=Sum(F("wins") + F("losses")))))),
    )

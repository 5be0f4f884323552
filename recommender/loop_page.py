"""The page of the loop, for staff: how the models do, what is tested, and what was decided."""

from typing import Any

from django.contrib import admin
from django.contrib.admin.views.decorators import staff_member_required
from django.db.models import OuterRef, QuerySet, Subquery
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone

from recommender import portraits, presentation
from recommender.detecting import detectable
from recommender.experiments import LIST_SHARE
from recommender.models import Decision, Experiment
from recommender.stories import unseen


@staff_member_required
def models(request: HttpRequest) -> HttpResponse:
    """Versions over time, the running tests, the map of clusters, drift, and the ledger as a story."""
    now = timezone.now()
    versions = portraits.lately()
    tests = [
        {
            "test": test,
            "said": (test.last_verdict or {}).get("reason") or unseen(test),
            "card": detectable(test, now) if test.kind == Experiment.Kind.CHANGE else None,
        }
        for test in _going_on()
    ]
    ledger, drift = presentation.ledger(), portraits.drift_reports()
    context = {
        **admin.site.each_context(request),
        "title": "Models",
        "now": now,
        "headline": portraits.headline(versions, [one["test"] for one in tests], ledger, drift, now),
        "tests": tests,
        # What a test would see that began now.
        "card": None if tests else detectable(Experiment(list_share=LIST_SHARE), now, (0, 0)),
        "plots": [
            portraits.versions_plot(versions.newest),
            portraits.engagement_plot(now),
            portraits.cohesion_plot(versions.newest),
            portraits.drift_plot(drift),
            portraits.map_plot(versions.champion),
        ],
        "story": presentation.story(ledger),
    }
    return render(request, "recommender/models.html", context)


def _going_on() -> "QuerySet[Experiment, Any]":
    """The tests that are not over, each with the last verdict on it."""
    looks = Decision.objects.filter(experiment=OuterRef("pk")).order_by("-id")
    tests = Experiment.objects.exclude(status=Experiment.Status.ENDED)
    return tests.select_related("champion", "challenger").annotate(
        last_verdict=Subquery(looks.values("verdict")[:1])
    )

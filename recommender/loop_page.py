"""The page of the loop, for staff: how the models do, what is tested, and what was decided."""

from django.contrib import admin
from django.contrib.admin.views.decorators import staff_member_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone

from recommender import portraits
from recommender.detecting import detectable
from recommender.models import Decision, Experiment, ModelVersion


@staff_member_required
def models(request: HttpRequest) -> HttpResponse:
    """Versions over time, the running tests, the map of clusters, drift, and the ledger as a story."""
    now = timezone.now()
    champion = ModelVersion.objects.filter(role=ModelVersion.Role.CHAMPION).first()
    tests = [
        {
            "test": test,
            "said": _said(test),
            "card": detectable(test, now) if test.kind == Experiment.Kind.CHANGE else None,
        }
        for test in Experiment.objects.exclude(status="ended").select_related("champion", "challenger")
    ]
    context = {
        **admin.site.each_context(request),
        "title": "Models",
        "now": now,
        "headline": portraits.headline(now),
        "tests": tests,
        "plots": [
            portraits.versions_plot(),
            portraits.engagement_plot(now),
            portraits.cohesion_plot(),
            portraits.drift_plot(),
            portraits.map_plot(champion),
        ],
        "story": portraits.story(),
    }
    return render(request, "recommender/models.html", context)


def _said(test: Experiment) -> str:
    last = Decision.objects.filter(experiment=test).first()
    return str(last.verdict["reason"]) if last else "Nobody has looked at it yet."

"""The page of the loop, for staff: how the models do, what is tested, and what was decided."""

from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin.views.decorators import staff_member_required
from django.db.models import Case, Count, F, OuterRef, Q, QuerySet, Subquery, Sum, When
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone

from ingestion.models import Listener, ListeningHistory, Song
from recommender.dashboard import charts, tables
from recommender.dashboard.experiment_report import describe_unchecked
from recommender.experiments.lifecycle import LIST_SHARE
from recommender.experiments.power_analysis import detectable_changes
from recommender.models import Decision, Experiment, Feedback, ScoredList
from recommender.services import serving_options
from recommender.serving import recommendations
from recommender.serving.explanations import serialize_list
from recommender.serving.options import DISCOVERY, LIST_LENGTH, MAX_LIST_LENGTH

ExperimentKind, ExperimentStatus = Experiment.Kind, Experiment.Status


@staff_member_required
def models_page(request: HttpRequest) -> HttpResponse:
    """Versions over time, the running tests, the map of clusters, drift, and the ledger as a story."""
    now = timezone.now()
    versions, experiments = charts.recent_versions(), list(_shown_experiments())
    tests = [test for test in experiments if test.status != ExperimentStatus.ENDED]
    change = next((test for test in tests if test.kind == ExperimentKind.CHANGE and test.started_at), None)
    played = (change.days or 0, change.rounds or 0) if change else (0, 0)
    ledger, drift = tables.latest_promotions(), charts.recent_drift_reports()
    days = charts.recent_engagement_days(now)
    context = {
        **admin.site.each_context(request),
        "title": "Models",
        "now": now,
        "headline": charts.build_headline(versions, tests, ledger, drift, now),
        "tests": [{"test": test, "said": _latest_reason(test)} for test in tests],
        "change": change,
        # Of the change that is tested, or of one that began now.
        "card": detectable_changes(change.list_share if change else LIST_SHARE, now, played, days),
        "plots": [
            charts.versions_plot(versions.newest),
            charts.engagement_plot(days),
            charts.cohesion_plot(versions.newest),
            charts.drift_plot(drift),
            charts.map_plot(versions.champion),
        ],
        "story": tables.ledger_entries(
            ledger, [test for test in experiments if test.status == ExperimentStatus.ENDED]
        ),
    }
    return render(request, "recommender/models.html", context)


def _latest_reason(test: Any) -> str:
    return (test.last_verdict or {}).get("reason") or describe_unchecked(test)


def _shown_experiments() -> "QuerySet[Experiment, Any]":
    """The tests that are not over, each with the last verdict on it, and those that the ledger tells of.

    Of a change that runs: on how many days lists were closed, and how many decisive rounds they had.
    """
    looks = Decision.objects.filter(experiment=OuterRef("pk")).order_by("-id")
    closed = ScoredList.objects.filter(experiment=OuterRef("pk"), closed_at__isnull=False)
    tested = closed.order_by().values("experiment")
    runs = Q(status=ExperimentStatus.RUNNING, kind=ExperimentKind.CHANGE)
    dropped = tables.experiments_without_promotion().values("pk")
    tests = Experiment.objects.filter(~Q(status=ExperimentStatus.ENDED) | Q(pk__in=dropped))
    return tests.select_related("champion", "challenger").annotate(
        last_verdict=Subquery(looks.values("verdict")[:1]),
        days=Case(When(runs, then=Subquery(tested.values(n=Count("day", distinct=True))))),
        rounds=Case(When(runs, then=Subquery(tested.values(n=Sum(F("wins") + F("losses")))))),
    )


MAX_SESSIONS = 12  # what fits beside the recommendations without scrolling
MAX_SONGS_PER_SESSION = 8


class ListenerPageForm(forms.Form):
    """What the page is asked for; its fields teach what they mean."""

    user = forms.IntegerField(label="Listener's id", min_value=0, required=False)
    discovery = forms.FloatField(label="Discovery", min_value=0, max_value=1, required=False)
    n = forms.IntegerField(label="Songs", min_value=1, max_value=MAX_LIST_LENGTH, required=False)


@staff_member_required
def listener_page(request: HttpRequest) -> HttpResponse:
    """The listener page: history, affinities as bars, and a preview of recommendations with their reasons."""
    wish = ListenerPageForm(request.GET)
    asked = wish.cleaned_data if wish.is_valid() else {}
    context = {
        **admin.site.each_context(request),
        "title": "Listener",
        "errors": wish.errors,
        "user_id": asked.get("user"),
        "discovery": DISCOVERY if asked.get("discovery") is None else asked["discovery"],
        "n": asked.get("n") or LIST_LENGTH,
        "examples": [] if asked.get("user") is not None else _example_listeners(),
    }
    if asked.get("user") is not None:
        context.update(_listener_context(asked["user"], context["n"], context["discovery"]))
    return render(request, "recommender/listen.html", context)


def _listener_context(listener_id: int, n: int, discovery: float) -> dict[str, Any]:
    listener = Listener.objects.filter(pk=listener_id).first()
    if listener is None:
        return {"unknown": True, "examples": _example_listeners()}
    options = serving_options()
    # The same draw at every discovery, so that moving it shows what discovery does, and nothing else.
    preview = recommendations.preview_list(
        listener_id, n=n, discovery=discovery, options=options, seed="preview"
    )
    affinities = recommendations.listener_affinities(listener_id, options=options)
    most = max((affinity.affinity for affinity in affinities), default=0.0)
    return {
        "listener": listener,
        "affinities": [
            {"name": row.name, "percent": 100 * row.affinity, "width": 100 * row.affinity / most}
            for row in affinities[:12]
            if row.affinity > 0
        ],
        "preview": serialize_list(preview),
        "sessions": _recent_sessions(listener),
        "feedback": Feedback.objects.filter(listener=listener).select_related("song")[:12],
    }


def _recent_sessions(listener: Listener) -> list[dict[str, Any]]:
    histories = list(
        ListeningHistory.objects.filter(user=listener, unavailable_at=None).order_by("-created_at")[
            :MAX_SESSIONS
        ]
    )
    songs = Song.objects.in_bulk({song for history in histories for song in history.items})
    return [
        {
            "at": history.created_at,
            "songs": [songs[pk] for pk in history.items[:MAX_SONGS_PER_SESSION] if pk in songs],
            "more": max(0, len(history.items) - MAX_SONGS_PER_SESSION),
        }
        for history in histories
    ]


def _example_listeners() -> list[int]:
    """Some listeners who have listened lately, to start from."""
    latest = ListeningHistory.objects.order_by("-id").values_list("user_id", flat=True)[:200]
    return sorted(set(latest))[:12]

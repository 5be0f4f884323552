"""Staff pages /models/ (state of the models) and /listen/ (recommendations for one listener)."""

from typing import Any, Final

from django import forms
from django.contrib import admin
from django.db.models import Case, Count, F, OuterRef, Q, QuerySet, Subquery, Sum, When
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone

from ingestion.api.query_params import LARGEST_ID, SMALLEST_ID
from ingestion.models import Listener, ListeningHistory, Song
from ingestion.page_permissions import page_permission
from recommender.dashboard import charts, tables
from recommender.dashboard.experiment_report import describe_unchecked
from recommender.experiments.lifecycle import LIST_SHARE
from recommender.experiments.power_analysis import detectable_changes
from recommender.models import Decision, Experiment, Feedback, ScoredList
from recommender.services import serving_options
from recommender.serving import recommendations
from recommender.serving.explanations import serialize_list, share_text
from recommender.serving.list_limits import DISCOVERY, LIST_LENGTH, MAX_LIST_LENGTH

ExperimentKind, ExperimentStatus = Experiment.Kind, Experiment.Status
# This many fit beside the recommendations without scrolling.
MAX_SESSIONS: Final = 12
MAX_SONGS_PER_SESSION: Final = 8
MAX_AFFINITIES: Final = 12
MAX_FEEDBACK: Final = 12
MAX_EXAMPLE_LISTENERS: Final = 12


@page_permission("recommender.view_modelversion")
def models_page(request: HttpRequest) -> HttpResponse:
    """The models page: champion, running experiments, charts over time, and the latest promotions."""
    now = timezone.now()
    versions, experiments = charts.recent_versions(), list(_shown_experiments())
    unfinished = [one for one in experiments if one.status != ExperimentStatus.ENDED]
    change = next((one for one in unfinished if one.kind == ExperimentKind.CHANGE and one.started_at), None)
    played = (change.days or 0, change.rounds or 0) if change else (0, 0)
    promotions, drift = tables.latest_promotions(), charts.recent_drift_reports()
    days = charts.recent_engagement_days(now)
    power = detectable_changes(change.list_share if change else LIST_SHARE, now, played, days)
    context = {
        **admin.site.each_context(request),
        "title": "Models",
        "now": now,
        "headline": charts.build_headline(versions, unfinished, promotions, drift, now),
        "warnings": charts.model_warnings(versions),
        "experiments": [{"experiment": one, "reason": _latest_reason(one)} for one in unfinished],
        "change": change,
        "power": power.sentence,
        "plots": [
            charts.versions_plot(versions.newest),
            charts.engagement_plot(days),
            charts.cohesion_plot(versions.newest),
            charts.drift_plot(drift),
            charts.map_plot(versions.champion),
        ],
        "promotions": tables.promotion_entries(
            promotions, [one for one in experiments if one.status == ExperimentStatus.ENDED]
        ),
    }
    return render(request, "recommender/models.html", context)


def _latest_reason(experiment: Any) -> str:
    return (experiment.last_verdict or {}).get("reason") or describe_unchecked(experiment)


def _shown_experiments() -> "QuerySet[Experiment, Any]":
    """Unfinished experiments and those without promotion, each with its last verdict.

    A running change also has `days` (days with closed lists) and `rounds` (its decisive rounds).
    """
    decisions = Decision.objects.filter(experiment=OuterRef("pk")).order_by("-id")
    closed = ScoredList.objects.filter(experiment=OuterRef("pk"), closed_at__isnull=False)
    by_experiment = closed.order_by().values("experiment")
    is_running_change = Q(status=ExperimentStatus.RUNNING, kind=ExperimentKind.CHANGE)
    without_promotion = tables.experiments_without_promotion().values("pk")
    shown = Experiment.objects.filter(~Q(status=ExperimentStatus.ENDED) | Q(pk__in=without_promotion))
    return shown.select_related("champion", "challenger").annotate(
        last_verdict=Subquery(decisions.values("verdict")[:1]),
        days=Case(
            When(is_running_change, then=Subquery(by_experiment.values(n=Count("day", distinct=True))))
        ),
        rounds=Case(
            When(is_running_change, then=Subquery(by_experiment.values(n=Sum(F("wins") + F("losses")))))
        ),
    )


class ListenerPageForm(forms.Form):
    user = forms.IntegerField(
        label="Listener ID", min_value=SMALLEST_ID, max_value=LARGEST_ID, required=False
    )
    discovery = forms.FloatField(label="Discovery", min_value=0, max_value=1, required=False)
    n = forms.IntegerField(label="Number of songs", min_value=1, max_value=MAX_LIST_LENGTH, required=False)


@page_permission("ingestion.view_listener")
def listener_page(request: HttpRequest) -> HttpResponse:
    """One listener's sessions, affinities and feedback, and a preview of recommendations with reasons."""
    form = ListenerPageForm(request.GET)
    asked = form.cleaned_data if form.is_valid() else {}
    context = {
        **admin.site.each_context(request),
        "title": "Try a listener",
        "errors": [(form.fields[name].label, problems[0]) for name, problems in form.errors.items()],
        "user_id": asked.get("user"),
        "discovery": DISCOVERY if asked.get("discovery") is None else asked["discovery"],
        "n": asked.get("n") or LIST_LENGTH,
        "max_n": MAX_LIST_LENGTH,
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
    # The same seed at every discovery level, so that the slider shows only the effect of discovery.
    preview = recommendations.preview_list(
        listener_id, n=n, discovery=discovery, options=options, seed="preview"
    )
    affinities = recommendations.listener_affinities(listener_id, options=options)
    most = max((affinity.affinity for affinity in affinities), default=0.0)
    return {
        "listener": listener,
        "affinities": [
            {"name": row.name, "percent": share_text(row.affinity), "width": 100 * row.affinity / most}
            for row in affinities[:MAX_AFFINITIES]
            if row.affinity > 0
        ],
        "preview": serialize_list(preview),
        "sessions": _recent_sessions(listener),
        "feedback": Feedback.objects.standing()
        .filter(listener=listener)
        .select_related("song")[:MAX_FEEDBACK],
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
    latest = ListeningHistory.objects.order_by("-id").values_list("user_id", flat=True)[:200]
    return sorted(set(latest))[:MAX_EXAMPLE_LISTENERS]

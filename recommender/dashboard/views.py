"""The staff page /models/."""

from typing import Any

from django.contrib import admin
from django.db.models import Case, Count, F, OuterRef, Q, QuerySet, Subquery, Sum, When
from django.db.models.fields.json import KT
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.translation import get_language
from django.utils.translation import gettext as _

from ingestion.alerts.incidents import open_incidents
from ingestion.alerts.messages.render import render_incident
from ingestion.models import Incident
from ingestion.page_permissions import page_permission
from recommender.dashboard import charts, tables
from recommender.dashboard.experiment_report import describe_unchecked
from recommender.dashboard.formatting import stored_text
from recommender.dashboard.summary import summarize
from recommender.experiments.lifecycle import LIST_SHARE
from recommender.experiments.power_analysis import detectable_changes
from recommender.models import Decision, Experiment, ScoredList

ExperimentKind, ExperimentStatus = Experiment.Kind, Experiment.Status


@page_permission("recommender.view_modelversion")
def models_page(request: HttpRequest) -> HttpResponse:
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
        "title": _("Models"),
        "now": now,
        "headline": charts.build_headline(versions, unfinished, promotions, drift, now),
        "summary": summarize(versions.champion, unfinished),
        "warnings": charts.model_warnings(versions),
        "notices": _notices(),
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


def _notices() -> list[str]:
    """The open notices as text, such as refreshes that did not win; nobody is notified of them."""
    notices = open_incidents().filter(severity=Incident.Severity.NOTICE)
    return [
        f"{text.subject}. {text.what}"
        for text in (render_incident(one, get_language() or "en") for one in notices)
    ]


def _latest_reason(experiment: Any) -> str:
    reason = (experiment.last_verdict or {}).get("reason")
    return stored_text(reason) if reason else describe_unchecked(experiment)


def _shown_experiments() -> "QuerySet[Experiment, Any]":
    """Experiments that are unfinished or had no promotion, each with its last verdict.

    A running change also has `days` (with closed lists) and `rounds` (decisive ones).
    """
    decisions = Decision.objects.filter(experiment=OuterRef("pk")).order_by("-id")
    closed = ScoredList.objects.filter(experiment=OuterRef("pk"), closed_at__isnull=False)
    by_experiment = closed.order_by().values("experiment")
    is_running_change = Q(status=ExperimentStatus.RUNNING, kind=ExperimentKind.CHANGE)
    without_promotion = tables.experiments_without_promotion().values("pk")
    shown = Experiment.objects.filter(~Q(status=ExperimentStatus.ENDED) | Q(pk__in=without_promotion))
    return shown.select_related("champion", "challenger").annotate(
        last_verdict=Subquery(decisions.values("verdict")[:1]),
        last_rules=Subquery(decisions.values("rules")[:1]),
        # As text: SQLite would give a number, which Django's JSON field cannot read.
        last_unproven=Subquery(decisions.annotate(unproven=KT("evidence__unproven")).values("unproven")[:1]),
        days=Case(
            When(is_running_change, then=Subquery(by_experiment.values(n=Count("day", distinct=True))))
        ),
        rounds=Case(
            When(is_running_change, then=Subquery(by_experiment.values(n=Sum(F("wins") + F("losses")))))
        ),
    )

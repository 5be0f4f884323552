"""Views of the operations page and of a run's page, for staff."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final

from django.conf import settings
from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils import timezone
from django.utils.html import format_html
from django.utils.translation import gettext as _

from ingestion.alerts.incidents import open_incidents
from ingestion.models import Incident, IngestionRun, RunLogLine
from ingestion.monitoring.anomaly_detection import MIN_HISTORY, MIN_RUNS, K
from ingestion.page_permissions import page_permission
from ingestion.stored_sentences import run_summary
from moovitamix.dashboard import queries, run_details
from moovitamix.dashboard.cards import build_cards, runs_url
from moovitamix.dashboard.formatting import (
    format_age,
    format_clock,
    format_datetime,
    format_duration,
    format_measure,
    format_number,
    format_percent,
    localize_decimals,
)
from moovitamix.dashboard.headline import build_headline
from moovitamix.dashboard.navigation import VIEW_RUN_PERMISSION
from moovitamix.dashboard.queries import DEFAULT_WINDOW, MAX_LISTED_INCIDENTS, WINDOW_CHOICES
from moovitamix.operations.service_state import assess_service
from recommender.dashboard.formatting import stored_text
from recommender.dashboard.tables import read_metric
from recommender.services import current_model

VIEW_PERSONAL_DATA_PERMISSION: Final = "ingestion.view_personal_data"
START_RUN_PERMISSION: Final = "ingestion.add_ingestionrun"
# A run with one of these statuses did not do all of its work.
PROBLEM_STATUSES: Final = frozenset({"failed", "refused", "abandoned", "stopped", "partial"})
MAX_WARNINGS: Final = 5
EXPECTED_RANGE: Final = {"k": K, "min_runs": MIN_RUNS, "min_days": MIN_HISTORY.days}


@page_permission(VIEW_RUN_PERMISSION)
def operations_page(request: HttpRequest) -> HttpResponse:
    """The front page: headline, open incidents, metric charts, latest runs, schedule and current model."""
    now = timezone.now()
    window = queries.load_run_window(_window_days(request), now)
    state = assess_service(now)
    listed = state.incidents[:MAX_LISTED_INCIDENTS]
    schedule = queries.list_scheduled_entries(now)
    heartbeats = queries.list_heartbeats(state.heartbeats.values(), state.parts, now)
    headline = build_headline(state, window, queries.next_ingestion_at(schedule), now)
    context = {
        "title": _("Operations"),
        "headline": headline,
        "silence": queries.describe_silence(now),
        "incidents": [queries.summarize_incident(incident, now) for incident in listed],
        "has_more_incidents": len(state.incidents) > MAX_LISTED_INCIDENTS,
        "cards": build_cards(window, now),
        "window": window,
        "window_choices": WINDOW_CHOICES,
        "runs": [_run_row(run, now) for run in window.newest],
        "runs_url": runs_url(window.since),
        "schedule": schedule,
        "heartbeats": heartbeats,
        "model": _model_context(now),
        "can_start_run": request.user.has_perm(START_RUN_PERMISSION),
        "failed_run": _failed_run(window.last_finished),
        "expected_range": EXPECTED_RANGE,
        "time_zone": settings.TIME_ZONE,
        "loaded_at": format_clock(now, now),
        **_progress_context(window.newest[0] if window.newest else None, now),
        "incident_state": _incident_state(state.incidents),
    }
    return render(request, "operations/dashboard.html", {**admin.site.each_context(request), **context})


def run_progress(request: HttpRequest) -> HttpResponse:
    """Progress of the newest run: a part of a page that htmx requests every few seconds.

    The request contains the run state that the page shows, and the operations page's open incidents, which
    are resolved a moment after their run has ended; if either has changed, the whole page is reloaded.
    """
    if not (admin.site.has_permission(request) and request.user.has_perm(VIEW_RUN_PERMISSION)):
        # After a redirect, htmx would insert the login page into the middle of the page.
        return HttpResponse(status=204, headers={"HX-Refresh": "true"})
    newest = IngestionRun.objects.order_by("-pk").first()
    context = _progress_context(newest, timezone.now())
    shown = request.GET.get("incidents")
    if shown is not None:
        context["incident_state"] = _incident_state(open_incidents())
    response = render(request, "operations/progress.html", context)
    if request.GET.get("seen") != context["run_state"] or shown != context.get("incident_state"):
        response["HX-Refresh"] = "true"
    return response


@page_permission(VIEW_RUN_PERMISSION)
def run_detail(request: HttpRequest, pk: int) -> HttpResponse:
    now = timezone.now()
    run = get_object_or_404(run_details.runs_with_neighbours(), pk=pk)
    reports, checked = list(run.reports.all()), run_details.list_checked_measures(run)
    context = {
        "title": _("Run {run}").format(run=run.pk),
        "run": run,
        "summary": run_summary(run.summary),
        "facts": _run_facts(run, now),
        "stages": run_details.build_stage_bars(run, now),
        "resources": run_details.build_resource_table(run, reports) if reports else None,
        "rejections": run_details.group_rejections(
            run, show_personal_data=request.user.has_perm(VIEW_PERSONAL_DATA_PERMISSION)
        ),
        "rejections_url": run_details.rejections_url(run),
        "field_changes": run_details.list_field_changes(reports),
        "anomalies": [metric for metric in checked if metric.is_anomaly],
        "normal_metrics": [metric for metric in checked if not metric.is_anomaly],
        "is_problem": run.status in PROBLEM_STATUSES,
        "last_warnings": _last_warnings(run, now) if run.status in PROBLEM_STATUSES else [],
        "run_incidents": run_details.list_run_incidents(run, now),
        "can_start_run": request.user.has_perm(START_RUN_PERMISSION),
        "expected_range": EXPECTED_RANGE,
        "time_zone": settings.TIME_ZONE,
        "max_drawn_runs": run_details.MAX_DRAWN_RUNS,
        **_progress_context(run, now),
    }
    return render(request, "operations/run.html", {**admin.site.each_context(request), **context})


@page_permission(VIEW_RUN_PERMISSION)
def run_log(request: HttpRequest, pk: int) -> HttpResponse:
    run = get_object_or_404(IngestionRun, pk=pk)
    now = timezone.now()
    lines = [(format_clock(line.at, now), line) for line in run.log_lines.all()]
    return render(request, "operations/run_log.html", {"run": run, "log_lines": lines})


def _failed_run(last: IngestionRun | None) -> int | None:
    """The number of the last finished run if a person may want to repeat it."""
    return last.pk if last is not None and last.status in PROBLEM_STATUSES else None


def _last_warnings(run: IngestionRun, now: datetime) -> list[tuple[str, RunLogLine]]:
    """The last lines of the run's log above INFO, oldest first."""
    lines = run.log_lines.filter(level__in=("WARNING", "ERROR", "CRITICAL")).order_by("-pk")
    return [(format_clock(line.at, now), line) for line in reversed(lines[:MAX_WARNINGS])]


def _window_days(request: HttpRequest) -> int:
    requested = request.GET.get("days", "")
    return next((days for days in WINDOW_CHOICES if str(days) == requested), DEFAULT_WINDOW)


def _incident_state(incidents: Iterable[Incident]) -> str:
    """A string that changes when an incident is opened or resolved."""
    numbers = [incident.pk for incident in incidents]
    return f"{len(numbers)}-{max(numbers, default=0)}"


def _progress_context(newest: IngestionRun | None, now: datetime) -> dict[str, Any]:
    context: dict[str, Any] = {
        "run_state": f"{newest.pk}-{newest.status}" if newest else "none",
        "progress": None,
    }
    if newest is None or newest.status != IngestionRun.Status.RUNNING:
        return context
    total = newest.stage_total
    share = min(newest.stage_done / total, 1.0) if total else None
    context["progress"] = {
        "run": newest,
        "stage": run_details.format_stage(newest.stage or "starting"),
        "duration": format_age((now - newest.started_at).total_seconds()),
        "done": format_number(newest.stage_done),
        "total": format_number(total) if total else "",
        "percent": format_percent(round(share, 2)) if share is not None else "",
        "share": f"{share:.3f}" if share is not None else "",
        "heartbeat_age": format_age((now - newest.heartbeat_at).total_seconds()),
    }
    return context


def _run_row(run: IngestionRun, now: datetime) -> dict[str, Any]:
    return {
        "run": run,
        "started": format_clock(run.started_at, now),
        "duration": format_duration(_run_seconds(run, now)),
        "counts": [format_number(count) for count in (run.received, run.new, run.changed, run.missing)],
        "rejected": format_number(run.rejected),
        "rejections_url": run_details.rejections_url(run),
    }


def _run_facts(run: IngestionRun, now: datetime) -> list[tuple[str, str]]:
    started = (run.started_at.isoformat(), format_datetime(run.started_at))
    facts: list[tuple[str, str]] = [
        (_("Started"), format_html('<time datetime="{}">{}</time>', *started)),
        (_("Duration") if run.finished_at else _("Running for"), format_duration(_run_seconds(run, now))),
        (_("Trigger"), run.get_trigger_display()),
        (_("Slot"), run.slot),
        (_("Host"), _("{host}, process {pid}").format(host=run.host, pid=run.pid)),
    ]
    cost = [
        (_("CPU time"), format_measure(run.cpu_seconds, "seconds")),
        (_("Peak memory"), format_measure(run.peak_memory, "bytes")),
        (_("Bytes received"), format_measure(run.bytes, "bytes")),
        (_("Throughput"), format_measure(run.rows_per_second, "rows/s")),
    ]
    # Measured at the end of a run: a running or abandoned run has no values yet.
    return [(name, value) for name, value in [*facts, *(cost if run.peak_memory else [])] if value]


def _run_seconds(run: IngestionRun, now: datetime) -> float:
    return ((run.finished_at or now) - run.started_at).total_seconds()


def _model_context(now: datetime) -> dict[str, Any]:
    serving = current_model()
    # The message is also an API field, with backticks around commands.
    degraded = stored_text(serving.degraded.replace("`", "")) if serving.degraded else ""
    if serving.model is None:
        return {"degraded": degraded}
    version = serving.model.version
    ndcg, popularity_ndcg = read_metric(version, version.method), read_metric(version, "popularity")
    return {
        "degraded": degraded,
        "version": version,
        "age": format_age((now - version.created_at).total_seconds()),
        "cut_off": format_datetime(version.cut_off),
        "size": _("{songs} songs, {listeners} listeners, {clusters} clusters").format(
            songs=format_number(version.n_songs),
            listeners=format_number(version.n_listeners),
            clusters=format_number(version.n_clusters),
        ),
        "ndcg": localize_decimals(f"{ndcg:.4f}") if ndcg is not None else "",
        "ndcg_ratio": localize_decimals(f"{ndcg / popularity_ndcg:.1f}") if ndcg and popularity_ndcg else "",
    }

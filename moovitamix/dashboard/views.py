"""The operations pages: whether all is well, and how one run went. For staff."""

from datetime import datetime, timedelta
from typing import Any, Final

from django.conf import settings
from django.contrib import admin
from django.contrib.admin.views.decorators import staff_member_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils import timezone

from ingestion.models import IngestionRun
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
)
from moovitamix.dashboard.headline import build_headline
from moovitamix.dashboard.queries import DEFAULT_WINDOW, MAX_LISTED_INCIDENTS, WINDOW_CHOICES
from recommender.dashboard.tables import read_metric
from recommender.services import current_model

# Who may see what names a person in a refused row.
VIEW_PERSONAL_DATA_PERMISSION: Final = "ingestion.view_personal_data"
START_RUN_PERMISSION: Final = "ingestion.add_ingestionrun"


@staff_member_required
def operations_page(request: HttpRequest) -> HttpResponse:
    """The front page: the headline, what is wrong, the six metrics, the last runs, what comes next."""
    now = timezone.now()
    past = queries.load_run_window(_window_days(request), now)
    troubles = queries.list_open_incidents(now)
    due = queries.list_scheduled_entries(now)
    next_run = queries.next_ingestion_at(due)
    signs = queries.list_heartbeats(now)
    oldest = timedelta(hours=settings.MAX_DATA_AGE_HOURS)
    context = {
        "title": "Operations",
        "headline": build_headline(past, troubles, signs, next_run, now, max_data_age=oldest),
        "troubles": troubles[:MAX_LISTED_INCIDENTS],
        "more_troubles": len(troubles) > MAX_LISTED_INCIDENTS,
        "cards": build_cards(past, now),
        "windows": WINDOW_CHOICES,
        "past": past,
        "runs": [_run_row(run, now) for run in past.newest],
        "runs_url": runs_url(past.since),
        "due": due,
        "signs": signs,
        "model": _model_context(now),
        "may_start": request.user.has_perm(START_RUN_PERMISSION),
        "zone": settings.TIME_ZONE,
        "read_at": format_clock(now, now),
        **_progress_context(past.newest[0] if past.newest else None, now),
    }
    return render(request, "operations/dashboard.html", {**admin.site.each_context(request), **context})


def run_progress(request: HttpRequest) -> HttpResponse:
    """How far the newest run is: a piece of a page that asks for it every few seconds.

    The page says what it shows; as soon as that is not so any more, it is told to read itself anew.
    """
    if not admin.site.has_permission(request):
        # A redirect would put the login into the middle of the page.
        return HttpResponse(status=204, headers={"HX-Refresh": "true"})
    newest = IngestionRun.objects.order_by("-pk").first()
    context = _progress_context(newest, timezone.now())
    answer = render(request, "operations/live.html", context)
    if request.GET.get("seen") != context["seen"]:
        answer["HX-Refresh"] = "true"
    return answer


@staff_member_required
def run_detail(request: HttpRequest, pk: int) -> HttpResponse:
    """One run: what it did when, to which rows, and whether that is usual."""
    now = timezone.now()
    run = get_object_or_404(run_details.runs_with_neighbours(), pk=pk)
    reports, judged = list(run.reports.all()), run_details.list_checked_measures(run)
    context = {
        "title": f"Run {run.pk}",
        "run": run,
        "facts": _run_facts(run, now),
        "stages": run_details.build_stage_bars(run, now),
        "resources": run_details.build_resource_table(run, reports) if reports else None,
        "refused": run_details.group_rejections(
            run, show_personal_data=request.user.has_perm(VIEW_PERSONAL_DATA_PERMISSION)
        ),
        "refused_url": run_details.rejections_url(run),
        "differences": run_details.list_field_changes(reports),
        "unusual": [one for one in judged if one.is_unusual],
        "usual": [one for one in judged if not one.is_unusual],
        "incidents": run_details.list_run_incidents(run, now),
        "beside": {"before": run.before, "after": run.after},
        "zone": settings.TIME_ZONE,
        "runs_before": run_details.RUNS_BEFORE,
        **_progress_context(run, now),
    }
    return render(request, "operations/run.html", {**admin.site.each_context(request), **context})


def _window_days(request: HttpRequest) -> int:
    """The days asked for, if they are on offer."""
    asked = request.GET.get("days", "")
    return next((days for days in WINDOW_CHOICES if str(days) == asked), DEFAULT_WINDOW)


def _progress_context(newest: IngestionRun | None, now: datetime) -> dict[str, Any]:
    context: dict[str, Any] = {"seen": f"{newest.pk}-{newest.status}" if newest else "none", "at_work": None}
    if newest is None or newest.status != IngestionRun.Status.RUNNING:
        return context
    total = newest.stage_total
    share = min(newest.stage_done / total, 1.0) if total else None
    context["at_work"] = {
        "run": newest,
        "running": format_age((now - newest.started_at).total_seconds()),
        "done": format_number(newest.stage_done),
        "total": format_number(total) if total else "",
        "percent": format_percent(round(share, 2)) if share is not None else "",
        "share": f"{share:.3f}" if share is not None else "",
        "silent": format_age((now - newest.heartbeat_at).total_seconds()),
    }
    return context


def _run_row(run: IngestionRun, now: datetime) -> dict[str, Any]:
    took = ((run.finished_at or now) - run.started_at).total_seconds()
    return {
        "run": run,
        "at": format_clock(run.started_at, now),
        "took": format_duration(took),
        "counts": [format_number(count) for count in (run.received, run.new, run.changed, run.missing)],
        "refused": format_number(run.rejected),
        "refused_url": run_details.rejections_url(run),
    }


def _run_facts(run: IngestionRun, now: datetime) -> list[tuple[str, str]]:
    took = ((run.finished_at or now) - run.started_at).total_seconds()
    facts = [
        ("Started", format_datetime(run.started_at)),
        ("Took" if run.finished_at else "At work for", format_duration(took)),
        ("Started by", run.get_trigger_display()),
        ("Slot", run.slot),
        ("On", f"{run.host}, process {run.pid}"),
    ]
    cost = [
        ("CPU time", format_measure(run.cpu_seconds, "seconds")),
        ("Peak memory", format_measure(run.peak_memory, "bytes")),
        ("Received", format_measure(run.bytes, "bytes")),
        ("Speed", format_measure(run.rows_per_second, "rows/s")),
    ]
    # Measured at the end: nothing is known of a run that is at work or died.
    return [(name, value) for name, value in [*facts, *(cost if run.peak_memory else [])] if value]


def _model_context(now: datetime) -> dict[str, Any]:
    """What serves now, how old it is and how good it was on the latest week."""
    serving = current_model()
    # The API shows commands between backticks.
    degraded = (serving.degraded or "").replace("`", "")
    if serving.model is None:
        return {"degraded": degraded}
    version = serving.model.version
    ours, popular = read_metric(version, version.method), read_metric(version, "popularity")
    return {
        "degraded": degraded,
        "version": version,
        "age": format_age((now - version.created_at).total_seconds()),
        "learnt": format_datetime(version.cut_off),
        "size": f"{format_number(version.n_songs)} songs, {format_number(version.n_listeners)} listeners, "
        f"{format_number(version.n_clusters)} clusters",
        "ndcg": f"{ours:.4f}" if ours is not None else "",
        "against": f"{ours / popular:.1f}" if ours and popular else "",
    }

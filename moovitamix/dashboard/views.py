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
from moovitamix.dashboard.cards import cards, runs_url
from moovitamix.dashboard.formatting import clock, figure, number, percent, short_span, span, stamp
from moovitamix.dashboard.headline import headline
from moovitamix.dashboard.queries import SHOWN_INCIDENTS, USUAL_WINDOW, WINDOWS
from recommender.dashboard.tables import metric
from recommender.services import loaded

# Who may see what names a person in a refused row.
PERSONAL_DATA: Final = "ingestion.view_personal_data"
START: Final = "ingestion.add_ingestionrun"


@staff_member_required
def operations(request: HttpRequest) -> HttpResponse:
    """The front page: the headline, what is wrong, the six metrics, the last runs, what comes next."""
    now = timezone.now()
    past = queries.past(_window(request), now)
    troubles = queries.troubles(now)
    due = queries.timetable(now)
    next_run = queries.next_run(due)
    signs = queries.signs(now)
    oldest = timedelta(hours=settings.MAX_DATA_AGE_HOURS)
    context = {
        "title": "Operations",
        "headline": headline(past, troubles, signs, next_run, now, oldest=oldest),
        "troubles": troubles[:SHOWN_INCIDENTS],
        "more_troubles": len(troubles) > SHOWN_INCIDENTS,
        "cards": cards(past, now),
        "windows": WINDOWS,
        "past": past,
        "runs": [_run_row(run, now) for run in past.newest],
        "runs_url": runs_url(past.since),
        "due": due,
        "signs": signs,
        "model": _model(now),
        "may_start": request.user.has_perm(START),
        "zone": settings.TIME_ZONE,
        "read_at": clock(now, now),
        **_live(past.newest[0] if past.newest else None, now),
    }
    return render(request, "operations/dashboard.html", {**admin.site.each_context(request), **context})


def live(request: HttpRequest) -> HttpResponse:
    """How far the newest run is: a piece of a page that asks for it every few seconds.

    The page says what it shows; as soon as that is not so any more, it is told to read itself anew.
    """
    if not admin.site.has_permission(request):
        # A redirect would put the login into the middle of the page.
        return HttpResponse(status=204, headers={"HX-Refresh": "true"})
    newest = IngestionRun.objects.order_by("-pk").first()
    context = _live(newest, timezone.now())
    answer = render(request, "operations/live.html", context)
    if request.GET.get("seen") != context["seen"]:
        answer["HX-Refresh"] = "true"
    return answer


@staff_member_required
def run_page(request: HttpRequest, pk: int) -> HttpResponse:
    """One run: what it did when, to which rows, and whether that is usual."""
    now = timezone.now()
    run = get_object_or_404(run_details.between_others(), pk=pk)
    reports, judged = list(run.reports.all()), run_details.judged(run)
    context = {
        "title": f"Run {run.pk}",
        "run": run,
        "facts": _facts(run, now),
        "stages": run_details.stages(run, now),
        "resources": run_details.resources(run, reports) if reports else None,
        "refused": run_details.refused(run, may_see_persons=request.user.has_perm(PERSONAL_DATA)),
        "refused_url": run_details.refused_url(run),
        "differences": run_details.differences(reports),
        "unusual": [one for one in judged if one.is_unusual],
        "usual": [one for one in judged if not one.is_unusual],
        "incidents": run_details.incidents_of(run, now),
        "beside": {"before": run.before, "after": run.after},
        "zone": settings.TIME_ZONE,
        "runs_before": run_details.RUNS_BEFORE,
        **_live(run, now),
    }
    return render(request, "operations/run.html", {**admin.site.each_context(request), **context})


def _window(request: HttpRequest) -> int:
    """The days asked for, if they are on offer."""
    asked = request.GET.get("days", "")
    return next((days for days in WINDOWS if str(days) == asked), USUAL_WINDOW)


def _live(newest: IngestionRun | None, now: datetime) -> dict[str, Any]:
    context: dict[str, Any] = {"seen": f"{newest.pk}-{newest.status}" if newest else "none", "at_work": None}
    if newest is None or newest.status != IngestionRun.Status.RUNNING:
        return context
    total = newest.stage_total
    share = min(newest.stage_done / total, 1.0) if total else None
    context["at_work"] = {
        "run": newest,
        "running": span((now - newest.started_at).total_seconds()),
        "done": number(newest.stage_done),
        "total": number(total) if total else "",
        "percent": percent(round(share, 2)) if share is not None else "",
        "share": f"{share:.3f}" if share is not None else "",
        "silent": span((now - newest.heartbeat_at).total_seconds()),
    }
    return context


def _run_row(run: IngestionRun, now: datetime) -> dict[str, Any]:
    took = ((run.finished_at or now) - run.started_at).total_seconds()
    return {
        "run": run,
        "at": clock(run.started_at, now),
        "took": short_span(took),
        "counts": [number(count) for count in (run.received, run.new, run.changed, run.missing)],
        "refused": number(run.rejected),
        "refused_url": run_details.refused_url(run),
    }


def _facts(run: IngestionRun, now: datetime) -> list[tuple[str, str]]:
    took = ((run.finished_at or now) - run.started_at).total_seconds()
    facts = [
        ("Started", stamp(run.started_at)),
        ("Took" if run.finished_at else "At work for", short_span(took)),
        ("Started by", run.get_trigger_display()),
        ("Slot", run.slot),
        ("On", f"{run.host}, process {run.pid}"),
    ]
    cost = [
        ("CPU time", figure(run.cpu_seconds, "seconds")),
        ("Peak memory", figure(run.peak_memory, "bytes")),
        ("Received", figure(run.bytes, "bytes")),
        ("Speed", figure(run.rows_per_second, "rows/s")),
    ]
    # Measured at the end: nothing is known of a run that is at work or died.
    return [(name, value) for name, value in [*facts, *(cost if run.peak_memory else [])] if value]


def _model(now: datetime) -> dict[str, Any]:
    """What serves now, how old it is and how good it was on the latest week."""
    serving = loaded()
    # The API shows commands between backticks.
    degraded = (serving.degraded or "").replace("`", "")
    if serving.model is None:
        return {"degraded": degraded}
    version = serving.model.version
    ours, popular = metric(version, version.method), metric(version, "popularity")
    return {
        "degraded": degraded,
        "version": version,
        "age": span((now - version.created_at).total_seconds()),
        "learnt": stamp(version.cut_off),
        "size": f"{number(version.n_songs)} songs, {number(version.n_listeners)} listeners, "
        f"{number(version.n_clusters)} clusters",
        "ndcg": f"{ours:.4f}" if ours is not None else "",
        "against": f"{ours / popular:.1f}" if ours and popular else "",
    }

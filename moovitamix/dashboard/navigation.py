"""The admin's sidebar menu and the context of its index page."""

from typing import Any, Final

from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from ingestion.models import IngestionRun, ResourceReport
from ingestion.schedules import next_due
from moovitamix.dashboard.formatting import capitalize_first, format_number
from moovitamix.operations.service_state import RUN_PHRASES

VIEW_RUN_PERMISSION: Final = "ingestion.view_ingestionrun"
PAGE_PERMISSIONS: Final = {
    "home": VIEW_RUN_PERMISSION,
    "models": "recommender.view_modelversion",
    "listen": "ingestion.view_listener",
}
NO_RUN_HINT = "Start a run with “Run now” in the list of ingestion runs, or with: python manage.py runingest"
# All of it is seen at 1280 x 900; `tabs` has the lists that share an entry.
SIDEBAR_SECTIONS = {
    "Ingestion": [
        ("Operations", "monitoring", "home"),
        ("Incidents", "notification_important", "admin:ingestion_incident_changelist"),
        ("Ingestion runs", "history", "admin:ingestion_ingestionrun_changelist"),
    ],
    "Catalogue": [
        ("Songs", "music_note", "admin:ingestion_song_changelist"),
        ("Listeners", "group", "admin:ingestion_listener_changelist"),
        ("Listening history", "headphones", "admin:ingestion_listeninghistory_changelist"),
    ],
    "Recommendations": [
        ("Models", "monitoring", "models"),
        ("Listener page", "graphic_eq", "listen"),
        ("Model versions", "model_training", "admin:recommender_modelversion_changelist"),
        ("Experiments", "science", "admin:recommender_experiment_changelist"),
        ("Drift reports", "trending_up", "admin:recommender_driftreport_changelist"),
        ("Served lists", "queue_music", "admin:recommender_servedlist_changelist"),
        ("Names", "label", "admin:recommender_clusternamerule_changelist"),
    ],
    "System": [
        ("Scheduled tasks", "schedule", "admin:django_celery_beat_periodictask_changelist"),
        ("API documentation", "api", "api-docs"),
        ("API keys", "key", "admin:recommender_apikey_changelist"),
        ("Webhooks", "webhook", "admin:ingestion_webhook_changelist"),
        ("Audit trail", "policy", "admin:ingestion_auditentry_changelist"),
        ("User accounts", "manage_accounts", "admin:auth_user_changelist"),
        ("Your two-factor login", "lock", "two-factor"),
    ],
}


def admin_index(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    if not request.user.has_perm(VIEW_RUN_PERMISSION):
        context["headline"] = "You have no role yet"
        context["detail"] = "Ask an owner to add you to the group viewer, operator or owner."
        return context
    runs = list(IngestionRun.objects.all()[:8])
    last = runs[0] if runs else None
    context.update(
        last_run=last,
        headline=f"Run {last.pk} {RUN_PHRASES[last.status]}" if last else "No data has been imported yet",
        detail=_run_detail(last) if last else NO_RUN_HINT,
        reports=[_report_card(report) for report in last.reports.all()] if last else [],
        next_due=next_due(timezone.now()),
        runs={
            "headers": ["Run", "Status", "Started (UTC)", "Rows received", "New", "Changed", "Rejected"],
            "rows": [_run_row(run) for run in runs],
        },
    )
    return context


def sidebar_sections(request: HttpRequest) -> list[dict[str, Any]]:
    return [
        {
            "title": title,
            "separator": n > 0,
            "items": items,
        }
        for n, (title, entries) in enumerate(SIDEBAR_SECTIONS.items())
        if (items := [_sidebar_entry(request, *entry) for entry in entries if _may_open(request, entry[2])])
    ]


def _may_open(request: HttpRequest, page: str) -> bool:
    """Whether the user has the permission that the page requires; for admin lists, that of their model."""
    if page in PAGE_PERMISSIONS:
        return request.user.has_perm(PAGE_PERMISSIONS[page])
    if not page.startswith("admin:"):
        return True
    app, _, model = page.removeprefix("admin:").removesuffix("_changelist").rpartition("_")
    return request.user.has_perm(f"{app}.view_{model}")


def _sidebar_entry(request: HttpRequest, name: str, icon: str, page: str) -> dict[str, Any]:
    # A string: Unfold compares each link with each tab's, and would look a lazy one up every time.
    entry: dict[str, Any] = {"title": name, "icon": icon, "link": reverse(page)}
    if page == "home":
        # Unfold marks an entry active if the path contains its link, and every path contains "/".
        entry["active"] = request.path == "/" or request.path.startswith("/runs/")
    return entry


def _run_detail(run: IngestionRun) -> str:
    started = f"Started {run.started_at:%Y-%m-%d %H:%M} UTC."
    return " ".join(part for part in (started, run.error, f"{run.summary}." if run.summary else "") if part)


def _report_card(report: ResourceReport) -> dict[str, str]:
    counts = ("new", "changed", "unchanged", "rejected", "missing")
    return {
        "title": capitalize_first(report.get_resource_display()),
        "received": format_number(report.received),
        "counts": ", ".join(f"{format_number(getattr(report, name))} {name}" for name in counts),
    }


def _run_row(run: IngestionRun) -> list[SafeString | str]:
    url = reverse("run", args=[run.pk])
    return [
        format_html('<a class="text-primary-600 dark:text-primary-500" href="{}">Run {}</a>', url, run.pk),
        run.get_status_display(),
        f"{run.started_at:%Y-%m-%d %H:%M}",
        *(format_number(count) for count in (run.received, run.new, run.changed, run.rejected)),
    ]

"""The admin's sidebar menu and the context of its index page."""

from typing import Any, Final

from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from ingestion.models import IngestionRun, ResourceReport
from ingestion.schedules import next_due
from ingestion.stored_sentences import run_summary
from moovitamix.dashboard.formatting import capitalize_first, format_number
from moovitamix.operations.service_state import RUN_PHRASES

VIEW_RUN_PERMISSION: Final = "ingestion.view_ingestionrun"
PAGE_PERMISSIONS: Final = {
    "home": VIEW_RUN_PERMISSION,
    "models": "recommender.view_modelversion",
    "listen": "ingestion.view_listener",
}
NO_RUN_HINT = gettext_noop(
    "Start a run with “Run now” in the list of ingestion runs, or with: python manage.py runingest"
)
# All of it is seen at 1280 x 900; `tabs` has the lists that share an entry.
SIDEBAR_SECTIONS = {
    gettext_noop("Ingestion"): [
        (gettext_noop("Operations"), "monitoring", "home"),
        (gettext_noop("Incidents"), "notification_important", "admin:ingestion_incident_changelist"),
        (gettext_noop("Ingestion runs"), "history", "admin:ingestion_ingestionrun_changelist"),
    ],
    gettext_noop("Catalogue"): [
        (gettext_noop("Songs"), "music_note", "admin:ingestion_song_changelist"),
        (gettext_noop("Listeners"), "group", "admin:ingestion_listener_changelist"),
        (gettext_noop("Listening history"), "headphones", "admin:ingestion_listeninghistory_changelist"),
    ],
    gettext_noop("Recommendations"): [
        (gettext_noop("Models"), "monitoring", "models"),
        (gettext_noop("Listener page"), "graphic_eq", "listen"),
        (gettext_noop("Model versions"), "model_training", "admin:recommender_modelversion_changelist"),
        (gettext_noop("Experiments"), "science", "admin:recommender_experiment_changelist"),
        (gettext_noop("Drift reports"), "trending_up", "admin:recommender_driftreport_changelist"),
        (gettext_noop("Served lists"), "queue_music", "admin:recommender_servedlist_changelist"),
        (gettext_noop("Names"), "label", "admin:recommender_clusternamerule_changelist"),
    ],
    gettext_noop("System"): [
        (gettext_noop("Periodic tasks"), "schedule", "admin:django_celery_beat_periodictask_changelist"),
        (gettext_noop("API documentation"), "api", "api-docs"),
        (gettext_noop("API keys"), "key", "admin:recommender_apikey_changelist"),
        (gettext_noop("Webhooks"), "webhook", "admin:ingestion_webhook_changelist"),
        (gettext_noop("Audit trail"), "policy", "admin:ingestion_auditentry_changelist"),
        (gettext_noop("User accounts"), "manage_accounts", "admin:auth_user_changelist"),
        (gettext_noop("Your two-factor login"), "lock", "two-factor"),
    ],
}


def admin_index(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    if not request.user.has_perm(VIEW_RUN_PERMISSION):
        context["headline"] = _("You have no role yet")
        context["detail"] = _("Ask an owner to add you to the group viewer, operator or owner.")
        return context
    runs = list(IngestionRun.objects.all()[:8])
    last = runs[0] if runs else None
    context.update(
        last_run=last,
        headline=_("Run {run} {result}").format(run=last.pk, result=_(RUN_PHRASES[last.status]))
        if last
        else _("No data has been imported yet"),
        detail=_run_detail(last) if last else _(NO_RUN_HINT),
        reports=[_report_card(report) for report in last.reports.all()] if last else [],
        next_due=next_due(timezone.now()),
        runs={
            "headers": [
                _("Run"),
                _("Status"),
                _("Started (UTC)"),
                _("Rows received"),
                _("New"),
                _("Changed"),
                _("Rejected"),
            ],
            "rows": [_run_row(run) for run in runs],
        },
    )
    return context


def sidebar_sections(request: HttpRequest) -> list[dict[str, Any]]:
    return [
        {
            "title": _(title),
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
    entry: dict[str, Any] = {"title": _(name), "icon": icon, "link": reverse(page)}
    if page == "home":
        # Unfold marks an entry active if the path contains its link, and every path contains "/".
        entry["active"] = request.path == "/" or request.path.startswith("/runs/")
    return entry


def _run_detail(run: IngestionRun) -> SafeString:
    started = _("Started {started_at:%Y-%m-%d %H:%M} UTC.").format(started_at=run.started_at)
    summary = format_html("{}.", run_summary(run.summary)) if run.summary else ""
    return format_html_join(" ", "{}", ((part,) for part in (started, run.error, summary) if part))


def _report_card(report: ResourceReport) -> dict[str, str]:
    counts = {
        "new": _("{n} new"),
        "changed": _("{n} changed"),
        "unchanged": _("{n} unchanged"),
        "rejected": _("{n} rejected"),
        "missing": _("{n} missing"),
    }
    return {
        "title": capitalize_first(report.get_resource_display()),
        "received": format_number(report.received),
        "counts": ", ".join(
            text.format(n=format_number(getattr(report, name))) for name, text in counts.items()
        ),
    }


def _run_row(run: IngestionRun) -> list[SafeString | str]:
    url = reverse("run", args=[run.pk])
    return [
        format_html(
            '<a class="text-primary-600 dark:text-primary-500" href="{}">{}</a>',
            url,
            _("Run {run}").format(run=run.pk),
        ),
        run.get_status_display(),
        f"{run.started_at:%Y-%m-%d %H:%M}",
        *(format_number(count) for count in (run.received, run.new, run.changed, run.rejected)),
    ]

"""The front page, which joins both rooms."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse, reverse_lazy
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from ingestion.models import IngestionRun
from ingestion.schedules import next_due

HEADLINES = {
    "running": "Run {pk} is at work",
    "succeeded": "The last run succeeded",
    "partial": "The last run is partial: look at why",
    "failed": "The last run failed: the catalogue is as it was",
    "refused": "The last run was refused: the source looks like another catalogue",
    "abandoned": "The last run died half-way; the next one goes on from there",
}
NO_RUN = "Start a run with “Run now” on the page of the runs, or with: python manage.py runingest"


def home(request: HttpRequest) -> HttpResponse:
    """The way in: the admin, until there is a page of its own."""
    return redirect("admin:index")


def admin_index(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """What the admin's first page shows: the last run, its volumes, the runs before it."""
    runs = list(IngestionRun.objects.all()[:8])
    last = runs[0] if runs else None
    context.update(
        last_run=last,
        headline=HEADLINES[last.status].format(pk=last.pk) if last else "Nothing was read yet",
        detail=_detail(last) if last else NO_RUN,
        reports=list(last.reports.all()) if last else [],
        next_due=next_due(timezone.now()),
        runs={
            "headers": ["Run", "Status", "Started (UTC)", "Rows", "New", "Changed", "Rejected"],
            "rows": [_row(run) for run in runs],
        },
    )
    return context


def navigation(request: HttpRequest) -> list[dict[str, Any]]:
    """The sidebar: what a person looks for, by their words."""
    pages = {
        "Ingestion": [
            ("Overview", "monitoring", "index"),
            ("Runs", "history", "ingestion_ingestionrun_changelist"),
            ("Refused rows", "report", "ingestion_rejection_changelist"),
        ],
        "Catalogue": [
            ("Songs", "music_note", "ingestion_song_changelist"),
            ("Listeners", "group", "ingestion_listener_changelist"),
            ("Listening history", "headphones", "ingestion_listeninghistory_changelist"),
        ],
        "Operation": [
            ("Schedules", "schedule", "django_celery_beat_periodictask_changelist"),
            ("Task results", "task_alt", "django_celery_results_taskresult_changelist"),
            ("People", "manage_accounts", "auth_user_changelist"),
        ],
    }
    return [
        {
            "title": title,
            "separator": True,
            "items": [
                {"title": name, "icon": icon, "link": reverse_lazy(f"admin:{page}")}
                for name, icon, page in entries
            ],
        }
        for title, entries in pages.items()
    ]


def _detail(run: IngestionRun) -> str:
    started = f"Started {run.started_at:%Y-%m-%d %H:%M} UTC."
    return " ".join(part for part in (started, run.error, f"{run.summary}." if run.summary else "") if part)


def _row(run: IngestionRun) -> list[SafeString | str | int]:
    url = reverse("admin:ingestion_ingestionrun_change", args=[run.pk])
    return [
        format_html('<a class="text-primary-600 dark:text-primary-500" href="{}">Run {}</a>', url, run.pk),
        run.get_status_display(),
        f"{run.started_at:%Y-%m-%d %H:%M:%S}",
        run.received,
        run.new,
        run.changed,
        run.rejected,
    ]

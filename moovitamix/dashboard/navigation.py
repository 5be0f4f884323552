"""The front page, the state of the data and of the service: what joins both rooms."""

from typing import Any

from django.http import HttpRequest
from django.urls import reverse, reverse_lazy
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from ingestion.models import IngestionRun
from ingestion.schedules import next_due

RUN_HEADLINES = {
    "running": "Run {pk} is at work",
    "succeeded": "The last run succeeded",
    "partial": "The last run is partial: look at why",
    "failed": "The last run failed: the catalogue is as it was",
    "refused": "The last run was refused: the source looks like another catalogue",
    "abandoned": "The last run died half-way; the next one goes on from there",
}
NO_RUN_HINT = "Start a run with “Run now” on the page of the runs, or with: python manage.py runingest"
SIDEBAR_SECTIONS = {
    "Ingestion": [
        ("Operations", "monitoring", "home"),
        ("Incidents", "notification_important", "admin:ingestion_incident_changelist"),
        ("Runs", "history", "admin:ingestion_ingestionrun_changelist"),
        ("Refused rows", "report", "admin:ingestion_rejection_changelist"),
    ],
    "Catalogue": [
        ("Songs", "music_note", "admin:ingestion_song_changelist"),
        ("Listeners", "group", "admin:ingestion_listener_changelist"),
        ("Listening history", "headphones", "admin:ingestion_listeninghistory_changelist"),
    ],
    "Recommendations": [
        ("Models", "monitoring", "models"),
        ("Try a listener", "graphic_eq", "listen"),
        ("Versions", "model_training", "admin:recommender_modelversion_changelist"),
        ("Trainings", "exercise", "admin:recommender_trainingrun_changelist"),
        ("Ledger", "trophy", "admin:recommender_promotion_changelist"),
        ("Tests", "science", "admin:recommender_experiment_changelist"),
        ("Drift", "trending_up", "admin:recommender_driftreport_changelist"),
        ("Served lists", "queue_music", "admin:recommender_servedlist_changelist"),
        ("Feedback", "thumb_up", "admin:recommender_feedback_changelist"),
    ],
    "Operation": [
        ("Messages sent", "send", "admin:ingestion_notification_changelist"),
        ("Schedules", "schedule", "admin:django_celery_beat_periodictask_changelist"),
        ("Task results", "task_alt", "admin:django_celery_results_taskresult_changelist"),
        ("API keys", "key", "admin:recommender_apikey_changelist"),
        ("API documentation", "api", "api-docs"),
        ("People", "manage_accounts", "admin:auth_user_changelist"),
    ],
}


def admin_index(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """What the admin's first page shows: the last run, its volumes, the runs before it."""
    runs = list(IngestionRun.objects.all()[:8])
    last = runs[0] if runs else None
    context.update(
        last_run=last,
        headline=RUN_HEADLINES[last.status].format(pk=last.pk) if last else "Nothing was read yet",
        detail=_run_detail(last) if last else NO_RUN_HINT,
        reports=list(last.reports.all()) if last else [],
        next_due=next_due(timezone.now()),
        runs={
            "headers": ["Run", "Status", "Started (UTC)", "Rows", "New", "Changed", "Rejected"],
            "rows": [_run_row(run) for run in runs],
        },
    )
    return context


def sidebar_sections(request: HttpRequest) -> list[dict[str, Any]]:
    """The sidebar: what a person looks for, by their words."""
    return [
        {
            "title": title,
            "separator": True,
            "items": [_sidebar_entry(request, *entry) for entry in entries],
        }
        for title, entries in SIDEBAR_SECTIONS.items()
    ]


def _sidebar_entry(request: HttpRequest, name: str, icon: str, page: str) -> dict[str, Any]:
    entry: dict[str, Any] = {"title": name, "icon": icon, "link": reverse_lazy(page)}
    if page == "home":
        # Every path holds "/", and so this entry would always look chosen.
        entry["active"] = request.path == "/" or request.path.startswith("/runs/")
    return entry


def _run_detail(run: IngestionRun) -> str:
    started = f"Started {run.started_at:%Y-%m-%d %H:%M} UTC."
    return " ".join(part for part in (started, run.error, f"{run.summary}." if run.summary else "") if part)


def _run_row(run: IngestionRun) -> list[SafeString | str | int]:
    url = reverse("run", args=[run.pk])
    return [
        format_html('<a class="text-primary-600 dark:text-primary-500" href="{}">Run {}</a>', url, run.pk),
        run.get_status_display(),
        f"{run.started_at:%Y-%m-%d %H:%M:%S}",
        run.received,
        run.new,
        run.changed,
        run.rejected,
    ]

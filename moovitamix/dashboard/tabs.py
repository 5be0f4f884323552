"""Tabs above the admin's lists: lists on one subject share an entry in the menu."""

from collections.abc import Callable
from typing import Any, Final

from django.http import HttpRequest
from django.urls import reverse

# The first list of each group is the menu's entry.
GROUPS: Final = (
    (("ingestion.ingestionrun", "Runs"), ("ingestion.rejection", "Rejections"),
     ("ingestion.anomalycheck", "Anomaly checks"), ("ingestion.baselinereset", "Range resets")),
    (("ingestion.incident", "Incidents"), ("ingestion.notification", "Notifications")),
    (("recommender.modelversion", "Versions"), ("recommender.trainingrun", "Training runs"),
     ("recommender.promotion", "Promotions")),
    (("recommender.servedlist", "Served lists"), ("recommender.feedback", "Feedback")),
    (("recommender.clusternamerule", "Cluster names"), ("recommender.genrealias", "Genre aliases"),
     ("recommender.nameword", "Words in cluster names")),
    (("django_celery_beat.periodictask", "Scheduled tasks"),
     ("django_celery_results.taskresult", "Task results")),
    (("ingestion.webhook", "Webhooks"), ("ingestion.webhookdelivery", "Deliveries")),
    (("auth.user", "Users"), ("auth.group", "Roles"), ("otp_totp.totpdevice", "Two-factor logins")),
)  # fmt: skip


def admin_tabs(_request: HttpRequest) -> list[dict[str, Any]]:
    """The tabs of all lists, for the setting UNFOLD["TABS"]."""
    return [
        {"models": [model for model, _title in group], "items": [_tab(*one) for one in group]}
        for group in GROUPS
    ]


def _tab(model: str, title: str) -> dict[str, Any]:
    app, name = model.split(".")
    link = reverse(f"admin:{app}_{name}_changelist")
    return {"title": title, "link": link, "permission": _may_view(f"{app}.view_{name}")}


def _may_view(permission: str) -> Callable[[HttpRequest], bool]:
    return lambda request: request.user.has_perm(permission)

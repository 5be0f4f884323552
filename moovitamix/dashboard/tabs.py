"""Tabs above the admin's lists: lists on one subject share an entry in the menu."""

from collections.abc import Callable
from typing import Any, Final

from django.http import HttpRequest
from django.urls import reverse
from django.utils.translation import gettext_lazy as _

# The first list of each group is the menu's entry.
GROUPS: Final = (
    (("ingestion.ingestionrun", _("Runs")), ("ingestion.rejection", _("Rejections")),
     ("ingestion.anomalycheck", _("Anomaly checks")),
     ("ingestion.baselinereset", _("Baseline resets"))),
    (("ingestion.incident", _("Incidents")), ("ingestion.notification", _("Notifications")),
     ("ingestion.alertchannel", _("Alert channels")),
     ("ingestion.maintenancewindow", _("Maintenance windows"))),
    (("recommender.modelversion", _("Versions")), ("recommender.trainingrun", _("Training runs")),
     ("recommender.promotion", _("Promotions"))),
    (("recommender.servedlist", _("Served lists")), ("recommender.feedback", _("Feedback"))),
    (("recommender.clusternamerule", _("Cluster names")), ("recommender.genrealias", _("Genre aliases")),
     ("recommender.nameword", _("Words in cluster names"))),
    (("django_celery_beat.periodictask", _("Periodic tasks")),
     ("django_celery_results.taskresult", _("Task results"))),
    (("ingestion.webhook", _("Webhooks")), ("ingestion.webhookdelivery", _("Deliveries"))),
    (("auth.user", _("Users")), ("auth.group", _("Roles")), ("otp_totp.totpdevice", _("Two-factor logins"))),
)  # fmt: skip


def admin_tabs(_request: HttpRequest) -> list[dict[str, Any]]:
    """The tabs of all lists, for the setting UNFOLD["TABS"]."""
    return [
        {"models": [model for model, _title in group], "items": [_tab(*one) for one in group]}
        for group in GROUPS
    ]


def _tab(model: str, title: object) -> dict[str, Any]:
    app, name = model.split(".")
    link = reverse(f"admin:{app}_{name}_changelist")
    return {"title": title, "link": link, "permission": _may_view(f"{app}.view_{name}")}


def _may_view(permission: str) -> Callable[[HttpRequest], bool]:
    return lambda request: request.user.has_perm(permission)

"""Admin of incidents and notifications. Incidents can be acknowledged and muted, but not edited."""

from datetime import timedelta
from typing import Any, Final

from django.conf import settings
from django.contrib import admin, messages
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone, translation
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import get_language, ngettext
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy
from django.utils.translation import gettext_noop as _n
from unfold.decorators import display

from ingestion.admin.base import ReadOnlyAdmin
from ingestion.alerts import incidents
from ingestion.alerts.channels import plain_text
from ingestion.alerts.messages.formatting import format_duration, format_time
from ingestion.alerts.messages.render import (
    IncidentText,
    kinds_described_by,
    render_incident,
    render_resolution,
    render_subject,
)
from ingestion.english import ENGLISH
from ingestion.models import Incident, Notification

SEVERITY_COLOURS = {"critical": "danger", "warning": "warning", "notice": "info"}
STATE_COLOURS = {"open": "danger", "acknowledged": "info", "muted": "info", "resolved": "success"}
NOTIFICATION_COLOURS = {"waiting": "info", "sending": "info", "sent": "success", "failed": "danger"}
# Newest notifications on an incident's page.
MAX_NOTIFICATIONS = 50


class IncidentStateFilter(admin.SimpleListFilter):
    title = _lazy("state")
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("open", _("Open")), ("unheard", _("Open, not acknowledged")),
                ("acknowledged", _("Acknowledged")), ("muted", _("Muted")),
                ("over", _("Resolved"))]  # fmt: skip

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        is_open = Q(resolved_at=None)
        conditions = {
            "open": is_open,
            "unheard": is_open & Q(acknowledged_at=None),
            "acknowledged": is_open & Q(acknowledged_at__isnull=False),
            "muted": is_open & Q(muted_until__gt=timezone.now()),
            "over": ~is_open,
        }
        return queryset.filter(conditions.get(self.value() or "", Q()))


@admin.register(Incident)
class IncidentAdmin(ReadOnlyAdmin):
    list_display = (
        "id",
        "severity_label",
        "problem",
        "state",
        "opened_at",
        "duration",
        "count",
        "seen_at",
    )  # more columns do not fit beside the menu at 1280 pixels
    list_display_links = ("id", "problem")
    # Each row renders a message text.
    list_per_page = 20
    list_filter = (IncidentStateFilter, "severity", ("kind", admin.AllValuesFieldListFilter), "opened_at")
    search_fields = ("=id", "key")
    search_help_text = _lazy(
        "Incident number, or part of the problem or of its key, such as data_stale:songs"
    )
    when_empty = _lazy("No problem has been detected yet. The watchdog opens an incident when it finds one.")
    change_form_before_template = "admin/ingestion/incident.html"
    actions = ("acknowledge", "mute_for_an_hour", "mute_for_eight_hours", "mute_for_a_day", "mute_for_a_week")
    fieldsets = (
        (None, {"fields": ("key", ("kind", "severity"))}),
        (
            _lazy("When"),
            {"fields": (("opened_at", "seen_at"), ("count", "told_at"), ("resolved_at", "end_told_at"))},
        ),
        (_lazy("People"), {"fields": (("acknowledged_by", "acknowledged_at"), "muted_until")}),
    )

    @display(description=_lazy("Severity"), ordering="severity", label=SEVERITY_COLOURS)
    def severity_label(self, incident: Incident) -> tuple[str, str]:
        return incident.severity, incident.get_severity_display()

    @display(description=_lazy("Problem"))
    def problem(self, incident: Incident) -> str:
        return render_subject(incident, get_language() or settings.LANGUAGE_CODE)

    @display(description=_lazy("State"), label=STATE_COLOURS)
    def state(self, incident: Incident) -> tuple[str, str]:
        return (state := incident_state(incident)), _(STATE_NAMES[state])

    @display(description=_lazy("Duration"), ordering="opened_at")
    def duration(self, incident: Incident) -> str:
        return format_duration(
            ((incident.resolved_at or timezone.now()) - incident.opened_at).total_seconds()
        )

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Search also in the problem, which is not stored, because it is shown in the reader's language."""
        found, may_have_duplicates = super().get_search_results(request, queryset, search_term)
        kinds = kinds_described_by(search_term, get_language() or settings.LANGUAGE_CODE)
        return (found | queryset.filter(kind__in=kinds) if kinds else found), may_have_duplicates

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        incident = self.get_object(request, object_id)
        context = self._incident_context(request, incident) if incident else {}
        page: HttpResponse = super().change_view(
            request, object_id, form_url, {**(extra_context or {}), **context}
        )
        return page

    def _incident_context(self, request: HttpRequest, incident: Incident) -> dict[str, Any]:
        language = get_language() or settings.LANGUAGE_CODE
        problem = render_incident(incident, language)
        resolution = render_resolution(incident, language) if incident.resolved_at else None
        text = resolution or problem
        actions = self.get_actions(request).items()
        return {
            "incident": incident,
            "subject": text.subject,
            "description": _description_rows(incident, text),
            "numbers": [
                *((name, value, "") for name, value in problem.lines),
                *(
                    (_("{name}, when resolved").format(name=name), value, "")
                    for name, value in (resolution.lines if resolution else ())
                ),
            ],
            "notifications": incident.notifications.order_by("-id")[:MAX_NOTIFICATIONS],
            "can_handle": resolution is None and self.has_handle_permission(request),
            "buttons": [(name, label) for name, (_, _, label) in actions if name in self.actions],
        }

    @admin.action(description=_lazy("Acknowledge"), permissions=["handle"])
    def acknowledge(self, request: HttpRequest, selected: QuerySet[Incident]) -> None:
        now, by = timezone.now(), request.user.get_username()
        done = [incident for incident in selected if incidents.acknowledge(incident, by, now)]
        self._log(request, done, "Acknowledged")
        rest = len(selected) - len(done)
        if done:
            text = ngettext("{n} incident acknowledged.", "{n} incidents acknowledged.", len(done))
            self.message_user(request, text.format(n=len(done)), messages.SUCCESS)
        if rest:
            text = ngettext(
                "{n} incident was already resolved or acknowledged.",
                "{n} incidents were already resolved or acknowledged.",
                rest,
            )
            self.message_user(request, text.format(n=rest), messages.WARNING)

    @admin.action(description=_lazy("Mute for 1 hour"), permissions=["handle"])
    def mute_for_an_hour(self, request: HttpRequest, selected: QuerySet[Incident]) -> None:
        self._mute(request, selected, timedelta(hours=1))

    @admin.action(description=_lazy("Mute for 8 hours"), permissions=["handle"])
    def mute_for_eight_hours(self, request: HttpRequest, selected: QuerySet[Incident]) -> None:
        self._mute(request, selected, timedelta(hours=8))

    @admin.action(description=_lazy("Mute for 1 day"), permissions=["handle"])
    def mute_for_a_day(self, request: HttpRequest, selected: QuerySet[Incident]) -> None:
        self._mute(request, selected, timedelta(days=1))

    @admin.action(description=_lazy("Mute for 1 week"), permissions=["handle"])
    def mute_for_a_week(self, request: HttpRequest, selected: QuerySet[Incident]) -> None:
        self._mute(request, selected, timedelta(weeks=1))

    def _mute(self, request: HttpRequest, selected: QuerySet[Incident], how_long: timedelta) -> None:
        now = timezone.now()
        until = now + how_long
        done = [incident for incident in selected if incidents.mute(incident, until, now)]
        with translation.override(ENGLISH):
            logged = f"Muted until {format_time(until)}"
        self._log(request, done, logged)
        rest = len(selected) - len(done)
        if done:
            text = ngettext(
                "{n} incident muted until {time}.", "{n} incidents muted until {time}.", len(done)
            )
            self.message_user(request, text.format(n=len(done), time=format_time(until)), messages.SUCCESS)
        if rest:
            text = ngettext(
                "{n} incident was already resolved.", "{n} incidents were already resolved.", rest
            )
            self.message_user(request, text.format(n=rest), messages.WARNING)

    def _log(self, request: HttpRequest, handled: list[Incident], what: str) -> None:
        # The log names the incident, too.
        with translation.override(ENGLISH):
            for incident in handled:
                self.log_change(request, incident, what)

    def has_handle_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("ingestion.handle_incident")


@admin.register(Notification)
class NotificationAdmin(ReadOnlyAdmin):
    list_display = (
        "id",
        "created_at",
        "channel",
        "event",
        "subject",
        "state_label",
        "attempts",
        "sent_at",
        "error",
    )
    list_display_links = ("id", "subject")
    list_filter = ("state", ("channel", admin.AllValuesFieldListFilter), "event", "created_at")
    search_fields = ("=id", "=incident__id", "subject")
    search_help_text = _lazy("Notification or incident number, or part of the subject")
    when_empty = _lazy(
        "Notifications about incidents appear here once a channel is configured: set ALERT_EMAILS, "
        "SLACK_WEBHOOK_URL or ALERT_URLS, then try: python manage.py testalert"
    )
    readonly_fields = ("message", "incident_link")
    fieldsets = (
        (None, {"fields": ("subject", "message", "incident_link")}),
        (_lazy("Delivery"), {"fields": (("channel", "event", "state"), ("attempts", "error"))}),
        (_lazy("When"), {"fields": (("created_at", "due_at"), ("claimed_at", "sent_at"))}),
    )

    @display(description=_lazy("State"), ordering="state", label=NOTIFICATION_COLOURS)
    def state_label(self, notification: Notification) -> tuple[str, str]:
        return notification.state, notification.get_state_display()

    @display(description=_lazy("Message"))
    def message(self, notification: Notification) -> SafeString:
        return format_html('<pre class="whitespace-pre-wrap">{}</pre>', plain_text(notification.content))

    @display(description=_lazy("Incident"))
    def incident_link(self, notification: Notification) -> SafeString | str:
        if notification.incident_id is None:
            return _("none: a test notification")
        url = reverse("admin:ingestion_incident_change", args=[notification.incident_id])
        return format_html(
            '<a class="mm-link" href="{}">{} {}</a>', url, _("Incident"), notification.incident_id
        )


STATE_NAMES: Final = {
    "open": _n("open"), "acknowledged": _n("acknowledged"), "muted": _n("muted"), "resolved": _n("resolved")
}  # fmt: skip


def incident_state(incident: Incident) -> str:
    if incident.resolved_at is not None:
        return "resolved"
    if incident.acknowledged_at is not None:
        return "acknowledged"
    muted = incident.muted_until is not None and incident.muted_until > timezone.now()
    return "muted" if muted else "open"


def _description_rows(incident: Incident, text: IncidentText) -> list[tuple[str, str, str]]:
    rows = [
        (_("Problem"), text.what, ""),
        (_("Since"), text.since, ""),
        (_("Impact"), text.how_bad, ""),
        (_("What to do"), text.what_to_do, ""),
    ]
    for name, run in ((_("Last seen in"), incident.run_id), (_("Resolved by"), incident.resolved_by_run_id)):
        if run is not None:
            rows.append((name, _("Run {run}").format(run=run), reverse("run", args=[run])))
    if incident.link:
        rows.append((_("Details"), incident.link, incident.link))
    return [row for row in rows if row[1]]

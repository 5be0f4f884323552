"""What is wrong, and who was told. A person acknowledges and mutes here, and changes nothing else."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.contrib import admin, messages
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import display

from ingestion.admin.base import ReadOnlyAdmin
from ingestion.alerts import incidents
from ingestion.alerts.channels import plain_text
from ingestion.alerts.messages.formatting import format_duration, format_time
from ingestion.alerts.messages.render import render_incident, render_resolution, render_subject
from ingestion.models import Incident, Notification

SEVERITY_COLOURS = {"critical": "danger", "warning": "warning"}
STATE_COLOURS = {"open": "danger", "acknowledged": "info", "muted": "info", "over": "success"}
NOTIFICATION_COLOURS = {"waiting": "info", "sending": "info", "sent": "success", "failed": "danger"}
# Of the messages of one incident a page shows the newest.
MAX_NOTIFICATIONS = 50


class IncidentStateFilter(admin.SimpleListFilter):
    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("open", "Open"), ("unheard", "Open, not acknowledged"), ("acknowledged", "Acknowledged"),
                ("muted", "Muted"), ("over", "Over")]  # fmt: skip

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        there = Q(resolved_at=None)
        wanted = {
            "open": there,
            "unheard": there & Q(acknowledged_at=None),
            "acknowledged": there & Q(acknowledged_at__isnull=False),
            "muted": there & Q(muted_until__gt=timezone.now()),
            "over": ~there,
        }
        return queryset.filter(wanted.get(self.value() or "", Q()))


@admin.register(Incident)
class IncidentAdmin(ReadOnlyAdmin):
    list_display = (
        "id",
        "how_bad",
        "what",
        "state",
        "opened_at",
        "lasts",
        "count",
        "seen_at",
    )  # all that fits beside the menu at 1280; who knows of it stands on its page
    list_display_links = ("id", "what")
    # Each is told in words.
    list_per_page = 20
    list_filter = (IncidentStateFilter, "severity", ("kind", admin.AllValuesFieldListFilter), "opened_at")
    search_fields = ("=id", "key")
    search_help_text = "An incident's number, or a part of its key, such as data_stale:songs"
    change_form_before_template = "admin/ingestion/incident.html"
    actions = ("acknowledge", "mute_for_an_hour", "mute_for_eight_hours", "mute_for_a_day", "mute_for_a_week")
    fieldsets = (
        (None, {"fields": ("key", ("kind", "severity"))}),
        (
            "When",
            {"fields": (("opened_at", "seen_at"), ("count", "told_at"), ("resolved_at", "end_told_at"))},
        ),
        ("People", {"fields": (("acknowledged_by", "acknowledged_at"), "muted_until")}),
    )

    @display(description="Severity", ordering="severity", label=SEVERITY_COLOURS)
    def how_bad(self, incident: Incident) -> tuple[str, str]:
        return incident.severity, incident.get_severity_display()

    @display(description="What")
    def what(self, incident: Incident) -> str:
        return render_subject(incident, settings.LANGUAGE_CODE)

    @display(description="State", label=STATE_COLOURS)
    def state(self, incident: Incident) -> tuple[str, str]:
        state = incident_state(incident)
        return state, state

    @display(description="Lasts", ordering="opened_at")
    def lasts(self, incident: Incident) -> str:
        return format_duration(
            ((incident.resolved_at or timezone.now()) - incident.opened_at).total_seconds()
        )

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        incident = Incident.objects.filter(pk=object_id).first() if object_id.isdecimal() else None
        told = self._incident_context(request, incident) if incident else {}
        page: HttpResponse = super().change_view(
            request, object_id, form_url, {**(extra_context or {}), **told}
        )
        return page

    def _incident_context(self, request: HttpRequest, incident: Incident) -> dict[str, Any]:
        """What the page says before the fields."""
        wrong = render_incident(incident, settings.LANGUAGE_CODE)
        over = render_resolution(incident, settings.LANGUAGE_CODE) if incident.resolved_at else None
        actions = self.get_actions(request).items()
        return {
            "incident": incident,
            "text": over or wrong,
            "numbers": wrong.lines,
            "ended": over.lines if over else (),
            "timeline": incident.notifications.order_by("-id")[:MAX_NOTIFICATIONS],
            "may_handle": over is None and self.has_handle_permission(request),
            "buttons": [(name, label) for name, (_, _, label) in actions if name in self.actions],
        }

    @admin.action(description="Acknowledge", permissions=["handle"])
    def acknowledge(self, request: HttpRequest, chosen: QuerySet[Incident]) -> None:
        now, by = timezone.now(), request.user.get_username()
        self._apply_to_each(
            request, chosen, "acknowledged", lambda incident: incidents.acknowledge(incident, by, now)
        )

    @admin.action(description="Mute for 1 hour", permissions=["handle"])
    def mute_for_an_hour(self, request: HttpRequest, chosen: QuerySet[Incident]) -> None:
        self._mute(request, chosen, timedelta(hours=1))

    @admin.action(description="Mute for 8 hours", permissions=["handle"])
    def mute_for_eight_hours(self, request: HttpRequest, chosen: QuerySet[Incident]) -> None:
        self._mute(request, chosen, timedelta(hours=8))

    @admin.action(description="Mute for 1 day", permissions=["handle"])
    def mute_for_a_day(self, request: HttpRequest, chosen: QuerySet[Incident]) -> None:
        self._mute(request, chosen, timedelta(days=1))

    @admin.action(description="Mute for 1 week", permissions=["handle"])
    def mute_for_a_week(self, request: HttpRequest, chosen: QuerySet[Incident]) -> None:
        self._mute(request, chosen, timedelta(weeks=1))

    def _mute(self, request: HttpRequest, chosen: QuerySet[Incident], how_long: timedelta) -> None:
        now = timezone.now()
        self._apply_to_each(
            request,
            chosen,
            f"muted until {format_time(now + how_long)}",
            lambda incident: incidents.mute(incident, now + how_long, now),
        )

    def _apply_to_each(
        self, request: HttpRequest, chosen: QuerySet[Incident], what: str, handle: Callable[[Incident], bool]
    ) -> None:
        """Do it to each, note who did, and say how many there were."""
        done = [incident for incident in chosen if handle(incident)]
        for incident in done:
            self.log_change(request, incident, what.capitalize())
        level = messages.SUCCESS if done else messages.WARNING
        rest = len(chosen) - len(done)
        also = f" {rest} are over or acknowledged already." if rest else ""
        self.message_user(request, f"{len(done)} of {len(chosen)} incidents {what}.{also}", level)

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
        "progress",
        "attempts",
        "sent_at",
        "error",
    )
    list_display_links = ("id", "subject")
    list_filter = ("state", ("channel", admin.AllValuesFieldListFilter), "event", "created_at")
    search_fields = ("=id", "=incident__id", "subject")
    search_help_text = "A message's or an incident's number, or a part of the subject"
    readonly_fields = ("message", "about")
    fieldsets = (
        (None, {"fields": ("subject", "message", "about")}),
        ("Delivery", {"fields": (("channel", "event", "state"), ("attempts", "error"))}),
        ("When", {"fields": (("created_at", "due_at"), ("claimed_at", "sent_at"))}),
    )

    @display(description="State", ordering="state", label=NOTIFICATION_COLOURS)
    def progress(self, message: Notification) -> tuple[str, str]:
        return message.state, message.get_state_display()

    @display(description="Message")
    def message(self, message: Notification) -> SafeString:
        return format_html('<pre class="whitespace-pre-wrap">{}</pre>', plain_text(message.content))

    @display(description="Incident")
    def about(self, message: Notification) -> SafeString | str:
        if message.incident_id is None:
            return "none: a test"
        url = reverse("admin:ingestion_incident_change", args=[message.incident_id])
        return format_html('<a class="mm-link" href="{}">Incident {}</a>', url, message.incident_id)


def incident_state(incident: Incident) -> str:
    """How things stand, in one word."""
    if incident.resolved_at is not None:
        return "over"
    if incident.acknowledged_at is not None:
        return "acknowledged"
    muted = incident.muted_until is not None and incident.muted_until > timezone.now()
    return "muted" if muted else "open"

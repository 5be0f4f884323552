"""Admin of alert channels and maintenance windows: what keeps alerts silent."""

from datetime import timedelta
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy
from unfold.admin import ModelAdmin
from unfold.decorators import display

from ingestion.admin.base import ROWS_PER_PAGE, ListedLookups, ReadOnlyAdmin
from ingestion.alerts import silence
from ingestion.audit import Action, record_audit
from ingestion.models import LONGEST_WINDOW, AlertChannel, MaintenanceWindow, Notification
from ingestion.services import alert_channels

CHANNEL_COLOURS = {"on": "success", "off": "danger"}
WINDOW_COLOURS = {"planned": "info", "running": "warning", "over": "success"}
DEFAULT_LENGTH = timedelta(hours=1)


@admin.register(AlertChannel)
class AlertChannelAdmin(ReadOnlyAdmin):
    list_display = ("name", "state_label", "last_sent", "last_error")
    list_display_links = None
    list_filter = ("active",)
    when_empty = _lazy(
        "Channels appear here within a minute of their configuration: set ALERT_EMAILS, SLACK_WEBHOOK_URL or "
        "ALERT_URLS, then try: python manage.py testalert"
    )
    actions = ("switch_off", "switch_on")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        # Rows of removed channels are only kept for one that returns.
        configured = [channel.name for channel in alert_channels()]
        rows: QuerySet[Any] = super().get_queryset(request)
        return rows.filter(name__in=configured)

    @display(description=_lazy("State"), ordering="active", label=CHANNEL_COLOURS)
    def state_label(self, channel: AlertChannel) -> tuple[str, str]:
        return ("on", _("on")) if channel.active else ("off", _("off"))

    @display(description=_lazy("Last sent"))
    def last_sent(self, channel: AlertChannel) -> Any:
        sent = Notification.objects.filter(channel=channel.name, state=Notification.State.SENT)
        return sent.order_by("-sent_at").values_list("sent_at", flat=True).first()

    @display(description=_lazy("Last error"))
    def last_error(self, channel: AlertChannel) -> str:
        failed = Notification.objects.filter(channel=channel.name).exclude(error="")
        return failed.order_by("-id").values_list("error", flat=True).first() or ""

    def has_switch_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("ingestion.change_alertchannel")

    @admin.action(description=_lazy("Switch off: no alerts by this channel"), permissions=["switch"])
    def switch_off(self, request: HttpRequest, selected: QuerySet[AlertChannel]) -> None:
        self._switch(request, selected, active=False)

    @admin.action(description=_lazy("Switch on"), permissions=["switch"])
    def switch_on(self, request: HttpRequest, selected: QuerySet[AlertChannel]) -> None:
        self._switch(request, selected, active=True)

    def _switch(self, request: HttpRequest, selected: QuerySet[AlertChannel], *, active: bool) -> None:
        names = silence.switch_channels(selected, active=active)
        for name in names:
            what = f"channel {name} switched {'on' if active else 'off'}"
            record_audit(Action.SILENCE_CHANGED, request.user.get_username(), what)
        text = _("Switched on: {names}") if active else _("Switched off: {names}")
        messages.success(request, text.format(names=", ".join(names) or "-"))


class WindowStateFilter(admin.SimpleListFilter):
    title = _lazy("state")
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("running", _("running")), ("planned", _("planned")), ("over", _("over"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        now = timezone.now()
        conditions = {
            "running": Q(starts_at__lte=now, ends_at__gt=now),
            "planned": Q(starts_at__gt=now),
            "over": Q(ends_at__lte=now),
        }
        return queryset.filter(conditions.get(self.value() or "", Q()))


class WindowForm(forms.ModelForm):  # type: ignore[type-arg]
    class Meta:
        model = MaintenanceWindow
        fields = ("starts_at", "ends_at", "reason")

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        starts_at = cleaned.get("starts_at") or self.instance.starts_at
        ends_at = cleaned.get("ends_at")
        if starts_at is None or ends_at is None:
            return cleaned
        if ends_at <= starts_at:
            raise ValidationError({"ends_at": _("The end must be after the start.")})
        if ends_at <= timezone.now():
            raise ValidationError({"ends_at": _("The end must be in the future.")})
        if ends_at - starts_at > LONGEST_WINDOW:
            text = _("A window may last at most {days} days.").format(days=LONGEST_WINDOW.days)
            raise ValidationError({"ends_at": text})
        return cleaned


@admin.register(MaintenanceWindow)
class MaintenanceWindowAdmin(ListedLookups, ModelAdmin):
    """A window that is over can't be changed, and one that has begun can't be deleted: it is history."""

    form = WindowForm
    list_display = ("id", "state_label", "starts_at", "ends_at", "reason", "created_by")
    list_display_links = ("id", "reason")
    list_filter = (WindowStateFilter,)
    list_per_page = ROWS_PER_PAGE
    actions = ("end_now",)
    when_empty = _lazy(
        "Add a maintenance window before work that would raise alerts: they stay silent until it ends."
    )

    @display(description=_lazy("State"), label=WINDOW_COLOURS)
    def state_label(self, window: MaintenanceWindow) -> tuple[str, str]:
        state = window_state(window)
        return state, {"planned": _("planned"), "running": _("running"), "over": _("over")}[state]

    def get_readonly_fields(
        self, request: HttpRequest, obj: MaintenanceWindow | None = None
    ) -> tuple[str, ...]:
        return ("starts_at",) if obj and window_state(obj) != "planned" else ()

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        now = timezone.now().replace(second=0, microsecond=0)
        return {"starts_at": now, "ends_at": now + DEFAULT_LENGTH}

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        actions: dict[str, Any] = super().get_actions(request)
        # It would delete windows that have begun.
        actions.pop("delete_selected", None)
        return actions

    def has_change_permission(self, request: HttpRequest, obj: MaintenanceWindow | None = None) -> bool:
        over = obj is not None and window_state(obj) == "over"
        return not over and bool(super().has_change_permission(request, obj))

    def has_delete_permission(self, request: HttpRequest, obj: MaintenanceWindow | None = None) -> bool:
        begun = obj is not None and window_state(obj) != "planned"
        return not begun and bool(super().has_delete_permission(request, obj))

    def save_model(self, request: HttpRequest, obj: MaintenanceWindow, form: Any, change: bool) -> None:
        if not change:
            obj.created_by = request.user.get_username()
        super().save_model(request, obj, form, change)
        _record(request, obj, f"from {_minute(obj.starts_at)} to {_minute(obj.ends_at)}: {obj.reason}")

    def delete_model(self, request: HttpRequest, obj: MaintenanceWindow) -> None:
        _record(request, obj, "deleted")
        super().delete_model(request, obj)

    @admin.action(description=_lazy("End now"), permissions=["change"])
    def end_now(self, request: HttpRequest, selected: QuerySet[MaintenanceWindow]) -> None:
        now = timezone.now()
        ended = [window for window in selected if silence.end_window(window, now)]
        for window in ended:
            _record(request, window, "ended")
        messages.success(request, _("Maintenance windows ended: {count}").format(count=len(ended)))


def window_state(window: MaintenanceWindow) -> str:
    now = timezone.now()
    if window.ends_at <= now:
        return "over"
    return "running" if window.starts_at <= now else "planned"


def _record(request: HttpRequest, window: MaintenanceWindow, what: str) -> None:
    target = f"maintenance window {window.pk} {what}"
    record_audit(Action.SILENCE_CHANGED, request.user.get_username(), target)


def _minute(at: Any) -> str:
    return f"{at:%Y-%m-%d %H:%M %Z}"

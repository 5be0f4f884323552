"""Admin of webhooks and their deliveries, which can be sent again."""

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy
from unfold.admin import ModelAdmin
from unfold.decorators import display
from unfold.widgets import UnfoldAdminURLInputWidget

from ingestion.admin.base import ROWS_PER_PAGE, ListedLookups, ReadOnlyAdmin, translated_choices
from ingestion.alerts import webhooks
from ingestion.audit import Action, record_audit
from ingestion.models import Webhook, WebhookDelivery, WebhookEvent

STATE_COLOURS = {"waiting": "info", "sending": "info", "sent": "success", "failed": "danger"}


class WebhookForm(forms.ModelForm):  # type: ignore[type-arg]
    url = forms.URLField(label=_lazy("URL"), assume_scheme="https", widget=UnfoldAdminURLInputWidget)
    events = forms.MultipleChoiceField(
        label=_lazy("Events"), choices=translated_choices(WebhookEvent), widget=forms.CheckboxSelectMultiple
    )

    class Meta:
        model = Webhook
        fields = ("url", "events", "active")


@admin.register(Webhook)
class WebhookAdmin(ListedLookups, ModelAdmin):
    form = WebhookForm
    list_display = ("id", "url", "event_names", "active", "created_at")
    list_display_links = ("id", "url")
    list_filter = ("active",)
    when_empty = _lazy(
        "Add the address of a service that wants to know of runs, incidents and promotions. Each event is "
        "sent there as a signed POST, and again if it fails."
    )
    list_per_page = ROWS_PER_PAGE
    fields = ("url", "events", "active", "secret")
    readonly_fields = ("secret",)

    def get_fields(self, request: HttpRequest, obj: Webhook | None = None) -> Sequence[str]:
        # The secret exists from the first save on.
        return self.fields if obj else self.fields[:-1]

    @display(description=_lazy("Events"))
    def event_names(self, webhook: Webhook) -> str:
        return ", ".join(webhook.events)

    def save_model(self, request: HttpRequest, obj: Webhook, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        record_audit(Action.WEBHOOK_CHANGED, request.user.get_username(), f"{obj}: {_site(obj)}")

    def get_deleted_objects(
        self, objs: Any, request: HttpRequest
    ) -> tuple[list[Any], dict[str, int], set[str], list[Any]]:
        """Allow to delete a webhook with its deliveries, though nobody may delete a single delivery."""
        to_delete, counts, perms_needed, protected = super().get_deleted_objects(objs, request)
        perms_needed = perms_needed - {str(WebhookDelivery._meta.verbose_name)}
        return to_delete, counts, perms_needed, protected

    def delete_model(self, request: HttpRequest, obj: Webhook) -> None:
        _record_deletion(request, obj)
        super().delete_model(request, obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Webhook]) -> None:
        for webhook in queryset:
            _record_deletion(request, webhook)
        super().delete_queryset(request, queryset)


def _record_deletion(request: HttpRequest, webhook: Webhook) -> None:
    record_audit(Action.WEBHOOK_CHANGED, request.user.get_username(), f"{webhook} deleted: {_site(webhook)}")


def _site(webhook: Webhook) -> str:
    """The address without what may be secret: user, password, path and query."""
    parts = urlsplit(webhook.url)
    return f"{parts.scheme}://{parts.hostname}"


@admin.register(WebhookDelivery)
class WebhookDeliveryAdmin(ReadOnlyAdmin):
    list_display = ("id", "event", "event_id", "webhook", "state_label", "attempts", "created_at", "sent_at")
    list_filter = ("state", "event", "webhook")
    search_fields = ("=event_id",)
    search_help_text = _lazy("Event ID, such as run.finished:7")
    when_empty = _lazy("Nothing has been sent yet. Add a webhook; the next event is then sent to it.")
    actions = ("send_again",)
    fields = ("webhook", "event", "event_id", "state", "attempts", "error", "created_at", "due_at", "sent_at",
              "body")  # fmt: skip

    @display(description=_lazy("State"), ordering="state", label=STATE_COLOURS)
    def state_label(self, delivery: WebhookDelivery) -> tuple[str, str]:
        return delivery.state, delivery.get_state_display()

    def has_replay_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("ingestion.change_webhook")

    @admin.action(description=_lazy("Send again"), permissions=["replay"])
    def send_again(self, request: HttpRequest, queryset: QuerySet[WebhookDelivery]) -> None:
        inactive = queryset.filter(webhook__active=False).count()
        count = webhooks.replay(queryset, timezone.now())
        record_audit(Action.WEBHOOK_CHANGED, request.user.get_username(), f"{count} deliveries sent again")
        messages.success(
            request, _("Deliveries that are sent again within a minute: {count}").format(count=count)
        )
        if inactive:
            messages.warning(
                request,
                _("Not sent again, because their webhook is inactive: {inactive}").format(inactive=inactive),
            )

"""Admin of served lists, feedback and API keys."""

from typing import Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.db.models import Count, Q
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy
from unfold.admin import ModelAdmin
from unfold.decorators import display

from ingestion.admin import ROWS_PER_PAGE, ListedLookups, ReadOnlyAdmin, computed_once, translated_choices
from ingestion.audit import Action, record_audit
from recommender.admin.feedback_import import FeedbackImportMixin
from recommender.api.authentication import issue_key
from recommender.dashboard.tables import items_table
from recommender.models import ApiKey, Feedback, ServedList
from recommender.models.api_keys import Scope
from recommender.serving.reasons.explanations import serialize_list


class ListenerLinkMixin:
    """Adds a column that links to the listener's page, and lets links show one listener's rows."""

    link_lookups: ClassVar[tuple[str, ...]] = ("listener__id__exact",)

    @display(description=_lazy("Listener"), ordering="listener")
    def listener_link(self, row: ServedList | Feedback) -> SafeString:
        return format_html('<a href="{}?user={}">{}</a>', reverse("listen"), row.listener_id, row.listener_id)


@admin.register(ServedList)
class ServedListAdmin(ListenerLinkMixin, ReadOnlyAdmin):
    list_display = ("id", "listener_link", "generated_at", "arm", "version", "discovery", "songs")
    list_filter = ("arm", "stale", "generated_at")
    search_fields = ("=id", "=listener__id")
    search_help_text = _lazy("List ID or listener ID")
    when_empty = _lazy("Apps request lists with an API key: GET /api/v1/users/{id}/recommendations/")
    list_select_related = ("version",)
    totals: ClassVar = {
        _lazy("Listeners"): Count("listener", distinct=True),
        _lazy("Champion"): Count("pk", filter=Q(arm="champion")),
        _lazy("Challenger"): Count("pk", filter=Q(arm="challenger")),
        _lazy("Interleaved"): Count("pk", filter=Q(arm="interleaved")),
        _lazy("Fallback"): Count("pk", filter=Q(arm="fallback")),
    }
    # The songs as served say what a person needs; the others are for a replay of the list.
    exclude = ("items", "song_ids", "pages", "candidate_list", "impressions")
    readonly_fields = ("items_as_served", "requested_pages")

    @display(description=_lazy("Songs"))
    def songs(self, served: ServedList) -> int:
        return len(served.items)

    @display(description=_lazy("Songs as served"))
    @computed_once
    def items_as_served(self, served: ServedList) -> SafeString:
        return items_table(serialize_list(served)["items"])

    @display(description=_lazy("Requested pages"))
    def requested_pages(self, served: ServedList) -> str:
        return ", ".join(_("{n} songs").format(n=page["n"]) for page in served.pages)


@admin.register(Feedback)
class FeedbackAdmin(FeedbackImportMixin, ListenerLinkMixin, ReadOnlyAdmin):
    link_lookups: ClassVar[tuple[str, ...]] = ("listener__id__exact", "song__id__exact")
    list_display = ("id", "at", "kind", "listener_link", "song", "seconds", "received_at", "withdrawn_at")
    list_filter = ("kind", "at")
    search_fields = ("=listener__id", "=song__id", "=event_id")
    search_help_text = _lazy("Listener ID, song ID or event ID")
    when_empty = _lazy("Apps send feedback with an API key: POST /api/v1/feedback/")
    totals: ClassVar = {
        _lazy("Listeners"): Count("listener", distinct=True),
        _lazy("Likes"): Count("pk", filter=Q(kind="like")),
        _lazy("Listens"): Count("pk", filter=Q(kind="listen")),
        _lazy("Skips"): Count("pk", filter=Q(kind="skip")),
        _lazy("Dislikes"): Count("pk", filter=Q(kind="dislike")),
        _lazy("Reports of a wrong style"): Count("pk", filter=Q(kind="wrong_style")),
        _lazy("Cleared"): Count("pk", filter=Q(kind="clear")),
        _lazy("Withdrawn events"): Count("pk", filter=Q(withdrawn_at__isnull=False)),
    }
    list_select_related = ("song",)


class ApiKeyForm(forms.ModelForm):  # type: ignore[type-arg]
    scopes = forms.MultipleChoiceField(
        label=_lazy("Scopes"), choices=translated_choices(Scope), widget=forms.CheckboxSelectMultiple
    )

    class Meta:
        model = ApiKey
        fields = ("name", "user", "scopes", "expires_at", "revoked_at")


@admin.register(ApiKey)
class ApiKeyAdmin(ListedLookups, ModelAdmin):
    form = ApiKeyForm
    list_display = (
        "name", "prefix", "user", "scope_names", "created_at", "last_used_at", "expires_at", "revoked_at",
    )  # fmt: skip
    list_filter = ("revoked_at",)
    search_fields = ("name", "prefix")
    fields = ("name", "user", "scopes", "expires_at", "revoked_at")
    when_empty = _lazy("Add a key for each app that requests lists or sends feedback; it is shown once.")
    list_per_page = ROWS_PER_PAGE
    list_select_related = ("user",)

    @display(description=_lazy("Scopes"))
    def scope_names(self, key: ApiKey) -> str:
        return ", ".join(key.scopes)

    def save_model(self, request: HttpRequest, obj: ApiKey, form: Any, change: bool) -> None:
        by = request.user.get_username()
        if change:
            super().save_model(request, obj, form, change)
            action = Action.KEY_REVOKED if "revoked_at" in form.changed_data else Action.KEY_CHANGED
            record_audit(action, by, f"{obj}: {', '.join(form.changed_data)}")
            return
        made, key = issue_key(obj.name, obj.user, expires_at=obj.expires_at, scopes=obj.scopes, by=by)
        obj.pk = made.pk
        messages.warning(
            request,
            _("The key “{made}” is {key}. Copy it now: it is never shown again.").format(
                made=made.name, key=key
            ),
        )

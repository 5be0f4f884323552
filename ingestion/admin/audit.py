"""Read-only admin of the audit trail, and a mixin that records changes in it."""

from typing import Any

from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest
from django.utils import translation
from django.utils.translation import gettext_lazy as _lazy
from unfold.decorators import display

from ingestion.admin.base import ReadOnlyAdmin
from ingestion.audit import Action, record_audit
from ingestion.english import ENGLISH
from ingestion.models import AuditEntry


@admin.register(AuditEntry)
class AuditEntryAdmin(ReadOnlyAdmin):
    list_display = ("at", "actor", "what", "target", "address")
    list_filter = ("action", "at")
    search_fields = ("actor", "target")
    search_help_text = _lazy("Part of the user name or of the target, such as a version, key or webhook")
    when_empty = _lazy("Logins, changes of users, roles and API keys, promotions and resets appear here.")

    @display(description=_lazy("What"), ordering="action")
    def what(self, entry: AuditEntry) -> str:
        return entry.get_action_display()


class AccountAuditMixin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Records changes of users or groups in the audit trail; for their admin pages."""

    def log_addition(self, request: HttpRequest, obj: Model, message: Any) -> Any:
        _record_change(request, "added", obj)
        return super().log_addition(request, obj, message)

    def log_change(self, request: HttpRequest, obj: Model, message: Any) -> Any:
        _record_change(request, "changed", obj)
        return super().log_change(request, obj, message)

    def log_deletions(self, request: HttpRequest, queryset: Any) -> Any:
        for row in queryset:
            _record_change(request, "deleted", row)
        return super().log_deletions(request, queryset)


def _record_change(request: HttpRequest, verb: str, row: Model) -> None:
    roles = ", ".join(row.groups.values_list("name", flat=True)) if hasattr(row, "groups") and row.pk else ""
    with translation.override(ENGLISH):
        target = f"{verb} {row._meta.verbose_name} {row}"
    target += f" (roles: {roles})" if roles else ""
    record_audit(Action.ACCOUNT_CHANGED, request.user.get_username(), target)

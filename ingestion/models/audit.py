"""Audit trail: who did what, for actions that concern security or the service as a whole."""

from typing import ClassVar

from django.db import models


class AuditEntry(models.Model):
    class Action(models.TextChoices):
        LOGIN = "login", "logged in"
        LOGIN_FAILED = "login_failed", "failed to log in"
        KEY_MADE = "key_made", "made an API key"
        KEY_CHANGED = "key_changed", "changed an API key"
        KEY_REVOKED = "key_revoked", "revoked an API key"
        LINK_MADE = "link_made", "made a listener's link"
        FEEDBACK_IMPORTED = "feedback_imported", "imported a file of feedback"
        FEEDBACK_UNDONE = "feedback_undone", "undid the feedback of an API key"
        ACCOUNT_CHANGED = "account_changed", "changed a user or role"
        WEBHOOK_CHANGED = "webhook_changed", "changed a webhook"
        SILENCE_CHANGED = "silence_changed", "changed an alert channel or a maintenance window"
        NOTE_ADDED = "note_added", "added a note to an experiment"
        PROMOTED = "promoted", "promoted a model version"
        ROLLED_BACK = "rolled_back", "rolled back to a model version"
        FILES_DELETED = "files_deleted", "deleted a model version's files"
        RANGE_RESET = "range_reset", "reset an expected range"
        CATALOGUE_RESET = "catalogue_reset", "accepted a reset of the source"
        PERSONAL_DATA_READ = "personal_data_read", "read personal data"
        LISTENER_EXPORTED = "listener_exported", "exported a listener's data"
        LISTENER_FORGOTTEN = "listener_forgotten", "deleted a listener's data"

    at = models.DateTimeField(db_index=True)
    actor = models.CharField(max_length=150, help_text="User name, or the command's user in parentheses.")
    action = models.CharField(max_length=20, choices=Action.choices)
    target = models.TextField(blank=True)
    address = models.GenericIPAddressField(null=True, blank=True)

    class Meta:
        ordering: ClassVar = ["-id"]
        verbose_name_plural = "audit entries"

    def __str__(self) -> str:
        return f"{self.actor} {self.get_action_display()} {self.target}".strip()

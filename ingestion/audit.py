"""Writes the audit trail."""

import getpass
from hashlib import blake2b
from typing import Final

from django.core.cache import cache
from django.utils import timezone

from ingestion.models import AuditEntry

Action = AuditEntry.Action
# A page or an app reads hundreds of rows; one entry an hour is enough.
READ_INTERVAL: Final = 3_600  # seconds


def record_audit(action: Action, actor: str, target: str = "", *, address: str | None = None) -> AuditEntry:
    """Add an entry to the audit trail; the target is a version, key or user, never a listener's name."""
    return AuditEntry.objects.create(
        at=timezone.now(), actor=actor, action=action, target=target, address=address or None
    )


def command_actor() -> str:
    """The operating system's user who runs this command."""
    try:
        return f"({getpass.getuser()})"
    except (KeyError, OSError):
        # A container's user may have no name.
        return "(command)"


def record_personal_data_read(actor: str) -> None:
    """Record in the audit trail that personal data was read, at most once an hour for each reader."""
    # A name of a key may have characters that a cache's key may not have.
    digest = blake2b(actor.encode(), digest_size=16).hexdigest()
    if cache.add(f"personal-data-read:{digest}", True, READ_INTERVAL):
        record_audit(Action.PERSONAL_DATA_READ, actor)

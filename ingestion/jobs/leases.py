"""Leases in the database: one process at a time does a piece of work, on any machine."""

import secrets
from datetime import datetime, timedelta

from django.db import IntegrityError, transaction

from ingestion.models import Lease


class HeldLease:
    def __init__(self, name: str, holder: str) -> None:
        self._rows = Lease.objects.filter(name=name, holder=holder)

    def renew(self, until: datetime) -> bool:
        """Extend the lease before it expires; False if this process no longer holds it."""
        return bool(self._rows.update(until=until))

    def release(self) -> None:
        self._rows.delete()


def take_lease(name: str, now: datetime, duration: timedelta) -> HeldLease | None:
    """Take a lease, also an expired one of a process that died; None if another process holds it."""
    holder = secrets.token_hex(16)
    if Lease.objects.filter(name=name, until__lte=now).update(holder=holder, until=now + duration):
        return HeldLease(name, holder)
    try:
        with transaction.atomic():
            Lease.objects.create(name=name, holder=holder, until=now + duration)
    except IntegrityError:
        return None
    return HeldLease(name, holder)

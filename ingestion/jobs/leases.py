"""Leases in the database: one process at a time does a piece of work, on any machine."""

import secrets
import socket
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

from django.db import IntegrityError, transaction

from ingestion.jobs.lock import is_process_alive, lock_owner
from ingestion.models import Lease

PROCESS_NUMBERS: Final = Path("/proc/self/ns/pid")  # on Linux


class HeldLease:
    def __init__(self, name: str, holder: str) -> None:
        self._rows = Lease.objects.filter(name=name, holder=holder)

    def renew(self, until: datetime) -> bool:
        """Extend the lease before it expires; False if this process no longer holds it."""
        return bool(self._rows.update(until=until))

    def release(self) -> None:
        self._rows.delete()


def take_lease(name: str, now: datetime, duration: timedelta) -> HeldLease | None:
    """Take a lease that is free, has expired, or belongs to a process of this host that has ended.

    Returns:
        None if another process holds it.
    """
    taken: dict[str, Any] = {"holder": _new_holder(), "until": now + duration}
    found = Lease.objects.filter(name=name).first()
    if found is None:
        try:
            with transaction.atomic():
                Lease.objects.create(name=name, **taken)
        except IntegrityError:
            return None
        return HeldLease(name, taken["holder"])
    if found.until > now and _is_holder_alive(found.holder):
        return None
    # Of two processes that found the same row, one changes it.
    if not Lease.objects.filter(name=name, holder=found.holder, until=found.until).update(**taken):
        return None
    return HeldLease(name, taken["holder"])


def _new_holder() -> str:
    owner = lock_owner() | {"host": _host()}
    # Random too: a process that lost its lease to another of its threads must notice.
    return f"{secrets.token_hex(8)} {owner['pid']} {owner['process_started']:.2f} {owner['host']}"[:120]


def _is_holder_alive(holder: str) -> bool:
    """False only if its process was on this host and has ended."""
    try:
        _, pid, started, host = holder.split(" ", 3)
        process = SimpleNamespace(host=socket.gethostname(), pid=int(pid), process_started=float(started))
    except ValueError:  # of an earlier release
        return True
    return host != _host() or is_process_alive(process)


def _host() -> str:
    """The host and its space of process numbers: containers with one host name have different ones."""
    try:
        return f"{socket.gethostname()} {PROCESS_NUMBERS.readlink()}"
    except OSError:
        return socket.gethostname()

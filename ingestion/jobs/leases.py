"""Leases in the database: one process at a time does a piece of work, on any machine."""

import secrets
import socket
from collections.abc import Collection, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

from django.db import Error

from ingestion.jobs.lock import is_process_alive, lock_owner
from ingestion.models import Lease

PROCESS_NUMBERS: Final = Path("/proc/self/ns/pid")  # on Linux


class HeldLeases:
    """Leases that this process holds.

    Attributes:
        names: may be none.
    """

    def __init__(self, names: Sequence[str], holder: str) -> None:
        self.names = names
        self._rows = Lease.objects.filter(name__in=names, holder=holder)

    def renew(self, until: datetime) -> bool:
        """Extend the leases before they expire; False if this process no longer holds all of them."""
        return self._rows.update(until=until) == len(self.names)

    def release(self) -> None:
        self._rows.delete()


def take_lease(name: str, now: datetime, duration: timedelta) -> HeldLeases | None:
    """Take a lease; None if another process holds it. See `take_leases`."""
    held = take_leases([name], now, duration)
    return held if held.names else None


def take_leases(names: Collection[str], now: datetime, duration: timedelta) -> HeldLeases:
    """Take those leases that are free, have expired, or belong to a process of this host that has ended.

    After an error this process holds none of them.
    """
    taken: dict[str, Any] = {"holder": _new_holder(), "until": now + duration}
    ours = Lease.objects.filter(name__in=names, holder=taken["holder"])
    try:
        _write_leases(names, now, taken)
        held = set(ours.values_list("name", flat=True))
    except BaseException:
        # Nobody else may take the lease of a living process before it expires.
        with suppress(Error):
            ours.delete()
        raise
    return HeldLeases([name for name in names if name in held], taken["holder"])


def _write_leases(names: Collection[str], now: datetime, taken: dict[str, Any]) -> None:
    found = {lease.name: lease for lease in Lease.objects.filter(name__in=names)}
    # Of two processes that found no row, one inserts it; of two that found the same row, one changes it.
    # Sorted: an insert waits for another process's uncommitted rows, and two orders would be a deadlock.
    missing = [Lease(name=name, **taken) for name in sorted(names) if name not in found]
    Lease.objects.bulk_create(missing, ignore_conflicts=True)
    for name, lease in sorted(found.items()):
        if lease.until <= now or not _is_holder_alive(lease.holder):
            Lease.objects.filter(name=name, holder=lease.holder, until=lease.until).update(**taken)


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

"""Which channels may send alerts now: maintenance windows silence all, and each can be switched off.

The state is also kept in a file, because alerts about an unavailable database can't read it from there.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Self

from django.db.models import QuerySet

from ingestion.audit import Action, record_audit
from ingestion.models import AlertChannel, MaintenanceWindow


@dataclass(frozen=True)
class Silence:
    """Name and receiver of the channels that are off, and start and end of each window that has not ended."""

    off: tuple[tuple[str, str], ...] = ()
    windows: tuple[tuple[datetime, datetime], ...] = ()

    @classmethod
    def load(cls, file: Path) -> Self:
        """The state that `save` wrote last; without a readable file, nothing is silent."""
        try:
            stored = json.loads(file.read_text())
            windows = tuple(
                (datetime.fromisoformat(start), datetime.fromisoformat(end))
                for start, end in stored["windows"]
            )
            return cls(tuple((str(name), str(receiver)) for name, receiver in stored["off"]), windows)
        except (OSError, ValueError, KeyError, TypeError):
            return cls()

    def save(self, file: Path) -> None:
        """Write the state if the file has another one; all processes of a machine share it."""
        if self == Silence.load(file):
            return
        file.parent.mkdir(parents=True, exist_ok=True)
        draft = file.with_suffix(f".{os.getpid()}")
        draft.write_text(json.dumps(asdict(self), default=datetime.isoformat))
        draft.replace(file)

    def ends_at(self, now: datetime) -> datetime | None:
        """The end of the maintenance at `now`, also if one window follows another; None without a window."""
        end = None
        for starts_at, ends_at in sorted(self.windows):
            if starts_at <= (end or now) < ends_at:
                end = ends_at
        return end

    def audible(self, receivers: Mapping[str, str], now: datetime) -> list[str]:
        """The channels that may send now; `receivers` as in `sync_channels`."""
        return [] if self.ends_at(now) else [pair[0] for pair in receivers.items() if pair not in self.off]


def read_silence(now: datetime) -> Silence:
    off = AlertChannel.objects.filter(active=False).values_list("name", "receiver")
    windows = MaintenanceWindow.objects.filter(ends_at__gt=now).values_list("starts_at", "ends_at")
    return Silence(tuple(off), tuple(windows))


def sync_channels(receivers: Mapping[str, str]) -> None:
    """Keep a row for each configured channel, so that it can be switched off; switches follow receivers.

    Names are positions: without the first of ALERT_URLS, the second takes its name. A new receiver is on.
    Rows of removed channels stay, for one that returns.

    Args:
        receivers: the fingerprint of each configured channel's receiver, by name.
    """
    rows = {row.name: row for row in AlertChannel.objects.all()}
    owners = {row.receiver: row for row in rows.values() if row.receiver}
    for name, receiver in receivers.items():
        row = rows.get(name)
        if row is not None and row.receiver == receiver:
            continue
        owner = owners.get(receiver)
        # A row without a receiver is of the release before, or of e-mail.
        active = row.active if row and not row.receiver else owner is None or owner.active
        if row is not None and active and not row.active:
            what = f"channel {name} switched on, because its receiver is another one"
            record_audit(Action.SILENCE_CHANGED, "the service", what)
        AlertChannel.objects.update_or_create(name=name, defaults={"receiver": receiver, "active": active})
        if owner is not None and owner.name not in receivers:
            AlertChannel.objects.filter(pk=owner.pk, receiver=receiver).delete()


def switch_channels(channels: QuerySet[AlertChannel], *, active: bool) -> list[str]:
    """Switch the channels on or off; return the names of those that were not so already."""
    others = channels.filter(active=not active)
    names = list(others.values_list("name", flat=True))
    AlertChannel.objects.filter(name__in=names).update(active=active)
    return names


def end_window(window: MaintenanceWindow, now: datetime) -> bool:
    """End the window now; False if it has not begun or is over."""
    # Its end must be later than its start, also in the moment in which it starts.
    running = MaintenanceWindow.objects.filter(pk=window.pk, starts_at__lt=now, ends_at__gt=now)
    return bool(running.update(ends_at=now))

"""Stores the source's pages on disk, with checksums, until the quality gate has checked the run.

One file of frames for each resource. A page that is read again is appended; its last frame counts.
"""

import shutil
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import IntEnum
from hashlib import blake2b
from pathlib import Path
from typing import Any, BinaryIO, Final

import orjson
from django.db import connection

from ingestion.models import IngestionRun
from ingestion.pipeline import run_lifecycle

# kind, page number, length of the body, checksum of all of these and the body
HEADER: Final = struct.Struct("<BII16s")
LENGTH_BITS: Final = 32


class FrameKind(IntEnum):
    PAGE = 1  # a page's body as sent
    CHANGES = 2  # the page's new and changed records, and its rejected rows
    END = 3  # counters of the read; written once all pages are stored


@dataclass
class Spool:
    """A file with the frames of one resource; used by one thread."""

    path: Path
    # By page number: the offset of the body, and in the lowest bits its length.
    _frames: dict[FrameKind, dict[int, int]] = field(default_factory=lambda: {kind: {} for kind in FrameKind})
    _file: BinaryIO | None = None

    def open(self) -> None:
        """Index the complete frames; cut the file off at the first damaged one."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self.path.open("a+b")
        whole = self._scan()
        self._file.truncate(whole)
        self._file.seek(whole)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def clear(self) -> None:
        for frames in self._frames.values():
            frames.clear()
        self._opened.seek(0)
        self._opened.truncate(0)

    def append_frame(self, kind: FrameKind, number: int, body: bytes) -> None:
        file = self._opened
        offset = file.seek(0, 2)
        file.write(HEADER.pack(kind, number, len(body), _checksum(kind, number, body)))
        file.write(body)
        self._frames[kind][number] = _place(offset + HEADER.size, len(body))

    def mark_complete(self, measured: dict[str, Any]) -> None:
        self.append_frame(FrameKind.END, 0, orjson.dumps(measured))
        self._opened.flush()

    @property
    def completed_stats(self) -> dict[str, Any] | None:
        """The statistics given to `mark_complete`; None while pages are missing."""
        if not self.has_frame(FrameKind.END, 0):
            return None
        measured: dict[str, Any] = orjson.loads(self.read_frame(FrameKind.END, 0))
        return measured

    def has_frame(self, kind: FrameKind, number: int) -> bool:
        return number in self._frames[kind]

    def page_numbers(self, kind: FrameKind) -> list[int]:
        return sorted(self._frames[kind])

    def read_frame(self, kind: FrameKind, number: int) -> bytes:
        place = self._frames[kind][number]
        self._opened.seek(place >> LENGTH_BITS)
        return self._opened.read(place & (1 << LENGTH_BITS) - 1)

    def read_bodies(self, kind: FrameKind) -> Iterator[tuple[int, bytes]]:
        for number in self.page_numbers(kind):
            yield number, self.read_frame(kind, number)

    def drop_after(self, kind: FrameKind, last: int) -> None:
        for number in self.page_numbers(kind):
            if number > last:
                del self._frames[kind][number]

    @property
    def _opened(self) -> BinaryIO:
        if self._file is None:
            raise ValueError(f"{self.path} is not open")
        return self._file

    def _scan(self) -> int:
        file, whole = self._opened, 0
        file.seek(0)
        while len(header := file.read(HEADER.size)) == HEADER.size:
            kind, number, length, checksum = HEADER.unpack(header)
            body = file.read(length)
            if len(body) < length or checksum != _checksum(kind, number, body):
                break
            self._frames[FrameKind(kind)][number] = _place(whole + HEADER.size, length)
            whole += HEADER.size + length
        return whole


class Staging:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._spools: dict[str, Spool] = {}

    def spool(self, resource: str) -> Spool:
        if resource not in self._spools:
            spool = Spool(self.folder / f"{resource}.pages")
            spool.open()
            self._spools[resource] = spool
        return self._spools[resource]

    def close(self) -> None:
        for spool in self._spools.values():
            spool.close()
        self._spools.clear()

    def discard(self) -> None:
        self.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def _place(offset: int, length: int) -> int:
    return offset << LENGTH_BITS | length


def _checksum(kind: int, number: int, body: bytes) -> bytes:
    digest = blake2b(struct.pack("<BI", kind, number), digest_size=16)
    digest.update(body)
    return digest.digest()


# A crashed run is restarted within a minute. Older pages would import an old state of the source.
RESUME_WITHIN: Final = timedelta(minutes=10)


def can_resume(read_at: str, now: datetime) -> bool:
    """Whether the last page arrived recently enough (`read_at`, ISO 8601) to use the staged pages."""
    return bool(read_at) and timedelta() <= now - datetime.fromisoformat(read_at) <= RESUME_WITHIN


def open_staging(run: IngestionRun, base: Path) -> Staging:
    """The run's staged pages, with those of the previous run if it crashed in the same slot.

    Not after a failed run: its pages may be the cause.
    """
    settings = connection.settings_dict
    database = "|".join(str(settings.get(name) or "") for name in ("ENGINE", "HOST", "PORT", "NAME"))
    database_folder = base / blake2b(database.encode(), digest_size=6).hexdigest()
    staging = Staging(database_folder / f"run-{run.pk}")
    # An earlier database with the same address left this folder.
    staging.discard()
    if run.dry_run:
        return staging
    crashed = run_lifecycle.find_crashed_attempt(run)
    if crashed is not None:
        left = database_folder / f"run-{crashed.pk}"
        if left.exists():
            # A copy, because the earlier process may only be suspended and still append to its files.
            shutil.copytree(left, staging.folder)
    for folder in database_folder.glob("run-*"):
        if folder != staging.folder:
            Staging(folder).discard()
    return staging

"""Pages on disk between the source and the judge, each with its checksum.

A folder holds one run's staging: for each resource a file of frames, appended as pages land. A page that is
read again is appended again, and its last frame counts. A dead run's folder is taken up by the next run of
the same slot: whatever was cut off or damaged shows in the checksums, and only a resource whose reading had
ended is used.
"""

import shutil
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
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


class FrameKind(IntEnum):
    """What a frame holds."""

    PAGE = 1  # a page's body, as the source sent it
    CHANGES = 2  # the records of that page that the catalogue does not hold yet, and the refused rows
    END = 3  # what was measured of the reading; there is one once all pages have landed


@dataclass
class Spool:
    """One resource's frames. Used by one thread, and closed by `close`."""

    path: Path
    _frames: dict[tuple[FrameKind, int], tuple[int, int]] = field(default_factory=dict)
    _file: BinaryIO | None = None

    def open(self) -> None:
        """Find the frames that are whole; what follows the first broken one is cut off."""
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
        """Forget every frame."""
        self._frames.clear()
        self._opened.seek(0)
        self._opened.truncate(0)

    def append_frame(self, kind: FrameKind, number: int, body: bytes) -> None:
        file = self._opened
        offset = file.seek(0, 2)
        file.write(HEADER.pack(kind, number, len(body), _checksum(kind, number, body)))
        file.write(body)
        self._frames[kind, number] = (offset + HEADER.size, len(body))

    def mark_complete(self, measured: dict[str, Any]) -> None:
        """Say that every page has landed; from here on a dead run's pages can be used."""
        self.append_frame(FrameKind.END, 0, orjson.dumps(measured))
        self._opened.flush()

    @property
    def completed_stats(self) -> dict[str, Any] | None:
        """What `end` was told, or None while pages are missing."""
        if (FrameKind.END, 0) not in self._frames:
            return None
        measured: dict[str, Any] = orjson.loads(self.read_frame(FrameKind.END, 0))
        return measured

    def has_frame(self, kind: FrameKind, number: int) -> bool:
        return (kind, number) in self._frames

    def page_numbers(self, kind: FrameKind) -> list[int]:
        """The numbers of the pages that have a frame of this kind, in order."""
        return sorted(number for of_kind, number in self._frames if of_kind is kind)

    def read_frame(self, kind: FrameKind, number: int) -> bytes:
        offset, length = self._frames[kind, number]
        self._opened.seek(offset)
        return self._opened.read(length)

    def read_bodies(self, kind: FrameKind) -> Iterator[tuple[int, bytes]]:
        for number in self.page_numbers(kind):
            yield number, self.read_frame(kind, number)

    def drop_after(self, kind: FrameKind, last: int) -> None:
        """Forget the pages past `last`: the list got shorter while it was read."""
        for number in self.page_numbers(kind):
            if number > last:
                del self._frames[kind, number]

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
            self._frames[FrameKind(kind), number] = (whole + HEADER.size, length)
            whole += HEADER.size + length
        return whole


class Staging:
    """One run's folder of spools."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._spools: dict[str, Spool] = {}

    def spool(self, resource: str) -> Spool:
        if resource not in self._spools:
            spool = Spool(self.folder / f"{resource}.pages")
            spool.open()
            self._spools[resource] = spool
        return self._spools[resource]

    def age_seconds(self) -> float | None:
        """Seconds since the last page landed, or None when there is none."""
        times = [path.stat().st_mtime for path in self.folder.glob("*.pages")]
        return time.time() - max(times) if times else None

    def close(self) -> None:
        for spool in self._spools.values():
            spool.close()
        self._spools.clear()

    def discard(self) -> None:
        """Remove the folder; a run that is settled leaves nothing behind."""
        self.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def _checksum(kind: int, number: int, body: bytes) -> bytes:
    digest = blake2b(struct.pack("<BI", kind, number), digest_size=16)
    digest.update(body)
    return digest.digest()


# A run by hand takes up the pages of a dead one only while they are fresh; a slot's stay its own.
FRESH_SECONDS: Final = 3600.0


def open_staging(run: IngestionRun, base: Path) -> Staging:
    """The run's folder, with the pages of its dead predecessor when they can be taken up.

    Folders stand apart by database: two databases may share a machine, and number their runs alike.
    """
    settings = connection.settings_dict
    database = "|".join(str(settings.get(name) or "") for name in ("ENGINE", "HOST", "PORT", "NAME"))
    room = base / blake2b(database.encode(), digest_size=6).hexdigest()
    staging = Staging(room / f"run-{run.pk}")
    # What has its name was left by a database that is no more.
    staging.discard()
    before = run_lifecycle.find_predecessor(run)
    if before is not None and not run.dry_run:
        left = Staging(room / f"run-{before.pk}")
        age = left.age_seconds()
        if age is not None and (run.slot or age < FRESH_SECONDS):
            left.folder.rename(staging.folder)
    if not run.dry_run:
        _delete_stale_folders(
            room, keep={staging.folder, *(room / f"run-{pk}" for pk in run_lifecycle.resumable_run_ids())}
        )
    return staging


def _delete_stale_folders(room: Path, keep: set[Path]) -> None:
    for folder in room.glob("run-*"):
        if folder not in keep:
            Staging(folder).discard()

"""Where a run keeps its pages, and which dead run's pages it takes up."""

from hashlib import blake2b
from pathlib import Path
from typing import Final

from django.db import connection

from ingestion import runs
from ingestion.models import IngestionRun
from ingestion.staging import Staging

# A run by hand takes up the pages of a dead one only while they are fresh; a slot's stay its own.
FRESH_SECONDS: Final = 3600.0


def staging_of(run: IngestionRun, base: Path) -> Staging:
    """The run's folder, with the pages of its dead predecessor when they can be taken up.

    Folders stand apart by database: two databases may share a machine, and number their runs alike.
    """
    settings = connection.settings_dict
    database = "|".join(str(settings.get(name) or "") for name in ("ENGINE", "HOST", "PORT", "NAME"))
    room = base / blake2b(database.encode(), digest_size=6).hexdigest()
    staging = Staging(room / f"run-{run.pk}")
    # What has its name was left by a database that is no more.
    staging.discard()
    before = runs.predecessor(run)
    if before is not None and not run.dry_run:
        left = Staging(room / f"run-{before.pk}")
        age = left.age()
        if age is not None and (run.slot or age < FRESH_SECONDS):
            left.folder.rename(staging.folder)
    if not run.dry_run:
        _clean(room, keep={staging.folder, *(room / f"run-{pk}" for pk in runs.resumable())})
    return staging


def _clean(room: Path, keep: set[Path]) -> None:
    for folder in room.glob("run-*"):
        if folder not in keep:
            Staging(folder).discard()

"""Where an export for Spark is, for code that runs without the packages of the Spark engine."""

import shutil
from pathlib import Path
from typing import Final

SESSIONS: Final = "sessions"
MANIFEST: Final = "sessions.json"


def has_exported_sessions(export_dir: Path) -> bool:
    return (export_dir / SESSIONS).exists()


def delete_exported_sessions(export_dir: Path) -> bool:
    """Delete all exported sessions; the next training with Spark exports again. False if there were none."""
    (export_dir / MANIFEST).unlink(missing_ok=True)
    if not has_exported_sessions(export_dir):
        return False
    shutil.rmtree(export_dir / SESSIONS)
    return True

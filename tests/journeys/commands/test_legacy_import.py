"""A database of the original project is imported, and its duplicate rows are repaired."""

import sys
from pathlib import Path

import pytest

from tests.support.builders.original_database import make_original_database
from tests.support.project import ROOT, Project, wait_for_line

FOUND = (
    "from ingestion.models import *; "
    "print(Song.objects.count(), Listener.objects.count(), ListeningHistory.objects.count(), "
    "ListeningHistory.objects.get(user_id=1).items, Song.objects.get(pk=5).duration)"
)


@pytest.fixture
def legacy(tmp_path: Path) -> Path:
    return make_original_database(tmp_path / "seed.db")


def test_a_database_of_the_seed_is_taken_in_and_repaired(project: Project, legacy: Path) -> None:
    before = legacy.read_bytes()

    done = project.manage("importlegacy", str(legacy), check=False)

    assert done.returncode == 0
    assert project.shell(FOUND) == "10 3 3 [1, 2, 3] 0:03:20"
    assert "listening sessions: 6 duplicate rows were repaired." in done.stdout
    assert "9 listening sessions: 3 new, 0 changed, 0 unchanged, 0 rejected" in done.stdout
    # Three times the session whose list holds an id as text.
    assert "items read from text (3)" in done.stdout
    assert legacy.read_bytes() == before


def test_a_catalogue_that_holds_songs_is_not_overwritten(sqlite_project: Project, legacy: Path) -> None:
    sqlite_project.manage("importlegacy", str(legacy), check=False)

    again = sqlite_project.manage("importlegacy", str(legacy), check=False)

    assert again.returncode == 1
    assert "The catalogue already holds songs" in again.stderr


def test_a_file_that_is_no_database_of_the_seed_is_named(sqlite_project: Project, tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("no database at all, only some text that is long enough")

    absent = sqlite_project.manage("importlegacy", str(tmp_path / "absent.db"), check=False)
    text = sqlite_project.manage("importlegacy", str(tmp_path / "text.db"), check=False)

    assert "There is no file" in absent.stderr
    assert "is not a database with the tables songs, users, listening_history" in text.stderr


def test_an_import_while_a_run_is_at_work_ends_with_three(sqlite_project: Project, legacy: Path) -> None:
    code = (
        "from ingestion.pipeline import run_lifecycle;"
        "run_lifecycle.start_run(trigger='command'); print('begun', flush=True)"
    )
    holder = sqlite_project.start(
        sys.executable, str(ROOT / "manage.py"), "shell", "--no-imports", "-c",
        f"{code}; from threading import Event; Event().wait()",
    )  # fmt: skip
    wait_for_line(holder, "begun")

    locked = sqlite_project.manage("importlegacy", str(legacy), check=False)

    assert locked.returncode == 3
    assert "holds the lock since" in locked.stderr

"""Real pages, recorded from the public API, go through the whole pipeline twice."""

import json

from ingestion.demo.server import DemoServer
from ingestion.demo.source import RecordedSource
from tests.support.project import ROOT, Project

# All 3 000 rows of one live run, one body a page.
PAGES = ROOT / "tests" / "contract" / "pages"
COUNT = (
    "from ingestion.models import *; "
    "print(Song.objects.count(), Listener.objects.count(), ListeningHistory.objects.count())"
)


def test_every_recorded_row_is_taken_in_and_the_second_run_writes_none(project: Project) -> None:
    source = RecordedSource(PAGES)
    rows = {name: len(table) for name, table in source.snapshot().tables.items()}

    with DemoServer(source) as server:
        runs = [
            json.loads(project.manage("runingest", "--json", BASE_URL=server.url).stdout) for _ in range(2)
        ]

    first, second = (run["resources"] for run in runs)
    assert [run["status"] for run in runs] == ["succeeded", "succeeded"]
    assert sum(rows.values()) == 3_000
    assert first["songs"]["new"] == rows["tracks"]
    assert first["users"]["new"] == rows["users"]
    assert [resource["written"] for resource in second.values()] == [0, 0, 0]
    assert [resource["rejected"] for resource in second.values()] == [0, 0, 0]
    expected = f"{rows['tracks']} {rows['users']} {first['listening_history']['new']}"
    assert project.shell(COUNT) == expected


def test_a_dry_run_prints_the_difference_and_hides_who_people_are(sqlite_project: Project) -> None:
    with DemoServer(RecordedSource(PAGES)) as server:
        dry = sqlite_project.manage("runingest", "--dry-run", BASE_URL=server.url)
        open_ = sqlite_project.manage("runingest", "--dry-run", "--show-personal-data", BASE_URL=server.url)

    lines = dry.stdout.splitlines()
    assert any(
        line.startswith("songs 33100 new: id: 33100, name: 'side', artist: 'Trevor Harper'") for line in lines
    )
    assert "email: '(hidden)'" in dry.stdout
    assert "@example." not in dry.stdout
    assert "@example." in open_.stdout
    assert lines[-1].startswith("Dry run, nothing written: ")
    assert sqlite_project.shell(COUNT) == "0 0 0"

"""Both daylight-saving changes, simulated with the schedule, the watchdog and the channels."""

import sys

import pytest

from ingestion.demo.server import DemoServer
from ingestion.demo.world.world import World
from tests.support.project import Project
from tests.support.servers.alert_receivers import AlertRecipients

# Where clocks jump over half past two, that is at half past three; where it comes twice, at the first.
SPRING = (
    "2026-03-29", "2026-03-28 02:30 CET at 02:30", "2026-03-29 03:30 CEST at 03:30",
    "2026-03-30 02:30 CEST at 02:30",
)  # fmt: skip
AUTUMN = (
    "2026-10-25", "2026-10-24 02:30 CEST at 02:30", "2026-10-25 02:30 CEST at 02:30",
    "2026-10-26 02:30 CET at 02:30",
)  # fmt: skip


@pytest.fixture(scope="module")
def world() -> World:
    """A small world, because only the runs matter here."""
    return World(songs=60, listeners=10, days=5)


def live(project: Project, people: AlertRecipients, world: World, day: str, starts_at: int) -> list[str]:
    """The runs of three nights; in the second, no scheduler runs before this hour."""
    project.environment.update(people.settings())
    with DemoServer(world) as server:
        process = project.start(
            sys.executable, "-m", "tests.support.processes.clock_change", day, str(starts_at),
            BASE_URL=server.url,
            SCHEDULED_TIME="02:30", TIME_ZONE="Europe/Paris", LOG_LEVEL="ERROR",
        )  # fmt: skip
        said, _ = process.communicate(timeout=600)
    assert process.returncode == 0, said
    return [line for line in said.splitlines() if line.startswith("succeeded")]


@pytest.mark.parametrize(("day", "before", "changed", "after"), [SPRING, AUTUMN], ids=["spring", "autumn"])
def test_a_day_on_which_the_clocks_change_runs_once_and_nobody_is_told(
    sqlite_project: Project,
    people: AlertRecipients,
    world: World,
    day: str,
    before: str,
    changed: str,
    after: str,
) -> None:
    runs = live(sqlite_project, people, world, day, 0)

    assert runs == [f"succeeded {slot}" for slot in (before, changed, after)]
    assert people.new_subjects() == []


@pytest.mark.parametrize(
    ("day", "due", "late"),
    [
        ("2026-03-29", "2026-03-29 03:30 CEST", "2026-03-29 03:30 CEST at 05:00"),
        ("2026-10-25", "2026-10-25 02:30 CEST", "2026-10-25 02:30 CEST at 04:00"),
    ],
    ids=["spring", "autumn"],
)
def test_a_run_that_does_not_start_on_such_a_day_is_told_of_once_until_it_ran(
    sqlite_project: Project, people: AlertRecipients, world: World, day: str, due: str, late: str
) -> None:
    runs = live(sqlite_project, people, world, day, 3)

    assert runs[1] == f"succeeded {late}"
    assert people.new_subjects() == [
        f"Critical: The run that was due at {due} did not start",
        f"Resolved: The run that was due at {due} did not start",
    ]
    assert "Run 2 resolved it." in people.last_mail_text()

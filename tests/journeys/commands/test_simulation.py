"""`simulate`: two weeks of a small world with planted events, in a separate process."""

import json
from pathlib import Path

import pytest

from tests.support.project import Project

SMALL = ("--weeks=2", "--songs=150", "--listeners=20")


def scenario(folder: Path, *events: dict[str, object]) -> Path:
    path = folder / "scenario.json"
    path.write_text(json.dumps({"events": events}))
    return path


def test_two_simulated_weeks_report_a_right_reaction_to_each_planted_event(
    sqlite_project: Project, tmp_path: Path
) -> None:
    planted = scenario(
        tmp_path,
        {"event": "better", "week": 1},
        {"event": "outage", "week": 1, "day": 3, "days": 1},
        {"event": "reset", "week": 2, "day": 2, "days": 2},
        {"event": "worse", "week": 3},
    )
    folder = tmp_path / "rehearsal"

    done = sqlite_project.manage(
        "simulate", f"--folder={folder}", f"--scenario={planted}", *SMALL, "--json", timeout=600
    )

    report = json.loads(done.stdout)
    better, outage, reset = report["findings"]
    # The experiment of the better method needs more than two weeks.
    assert (better["event"], better["right"]) == ("better", None)
    assert "experiment 1: Running" in better["did"]
    assert (outage["event"], outage["right"]) == ("outage", True)
    assert outage["did"].startswith("1 runs failed; incident 1 opened, resolved by run 4 on ")
    assert (reset["event"], reset["right"]) == ("reset", True)
    assert reset["did"].startswith("2 runs refused: nothing was written; incident ")
    assert report["counts"]["lists"] > 100
    assert report["counts"]["listen"] > 30
    simulated = sqlite_project.manage(
        "shell",
        "--no-imports",
        "-c",
        COUNT_ROWS,
        DATABASE_NAME=str(folder / "rehearsal.db"),
        VAR_DIR=str(folder),
    ).stdout.split()
    # 15 mornings, the first training and 2 weekly ones, and plays of recommended songs.
    assert simulated[:2] == ["15", "3"]
    assert int(simulated[2]) > 10
    # The user's own database is not touched.
    assert sqlite_project.shell("from ingestion.models import *; print(Song.objects.count())") == "0"


COUNT_ROWS = """
from ingestion.models import IngestionRun
from recommender.models import AttributedListen, TrainingRun
print(IngestionRun.objects.count(), TrainingRun.objects.count(), AttributedListen.objects.count())
"""


@pytest.mark.parametrize(
    ("events", "said"),
    [
        ([{"event": "flood", "week": 1}], "the events are:"),
        ([{"event": "outage", "week": 0}], "expected a week from 1"),
    ],
)
def test_an_invalid_scenario_is_refused_before_the_simulation_starts(
    events: list[dict[str, object]], said: str, sqlite_project: Project, tmp_path: Path
) -> None:
    planted = scenario(tmp_path, *events)

    done = sqlite_project.manage(
        "simulate", f"--folder={tmp_path / 'rehearsal'}", f"--scenario={planted}", check=False
    )

    assert done.returncode == 1
    assert said in done.stderr
    assert not (tmp_path / "rehearsal").exists()


def test_the_error_names_a_scenario_file_that_does_not_exist(sqlite_project: Project, tmp_path: Path) -> None:
    done = sqlite_project.manage("rehearse", f"--scenario={tmp_path / 'none.json'}", check=False)

    assert done.returncode == 1
    assert "none.json can't be read: No such file or directory." in done.stderr

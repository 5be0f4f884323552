"""A month of healthy days raises no alarm, and the first bad day raises one: real runs of the demo source."""

import json
import re
import sys

from tests.support.project import ROOT, Project
from tests.support.servers.alert_receivers import AlertRecipients

REFUSED = "The ingestion run was refused: the source looks like a different catalogue"


def test_thirty_healthy_days_open_no_incident_and_planted_faults_do_at_once(
    sqlite_project: Project, people: AlertRecipients
) -> None:
    process = sqlite_project.start(
        sys.executable, "-m", "tests.support.processes.simulated_days", "30", cwd=ROOT, **people.settings()
    )

    said, _ = process.communicate(timeout=600)

    assert process.returncode == 0, said
    days = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    assert [(day["status"], day["ever"]) for day in days[:30]] == [("succeeded", 0)] * 30
    assert set(days[6]["verdicts"].values()) == {"learning"}
    assert set(days[29]["verdicts"].values()) == {"usual"}
    assert [(day["what"], day["status"], day["open"]) for day in days[30:41]] == [
        ("30 % bad rows", "partial", ["run_partial"]),
        ("well again", "succeeded", []),
        ("a slow source", "succeeded", ["unusual:duration"]),
        ("well again", "succeeded", []),
        ("half the songs missing", "refused", ["run"]),
        ("well again", "succeeded", []),
        ("two fifths of the songs missing", "succeeded", ["unusual:missing:songs", "unusual:received:songs"]),
        ("well again", "succeeded", []),
        ("no new listening", "succeeded", ["unusual:new:listening_history"]),
        ("it came a day late", "succeeded", ["unusual:latency_p95:listening_history"]),
        ("well again", "succeeded", []),
    ]
    assert "unusual:new:listening_history" in days[41]["open"]
    assert [day["resolved"] for day in days[30:41] if day["what"] == "well again"] == [
        ["run_partial"],
        ["unusual:duration"],
        ["run"],
        ["unusual:missing:songs", "unusual:received:songs"],
        ["unusual:latency_p95:listening_history"],
    ]
    # Of the healthy days nobody heard a word; of each trouble both heard that it came, and that it went.
    numbers = re.compile(r": [^:]+, expected .*")
    assert [numbers.sub("", subject) for subject in people.new_subjects()] == [
        "Warning: The ingestion run was partial: some data was not imported",
        "Resolved: The ingestion run was partial: some data was not imported",
        "Warning: Unusual run: duration",
        "Resolved: Unusual run: duration",
        f"Critical: {REFUSED}",
        f"Resolved: {REFUSED}",
        "Warning: Unusual run: rows received, songs",
        "Warning: Unusual run: missing rows, songs",
        "Resolved: Unusual run: rows received, songs",
        "Resolved: Unusual run: missing rows, songs",
        "Warning: Unusual run: new rows, listening history",
        "Warning: Unusual run: 95th percentile of data latency, listening history",
        "Resolved: Unusual run: new rows, listening history",
        "Resolved: Unusual run: 95th percentile of data latency, listening history",
        "Warning: Unusual run: rows received, listening history",
        "Warning: Unusual run: new rows, listening history",
    ]

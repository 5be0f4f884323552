"""A month of healthy days raises no alarm, and the first bad day does: the real pipeline on the twin."""

import json
import sys

from tests.support.project import ROOT, Project


def test_thirty_healthy_days_open_no_incident_and_planted_faults_do_at_once(project: Project) -> None:
    process = project.start(sys.executable, "-m", "tests.support.lived_days", "30", cwd=ROOT)

    said, _ = process.communicate(timeout=240)

    assert process.returncode == 0, said
    days = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    assert [(day["status"], day["ever"]) for day in days[:30]] == [("succeeded", 0)] * 30
    assert set(days[6]["verdicts"].values()) == {"learning"}
    assert set(days[29]["verdicts"].values()) == {"usual"}
    assert [(day["what"], day["status"], day["open"]) for day in days[30:39]] == [
        ("30 % bad rows", "partial", ["run_partial"]),
        ("well again", "succeeded", []),
        ("half the songs missing", "refused", ["run"]),
        ("well again", "succeeded", []),
        ("two fifths of the songs missing", "succeeded", ["unusual:missing:songs", "unusual:received:songs"]),
        ("well again", "succeeded", []),
        ("no new listening", "succeeded", ["unusual:new:listening_history"]),
        ("it came a day late", "succeeded", ["unusual:latency_p95:listening_history"]),
        ("well again", "succeeded", []),
    ]
    assert "unusual:new:listening_history" in days[39]["open"]
    assert [day["resolved"] for day in days[30:39] if day["what"] == "well again"] == [
        ["run_partial"],
        ["run"],
        ["unusual:missing:songs", "unusual:received:songs"],
        ["unusual:latency_p95:listening_history"],
    ]

"""The listener benchmark turns figures into findings with targets."""

from pathlib import Path
from typing import Any

from benchmarks.__main__ import build_parser
from benchmarks.recommendations.listener import Plan, build_findings, describe, plan_from_arguments

FIGURES: dict[str, Any] = {
    "listeners": 2, "lists": 10, "items": 200, "short": 0, "breaches": 3, "copies": 0,
    "problems": {"no shared genre": 2}, "reasons": {"From": 150, "Because": 50},
    "names": {"genres": 9, "none": 1}, "longest_name": 40, "examples": ["Rock", "Cluster 2"],
    "families": ["Rock"], "given": {"0": 0.05, "0.3": 0.3, "1": 0.8},
    "missed": {"0": 0.0, "0.3": 0.05, "1": 0.2}, "repeated": {"0": 0.6, "0.3": 0.6},
    "heaviest_seconds": 0.2, "heaviest_sessions": 12,
}  # fmt: skip


def test_findings_say_which_targets_are_missed() -> None:
    found = {finding.measure.removeprefix("demo: "): finding for finding in build_findings("demo", FIGURES)}

    missed = {name for name, finding in found.items() if not finding.met}
    assert found["reasons that hold"].ours == "0.99"
    assert found["clusters with a name"].ours == "0.90"
    assert missed == {
        "reasons that hold", "songs beyond an artist's cap", "songs also listed the day before, at 0.3",
        "new artists at discovery 1",
    }  # fmt: skip


def test_the_notes_hold_kinds_names_and_families() -> None:
    text = describe("demo", FIGURES)

    assert "reasons by kind: Because 50, From 150" in text
    assert "untrue reasons: no shared genre 2" in text
    assert "names by kind: genres 9, none 1" in text
    assert "names: Rock; Cluster 2" in text


def test_quick_measures_few_listeners_of_the_named_data_sets() -> None:
    chosen = build_parser().parse_args(["listener", "--quick", "--data", "one", "--data", "two"])

    assert plan_from_arguments(chosen) == Plan((Path("one"), Path("two")), listeners=4, max_listeners=200)

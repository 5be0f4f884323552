"""How often the bands cry wolf in a healthy year, and whether they find planted faults in the same run."""

import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import orjson

from benchmarks.report import Finding, Report

ROOT: Final = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Plan:
    """Years of each scenario, and whether to show what other widths than the chosen one would do."""

    years: int = 60
    tables: bool = True


def measure(plan: Plan) -> Report:
    """False alarms and found faults at the chosen k, then what other ones would do."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.simulation.anomaly_years", str(plan.years), str(int(plan.tables))],
        stdout=subprocess.PIPE, check=True, cwd=ROOT,
    )  # fmt: skip
    said = orjson.loads(done.stdout)
    findings = [Finding(**one) for one in said["findings"]]
    return Report(asdict(plan) | {"k": said["k"]}, findings, said["notes"])


def plan_from_arguments(chosen: Any) -> Plan:
    """From the command line."""
    return Plan(years=2 if chosen.quick else chosen.years, tables=not chosen.quick)

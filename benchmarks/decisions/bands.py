"""False alarms a year of the anomaly checks, and the share of planted faults that they find."""

import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import orjson

from benchmarks.report import Finding, Report

ROOT: Final = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Plan:
    """Years to simulate per scenario, and whether to compare other factors."""

    years: int = 60
    tables: bool = True


def measure(plan: Plan) -> Report:
    """Count false alarms and found faults with the factor in use, then with other factors."""
    done = subprocess.run(
        [
            sys.executable, "-m", "benchmarks.decisions.simulation.anomaly_years",
            str(plan.years), str(int(plan.tables)),
        ],
        stdout=subprocess.PIPE, check=True, cwd=ROOT,
    )  # fmt: skip
    answer = orjson.loads(done.stdout)
    findings = [Finding(**one) for one in answer["findings"]]
    return Report(asdict(plan) | {"k": answer["k"]}, findings, answer["notes"])


def plan_from_arguments(chosen: Any) -> Plan:
    return Plan(years=2 if chosen.quick else chosen.years, tables=not chosen.quick)

"""Requests that Schemathesis generates from the OpenAPI schema, checked against what the schema says."""

import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from benchmarks.service.faults.installation import Installation
from benchmarks.workspace import MeasurementFailed

SCHEMATHESIS: Final = Path(sys.executable).with_name("st")
# The schema allows these requests and the API refuses them with 400: a schema can say neither which ids and
# cursors exist nor that `repeats` needs `mode=mix`.
CONFIGURATION: Final = """
[[operations]]
include-path-regex = "/feedback/$|/(recommendations|next)/$|/v1/[a-z-]+/$"
checks.positive_data_acceptance.expected-statuses = ["2xx", "3xx", 400, 401, 403, 404, 409, 429]
"""
# The check of authentication sends invalid keys: after 20 within a minute their address is throttled.
THROTTLED: Final = "Expected 401 or 403, got `429 Too Many Requests`"
# One text of the report may hold several failures of an operation.
FAILURE_START: Final = re.compile(r"^(?=\d+\. Test Case ID)", re.MULTILINE)
MAX_TEXT: Final = 600


@dataclass
class ApiTotals:
    """`operations` counts each operation once in each phase."""

    operations: int = 0
    failures: list[str] = field(default_factory=list)


def check_api(installation: Installation, key: str, folder: Path, examples: int, seed: int) -> ApiTotals:
    """Send generated requests with this key, or without one if it is empty, and make every check.

    Args:
        examples: random requests for each operation, beside those at the limits of its parameters.

    Raises:
        MeasurementFailed: Schemathesis could not run.
    """
    (folder / "schemathesis.toml").write_text(CONFIGURATION)
    report = folder / "schemathesis.xml"
    report.unlink(missing_ok=True)
    command = [
        str(SCHEMATHESIS), "run", f"{installation.url}/api/schema/", f"--url={installation.url}",
        "--checks=all", "--phases=examples,coverage,fuzzing", f"--max-examples={examples}",
        f"--seed={seed}", "--warnings=off", f"--report-junit-path={report}", "--request-timeout=60",
        "--suppress-health-check=all", *([f"--header=Authorization: Bearer {key}"] if key else []),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    if not report.exists():
        raise MeasurementFailed(f"Schemathesis: {done.stdout[-2000:]}{done.stderr[-1000:]}")
    return read_report(report)


def read_report(report: Path) -> ApiTotals:
    """The totals of a report in JUnit's format."""
    totals = ApiTotals()
    for case in ET.parse(report).getroot().iter("testcase"):  # noqa: S314
        totals.operations += case.find("skipped") is None
        for wrong in (*case.findall("failure"), *case.findall("error")):
            text = wrong.text or wrong.get("message") or ""
            found = [one for one in FAILURE_START.split(text) if one.strip() and THROTTLED not in one]
            totals.failures += [f"{case.get('name')}: {one[:MAX_TEXT]}" for one in found]
    return totals

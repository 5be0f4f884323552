"""Results of a benchmark, as a table and as JSON."""

import os
import platform
import sys
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import orjson

COLUMNS: Final = ("measure", "ours", "reference", "ratio", "target", "met")


@dataclass(frozen=True)
class Finding:
    """One row of the table."""

    measure: str
    ours: str
    peer: str
    ratio: str
    judged: float  # the figure compared with the target: the ratio or our own
    target: float
    at_most: bool = True  # whether the target is a maximum; else it is a minimum
    unit: str = ""
    samples: dict[str, list[float]] = field(default_factory=dict)  # all figures behind the medians, by name

    @property
    def met(self) -> bool:
        return self.judged <= self.target if self.at_most else self.judged >= self.target

    def cells(self) -> tuple[str, ...]:
        sign = "<=" if self.at_most else ">="
        target = f"{sign} {self.target:g}{self.unit}"
        return (self.measure, self.ours, self.peer, self.ratio, target, "yes" if self.met else "no")


@dataclass
class Report:
    """All findings of one run, and notes on what was skipped or failed."""

    plan: dict[str, Any]
    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    is_broken: bool = False

    @property
    def is_met(self) -> bool:
        return all(finding.met for finding in self.findings)

    def format_table(self) -> str:
        """The findings as plain text, followed by the notes."""
        rows = [COLUMNS, *(finding.cells() for finding in self.findings)]
        widths = [max(len(row[place]) for row in rows) for place in range(len(COLUMNS))]
        lines = ["  ".join(map(_padded, row, widths, range(len(widths)))).rstrip() for row in rows]
        lines.insert(1, "  ".join("-" * width for width in widths))
        return "\n".join([*lines, *(f"\n{note}" for note in self.notes)])

    def write(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        document = {
            "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": {
                "python": sys.version.split()[0],
                "system": platform.platform(),
                "cpus": os.cpu_count(),
            },
            "plan": self.plan,
            "findings": [{**asdict(finding), "met": finding.met} for finding in self.findings],
            "notes": self.notes,
        }
        path.write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2))


def _padded(cell: str, width: int, place: int) -> str:
    return cell.ljust(width) if place in {0, 5} else cell.rjust(width)

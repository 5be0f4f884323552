"""What was measured, as a table for people and as JSON for machines."""

import os
import platform
import sys
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import orjson

COLUMNS: Final = ("measure", "ours", "floor/peer", "ratio", "target", "met")


@dataclass(frozen=True)
class Finding:
    """One line of the table.

    Attributes:
        judged: the figure that is held against the target: the ratio, or what is ours.
        at_most: whether the target is a ceiling; else it is the least that is wanted.
        samples: every single figure behind the medians.
    """

    measure: str
    ours: str
    peer: str
    ratio: str
    judged: float
    target: float
    at_most: bool = True
    unit: str = ""
    samples: dict[str, list[float]] = field(default_factory=dict)

    @property
    def met(self) -> bool:
        return self.judged <= self.target if self.at_most else self.judged >= self.target

    def cells(self) -> tuple[str, ...]:
        sense = "<=" if self.at_most else ">="
        target = f"{sense} {self.target:g}{self.unit}"
        return (self.measure, self.ours, self.peer, self.ratio, target, "yes" if self.met else "no")


@dataclass
class Report:
    """All findings of one run, and what could not be measured."""

    plan: dict[str, Any]
    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    is_broken: bool = False

    @property
    def is_met(self) -> bool:
        """Whether every target was."""
        return all(finding.met for finding in self.findings)

    def format_table(self) -> str:
        """A plain table; the notes stand below it."""
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
    """Words to the left, figures to the right."""
    return cell.ljust(width) if place in {0, 5} else cell.rjust(width)

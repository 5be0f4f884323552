"""The door: `python -m benchmarks ingest`."""

import sys
from argparse import ArgumentParser, ArgumentTypeError, RawDescriptionHelpFormatter
from collections.abc import Sequence
from pathlib import Path

from benchmarks import ingest

QUICK_ROWS, QUICK_BIG = 6_000, 50_000
DEFAULT_JSON = Path(__file__).resolve().parents[1] / "var" / "benchmarks" / "ingest.json"


def parser() -> ArgumentParser:
    """Every measurement is a command of its own."""
    top = ArgumentParser(prog="python -m benchmarks", description="Measurements, never part of the tests.")
    commands = top.add_subparsers(dest="command", required=True, metavar="NAME")
    parts = "\n".join(f"  {name:16} {part.about}" for name, part in ingest.PARTS.items())
    one = commands.add_parser(
        "ingest", help="an ingestion against a bare fetch of the same pages, and against dlt",
        description=f"Measure an ingestion against a bare fetch of the same pages.\n\nparts:\n{parts}",
        formatter_class=RawDescriptionHelpFormatter,
    )  # fmt: skip
    one.add_argument("--list", action="store_true", help="name the parts and end")
    one.add_argument("--rows", type=_count, default=60_000, help="rows of most parts (default: 60000)")
    one.add_argument("--big", type=_count, default=1_000_000, help="rows of `memory` (default: 1000000)")
    one.add_argument("--latency-ms", type=float, default=50.0, help="added to every page (default: 50)")
    one.add_argument(
        "--quick", action="store_true",
        help=f"{QUICK_ROWS} and {QUICK_BIG} rows, each once: shows that it works, proves nothing",
    )  # fmt: skip
    one.add_argument("--json", type=Path, default=DEFAULT_JSON, metavar="FILE", help="the figures, in full")
    one.add_argument(
        "--only", action="append", choices=list(ingest.PARTS), metavar="PART", help="this part; repeatable"
    )
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what was asked for; 0 unless something broke: a missed target is a result."""
    chosen = parser().parse_args(arguments)
    if chosen.list:
        for name, part in ingest.PARTS.items():
            print(f"{name:16} {part.about}")
        return 0
    plan = ingest.Plan(
        rows=QUICK_ROWS if chosen.quick else chosen.rows,
        big=QUICK_BIG if chosen.quick else chosen.big,
        latency=chosen.latency_ms / 1000,
        rounds=1 if chosen.quick else ingest.ROUNDS,
        parts=tuple(chosen.only or ingest.PARTS),
    )
    report = ingest.measure(plan)
    print(report.text())
    report.write(chosen.json)
    print(f"\nIn full: {chosen.json}")
    return 1 if report.is_broken else 0


def _count(text: str) -> int:
    number = int(text)
    if number < 300:
        raise ArgumentTypeError(f"{number} rows are too few to measure")
    return number


if __name__ == "__main__":
    sys.exit(main())

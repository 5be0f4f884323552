"""Command line of the benchmarks: `python -m benchmarks NAME`."""

import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace, RawDescriptionHelpFormatter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.decisions import bands, calibration
from benchmarks.growth import growth
from benchmarks.imports import ingest, proof
from benchmarks.recommendations import listener, peers, quality, train
from benchmarks.report import Report
from benchmarks.service import connections, pages, serve, soak

QUICK_ROWS, QUICK_LARGE_ROWS = 6_000, 50_000
RESULTS_FOLDER = Path(__file__).resolve().parents[1] / "var" / "benchmarks"
MUST_BE_MET = ("calibration", "growth", "proof", "quality", "soak")
QUICK_WORLD = {"songs": 3_000, "listeners": 600, "plays": 40_000}


def build_parser() -> ArgumentParser:
    top = ArgumentParser(
        prog="python -m benchmarks",
        description="Measure time, memory, ranking quality and error rates against their targets.",
        epilog="Example: python -m benchmarks train --quick\n\nNAME -h lists a benchmark's options; "
        "docs/benchmarks.md explains the results.",
        formatter_class=RawDescriptionHelpFormatter,
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="NAME")
    _add_ingest(commands)
    _add_quality(commands)
    _add_peers(commands)
    for name, module in (("train", train), ("serve", serve)):
        _add_world(commands, name, (module.__doc__ or "").strip())
    _add_calibration(commands)
    _add_bands(commands)
    _add_pages(commands)
    _add_proof(commands)
    _add_listener(commands)
    _add_soak(commands)
    _add_connections(commands)
    _add_growth(commands)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a benchmark, print its report and return an exit code.

    1 if a measurement failed, or if a full calibration, a proof, the ranking quality or growth misses a
    target, because decisions, successes, lists and larger catalogues can't be trusted then. Other missed
    targets are results.
    """
    chosen = build_parser().parse_args(arguments)
    report = BENCHMARKS[chosen.command](chosen)
    if report is None:
        return 0
    print(report.format_table())
    path = chosen.json or RESULTS_FOLDER / f"{chosen.command}.json"
    report.write(path)
    print(f"\nAll figures: {path}")
    is_quick_check = chosen.command in {"calibration", "growth", "soak"} and chosen.quick
    return exit_code(report, must_be_met=chosen.command in MUST_BE_MET and not is_quick_check)


def exit_code(report: Report, *, must_be_met: bool) -> int:
    return 1 if report.is_broken or (must_be_met and not report.is_met) else 0


def _add_ingest(commands: Any) -> None:
    parts = "\n".join(f"  {name:16} {part.about}" for name, part in ingest.PARTS.items())
    parser = commands.add_parser(
        "ingest", help="cost of an import beyond fetching its pages, and a comparison with dlt",
        description=f"{ingest.__doc__}\n\nparts:\n{parts}",
        formatter_class=RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--list", action="store_true", help="list the parts and exit")
    parser.add_argument(
        "--rows", type=_count, default=60_000, help="rows to import in most parts (default: 60000)"
    )
    parser.add_argument(
        "--big", type=_count, default=1_000_000, help="rows to import in the part memory (default: 1000000)"
    )
    parser.add_argument("--latency-ms", type=float, default=50.0, help="delay of every page (default: 50)")
    parser.add_argument(
        "--quick", action="store_true",
        help=f"{QUICK_ROWS} and {QUICK_LARGE_ROWS} rows, one round: checks that the benchmark works",
    )  # fmt: skip
    _add_json(parser)
    parser.add_argument(
        "--only",
        action="append",
        choices=list(ingest.PARTS),
        metavar="PART",
        help="measure only this part; repeatable",
    )


def _add_quality(commands: Any) -> None:
    parser = commands.add_parser(
        "quality", help="how well each model ranks what listeners play next",
        description=quality.__doc__, formatter_class=RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="folder of a data set")
    parser.add_argument("--dump", type=Path, metavar="FILE.npz", help="file to write each model's lists to")
    _add_json(parser)


def _add_peers(commands: Any) -> None:
    parser = commands.add_parser(
        "peers", help="lists of other libraries on the same plays: quality, speed, memory",
        description=peers.__doc__, formatter_class=RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument(
        "--data", type=Path, required=True, metavar="DIR", help="folder of a data set, see `quality --help`"
    )
    _add_json(parser)


def _add_world(commands: Any, name: str, about: str) -> None:
    parser = commands.add_parser(name, help=about[0].lower() + about[1:].rstrip("."), description=about)
    parser.add_argument("--songs", type=_count, default=200_000, help="songs to generate (default: 200000)")
    parser.add_argument(
        "--listeners", type=_count, default=20_000, help="listeners to generate (default: 20000)"
    )
    parser.add_argument(
        "--plays", type=_count, default=1_000_000, help="plays to generate (default: 1000000)"
    )
    parser.add_argument(
        "--quick", action="store_true", help="a small database: checks that the benchmark works"
    )
    if name == "serve":
        parser.add_argument(
            "--postgresql", action="store_true",
            help="1, 4, 16 and 64 clients on a temporary PostgreSQL and Valkey, instead of the other parts",
        )  # fmt: skip
    _add_json(parser)


def _add_calibration(commands: Any) -> None:
    parser = commands.add_parser(
        "calibration", help="error rates of experiments, drift checks and cluster feedback",
        description=calibration.__doc__, formatter_class=RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--runs", type=int, default=500, help="simulations of each scenario (default: 500)")
    parser.add_argument(
        "--database-experiments",
        type=int,
        default=100,
        help="experiments through the database (default: 100)",
    )
    parser.add_argument(
        "--quick", action="store_true", help="20 simulations each: checks that the benchmark works"
    )
    parser.add_argument(
        "--event-level", action="store_true",
        help="decide by single events, which is wrong: shows that the targets are then missed",
    )  # fmt: skip
    _add_json(parser)


def _add_bands(commands: Any) -> None:
    about = (bands.__doc__ or "").strip()
    parser = commands.add_parser("bands", help=about[0].lower() + about[1:].rstrip("."), description=about)
    parser.add_argument(
        "--years", type=int, default=60, help="healthy years to simulate for each scenario (default: 60)"
    )
    parser.add_argument("--quick", action="store_true", help="2 years each: checks that the benchmark works")
    _add_json(parser)


def _add_pages(commands: Any) -> None:
    about = (pages.__doc__ or "").strip()
    parser = commands.add_parser("pages", help=about[0].lower() + about[1:].rstrip("."), description=about)
    parser.add_argument(
        "--songs", type=_count, default=1_000_000, help="songs to generate (default: 1000000)"
    )
    parser.add_argument(
        "--listeners", type=_count, default=200_000, help="listeners with 5 sessions each (default: 200000)"
    )
    parser.add_argument(
        "--runs", type=_count, default=1_000, help="daily import runs to generate (default: 1000)"
    )
    parser.add_argument(
        "--postgresql", action="store_true", help="use a temporary PostgreSQL instead of SQLite"
    )
    parser.add_argument(
        "--quick", action="store_true", help="a small database: checks that the benchmark works"
    )
    _add_json(parser)


def _add_proof(commands: Any) -> None:
    parser = commands.add_parser(
        "proof", help="random misleading sources and killed runs, against what \"succeeded\" promises",
        description=proof.__doc__, formatter_class=RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--cases", type=int, default=2_000, help="random sources to import (default: 2000)")
    parser.add_argument("--kills", type=int, default=100, help="rounds with a killed run (default: 100)")
    parser.add_argument("--seed", type=int, default=1, help="number of the first case (default: 1)")
    parser.add_argument(
        "--postgresql", action="store_true", help="use a temporary PostgreSQL instead of SQLite"
    )
    parser.add_argument(
        "--quick", action="store_true", help="40 cases, 3 kills: checks that the benchmark works"
    )
    _add_json(parser)


def _add_listener(commands: Any) -> None:
    parser = commands.add_parser(
        "listener", help="whether reasons, names and lists are as a listener should see them",
        description=listener.__doc__, formatter_class=RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument(
        "--data", type=Path, action="append", metavar="DIR",
        help="folder of a data set, in addition to the demo's world; repeatable",
    )  # fmt: skip
    parser.add_argument("--listeners", type=int, default=100, help="who get lists (default: 100)")
    parser.add_argument(
        "--max-listeners", type=int, default=2_000, help="of a data set, to train on (default: 2000)"
    )
    parser.add_argument(
        "--quick", action="store_true", help="4 listeners each: checks that the benchmark works"
    )
    _add_json(parser)


def _add_soak(commands: Any) -> None:
    plan = soak.Plan()
    parser = commands.add_parser(
        "soak", help="killed parts, many clients, hostile requests, damaged models, generated requests",
        description=soak.__doc__, formatter_class=RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--kills", type=int, default=plan.kills, help="of each part (default: 50)")
    parser.add_argument(
        "--minutes", type=float, default=plan.minutes, help="of the load on each database (default: 5)"
    )
    parser.add_argument(
        "--slow-seconds", type=float, default=plan.slow_seconds, help="beside slow clients (default: 60)"
    )
    parser.add_argument("--bodies", type=int, default=plan.bodies, help="malformed bodies (default: 10000)")
    parser.add_argument(
        "--artifacts", type=int, default=plan.artifacts, help="damaged models (default: 1000)"
    )
    parser.add_argument(
        "--examples", type=int, default=plan.examples,
        help="generated requests for each operation of the API, beside those for its limits (default: 100)",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, default=plan.seed, help="of all random choices (default: 1)")
    parser.add_argument(
        "--only", action="append", choices=list(soak.PARTS), metavar="PART", help="only this part; repeatable"
    )
    parser.add_argument(
        "--quick", action="store_true", help="one kill of each part, a few seconds of the others"
    )
    _add_json(parser)


def _add_connections(commands: Any) -> None:
    parser = commands.add_parser(
        "connections", help="database connections kept by threads against a pool",
        description=connections.__doc__, formatter_class=RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--quick", action="store_true", help="5 s each: checks that the benchmark works")
    _add_json(parser)


def _add_growth(commands: Any) -> None:
    parser = commands.add_parser(
        "growth", help="how CPU time grows with plays, songs, listeners, votes, rows, lists and histories",
        description=growth.__doc__, formatter_class=RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument(
        "--factor", type=float, default=1.0, help="multiplies all sizes but histories (default: 1)"
    )
    parser.add_argument(
        "--only", action="append", choices=list(growth.PARTS), metavar="PART",
        help=f"only this part, of {', '.join(growth.PARTS)}; repeatable",
    )  # fmt: skip
    parser.add_argument("--quick", action="store_true", help="small sizes: checks that the benchmark works")
    _add_json(parser)


def _add_json(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="file for all figures (default: in var/benchmarks/)"
    )


def _ingest(chosen: Namespace) -> Report | None:
    if chosen.list:
        for name, part in ingest.PARTS.items():
            print(f"{name:16} {part.about}")
        return None
    return ingest.measure(
        ingest.Plan(
            rows=QUICK_ROWS if chosen.quick else chosen.rows,
            big=QUICK_LARGE_ROWS if chosen.quick else chosen.big,
            latency=chosen.latency_ms / 1000,
            rounds=1 if chosen.quick else ingest.ROUNDS,
            parts=tuple(chosen.only or ingest.PARTS),
        )
    )


def _quality(chosen: Namespace) -> Report:
    _require_dataset(chosen.data)
    return quality.measure(chosen.data, chosen.dump)


def _peers(chosen: Namespace) -> Report:
    _require_dataset(chosen.data)
    return peers.measure(chosen.data)


def _train(chosen: Namespace) -> Report:
    points = 100_000 if chosen.quick else 1_000_000
    return train.measure(train.Plan(**_world(chosen), points=points))


def _serve(chosen: Namespace) -> Report:
    plan = serve.Plan(**_world(chosen), on_servers=chosen.postgresql)
    return serve.measure(replace(plan, seconds=2.0, rounds=1, big_songs=10_000) if chosen.quick else plan)


def _calibration(chosen: Namespace) -> Report:
    return calibration.measure(calibration.plan_from_arguments(chosen))


def _bands(chosen: Namespace) -> Report:
    return bands.measure(bands.plan_from_arguments(chosen))


def _pages(chosen: Namespace) -> Report:
    return pages.measure(pages.plan_from_arguments(chosen))


def _proof(chosen: Namespace) -> Report:
    return proof.measure(proof.plan_from_arguments(chosen))


def _listener(chosen: Namespace) -> Report:
    for folder in chosen.data or ():
        _require_dataset(folder)
    return listener.measure(listener.plan_from_arguments(chosen))


def _soak(chosen: Namespace) -> Report:
    return soak.measure(soak.plan_from_arguments(chosen))


def _connections(chosen: Namespace) -> Report:
    return connections.measure(connections.plan_from_arguments(chosen))


def _growth(chosen: Namespace) -> Report:
    return growth.measure(growth.plan_from_arguments(chosen))


def _require_dataset(folder: Path) -> None:
    if not (folder / "songs.csv.gz").is_file():
        sys.exit(f"{folder} has no songs.csv.gz. `quality --help` describes the files of a data set.")


def _world(chosen: Namespace) -> dict[str, Any]:
    return QUICK_WORLD if chosen.quick else {name: getattr(chosen, name) for name in QUICK_WORLD}


def _count(text: str) -> int:
    number = int(text)
    if number < 300:
        raise ArgumentTypeError(f"{number} is too few to measure; the minimum is 300")
    return number


BENCHMARKS = {
    "ingest": _ingest, "quality": _quality, "train": _train, "serve": _serve, "calibration": _calibration,
    "bands": _bands, "pages": _pages, "proof": _proof, "listener": _listener, "soak": _soak,
    "connections": _connections, "growth": _growth, "peers": _peers,
}  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())

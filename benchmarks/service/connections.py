"""Compares database connections that each thread of a web process keeps with a pool of psycopg.

Needs psycopg-pool, which the product's requirements don't install. The PostgreSQL server is the one that the
tests use.
"""

import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from typing import Any, Final

import orjson
import psycopg

from benchmarks.report import Finding, Report
from benchmarks.service.faults.installation import POSTGRES, WEB, Installation, run_installation
from benchmarks.workspace import Figures, MeasurementFailed, Workspace, temporary_workspace
from ingestion.demo.server import DemoServer
from ingestion.demo.world.world import World

CLIENTS: Final = 32
WEB_WORKERS: Final = 2
SETTINGS: Final = {"kept": "moovitamix.settings", "pooled": "benchmarks.service.pooled_settings"}
COUNT_EVERY: Final = 0.5  # seconds
MIN_RATIO: Final = 1.0


@dataclass(frozen=True)
class Plan:
    seconds: float = 20.0
    rounds: int = 3


def plan_from_arguments(chosen: Any) -> Plan:
    return Plan(5.0, 1) if chosen.quick else Plan()


def measure(plan: Plan) -> Report:
    report = Report(asdict(plan))
    if find_spec("psycopg_pool") is None:
        report.is_broken = True
        report.notes.append("psycopg-pool is not installed: pip install psycopg-pool")
        return report
    with temporary_workspace() as workspace:
        try:
            _compare(workspace, plan, report)
        except MeasurementFailed as error:
            report.is_broken = True
            report.notes.append(f"Failed: {error}")
    return report


def _compare(workspace: Workspace, plan: Plan, report: Report) -> None:
    samples: dict[str, list[Figures]] = {name: [] for name in SETTINGS}
    with (
        DemoServer(World(songs=1_500, listeners=150, days=15)) as source,
        run_installation(workspace, source.url, on_servers=True, web_workers=WEB_WORKERS) as installation,
    ):
        for command in (["runingest", "--json"], ["retrain", "--json"], ["preparelists", "--all"]):
            installation.project.manage(*command)
        for round_ in range(plan.rounds):
            # Alternating, so that a busy machine harms both.
            for name in SETTINGS:
                sys.stderr.write(f"connections: {name}, round {round_ + 1} of {plan.rounds}\n")
                samples[name].append(_load(workspace, installation, SETTINGS[name], plan.seconds))
    kept, pooled = ({name: _median(samples[kind], name) for name in FIGURES} for kind in SETTINGS)
    report.findings.append(
        Finding("answers a second, kept / pooled", f"{kept['a_second']:.0f}", f"{pooled['a_second']:.0f}",
                f"{kept['a_second'] / pooled['a_second']:.2f}", kept["a_second"] / pooled["a_second"],
                MIN_RATIO, at_most=False,
                samples={name: [one["a_second"] for one in samples[name]] for name in SETTINGS})
    )  # fmt: skip
    for name, figures in (("kept", kept), ("pooled", pooled)):
        report.notes.append(
            f"{name}: {figures['connections']:.0f} connections at most, 99th percentile "
            f"{1_000 * figures['p99']:.0f} ms, {figures['errors']:.0f} errors."
        )


FIGURES: Final = ("a_second", "p99", "connections", "errors")


def _load(workspace: Workspace, installation: Installation, settings: str, seconds: float) -> Figures:
    installation.project.environment["DJANGO_SETTINGS_MODULE"] = settings
    installation.start(WEB)
    installation.wait_until_ready()
    command = [
        sys.executable, "-m", "benchmarks.service.client_load", str(installation.port), installation.key,
        str(seconds), str(CLIENTS), *installation.listeners(),
    ]  # fmt: skip
    most, begun = 0, time.monotonic()
    with (
        psycopg.connect(installation.servers[POSTGRES].url, autocommit=True) as counter,
        subprocess.Popen(
            command, env=workspace.environment, cwd=workspace.folder, stdout=subprocess.PIPE
        ) as clients,
    ):
        while time.monotonic() - begun < seconds and clients.poll() is None:
            row = counter.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"
            ).fetchone()
            most = max(most, row[0] - 1 if row else 0)
            time.sleep(COUNT_EVERY)
        output, _ = clients.communicate()
    installation.kill(WEB)
    if clients.returncode:
        raise MeasurementFailed("The clients ended with an error.")
    figures: Figures = orjson.loads(output)
    worst = max(minute["p99"] for minute in figures["minutes"])
    return {
        "a_second": figures["answers"] / seconds, "p99": worst, "connections": most,
        "errors": figures["errors"],
    }  # fmt: skip


def _median(figures: list[Figures], name: str) -> float:
    values = sorted(float(one[name]) for one in figures)
    return values[len(values) // 2]

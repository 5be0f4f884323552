"""Load and faults: killed parts, many clients, slow clients, malformed bodies, damaged models.

Everything runs as deployed: `serve`, `work`, Beat, and nginx with the shipped configuration. A missed target
is a fault of the product: the exit code is 1.

parts:
  kills      SIGKILL of web, worker, Beat, Valkey and PostgreSQL in imports, trainings, promotions, feedback
  clients    20 clients without a pause, on SQLite and on PostgreSQL: errors, memory, 99th percentile
  slow       clients that send bodies a byte a second, or nothing, in front of nginx
  bodies     malformed bodies of feedback
  artifacts  random damage to a trained model's files
  api        requests generated from the OpenAPI schema: no key, a key without the scopes, a key with all
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import orjson

from benchmarks.report import Finding, Report
from benchmarks.service.faults import api_checks, damaged_artifacts, hostile_requests
from benchmarks.service.faults.installation import WEB, Installation, run_installation
from benchmarks.service.faults.kill_parts import KillRounds
from benchmarks.workspace import Figures, MeasurementFailed, Workspace, temporary_workspace
from ingestion.demo.server import DemoServer
from ingestion.demo.world.world import World
from tests.support.servers.proxy import NGINX

CLIENTS: Final = 20
MEMORY_EVERY: Final = 2.0  # seconds
# The memory of a fresh process grows with its first requests: only the second half of a load counts.
WARM_SHARE: Final = 0.5
MAX_GROWTH: Final = 2.0  # MB a minute
# A machine that others use is slow at times for other reasons.
MAX_P99_RATIO: Final = 2.0
MAX_SLOW_ANSWER: Final = 5.0  # seconds
# nginx accepts 40 connections of an address; the others belong to those who ask meanwhile.
SLOW_CLIENTS, IDLE_CLIENTS = 25, 10
MAX_EXAMPLES: Final = 10
ALL_SCOPES: Final = "catalogue,recommend,feedback,metrics,personal-data"
# Prints the champion's folder and checksum.
CHAMPION: Final = """
from django.conf import settings
from recommender.models import ModelVersion
version = ModelVersion.objects.get(role="champion")
print(settings.MODEL_STORAGE / version.label, version.artifact_sha256)
"""


def build_world() -> World:
    return World(songs=1_500, listeners=150, days=15)


@dataclass(frozen=True)
class Plan:
    """`kills` counts those of each part; `minutes` are those of the load on each database."""

    kills: int = 50
    minutes: float = 5.0
    slow_seconds: float = 60.0
    bodies: int = 10_000
    artifacts: int = 1_000
    examples: int = 100
    seed: int = 1
    parts: tuple[str, ...] = ()


QUICK: Final = Plan(kills=1, minutes=0.25, slow_seconds=5.0, bodies=300, artifacts=50, examples=3)


def measure(plan: Plan) -> Report:
    report = Report(asdict(plan))
    for name in plan.parts or tuple(PARTS):
        with temporary_workspace() as workspace:
            try:
                PARTS[name](workspace, plan, report)
            except MeasurementFailed as error:
                report.is_broken = True
                report.notes.append(f"{name} failed: {error}")
    return report


def _measure_kills(workspace: Workspace, plan: Plan, report: Report) -> None:
    world = build_world()
    with (
        DemoServer(world, latency=0.02) as source,
        run_installation(workspace, source.url, on_servers=True) as installation,
    ):
        totals = KillRounds(installation, world, plan.seed).run(plan.kills, _print_progress)
    parts = ", ".join(f"{count} {part}" for part, count in totals.by_part.items())
    wrong = len({problem.partition(":")[0] for problem in totals.problems})
    report.findings += [
        _none_of("kills after which something was wrong", wrong, totals.rounds),
        _none_of("acknowledged events that were lost", totals.lost, totals.acknowledged),
        _none_of("events that were stored twice", totals.doubled, totals.acknowledged),
        Finding("longest time until requests were answered", f"{max(totals.recoveries):.1f} s", "-", "-",
                max(totals.recoveries), 60.0, unit=" s", samples={"seconds": totals.recoveries}),
    ]  # fmt: skip
    report.notes += [
        f"Killed: {parts}. {totals.failed_requests} requests failed meanwhile and were sent again.",
        *totals.problems[:MAX_EXAMPLES],
    ]


def _measure_clients(workspace: Workspace, plan: Plan, report: Report) -> None:
    for name, on_servers in (("SQLite", False), ("PostgreSQL", True)):
        with temporary_workspace() as own, _serving(own, on_servers=on_servers) as installation:
            _print_progress(f"clients: {CLIENTS} clients for {plan.minutes:g} minutes on {name}")
            figures, memory = _load(own, installation, 60 * plan.minutes)
        _add_load(report, name, figures, memory)
        a_second = figures["answers"] / (60 * plan.minutes)
        report.notes.append(f"{name}: {a_second:.0f} answers a second, {figures['statuses']}.")
        report.notes += figures["examples"][:MAX_EXAMPLES]


def _add_load(report: Report, name: str, figures: Figures, memory: list[tuple[float, float]]) -> None:
    first, last = figures["minutes"][0]["p99"], figures["minutes"][-1]["p99"]
    growth = memory_growth(memory)
    report.findings += [
        _none_of(f"failed requests of {CLIENTS} clients, {name}", figures["errors"], figures["answers"]),
        Finding(f"growth of the web server's memory, {name}", f"{growth:.2f} MB/min", "-", "-", growth,
                MAX_GROWTH, unit=" MB/min", samples={"MB": [megabytes for _, megabytes in memory]}),
        Finding(f"99th percentile, last minute / first, {name}", f"{1_000 * last:.0f} ms",
                f"{1_000 * first:.0f} ms", f"{last / first:.2f}", last / first, MAX_P99_RATIO,
                samples={"seconds": [minute["p99"] for minute in figures["minutes"]]}),
    ]  # fmt: skip


def _load(
    workspace: Workspace, installation: Installation, seconds: float
) -> tuple[Figures, list[tuple[float, float]]]:
    """What the clients measured, and the web server's memory in MB by time."""
    command = [
        sys.executable, "-m", "benchmarks.service.client_load", str(installation.port), installation.key,
        str(seconds), str(CLIENTS), *installation.listeners(),
    ]  # fmt: skip
    memory, begun = [], time.monotonic()
    with subprocess.Popen(
        command, env=workspace.environment, cwd=workspace.folder, stdout=subprocess.PIPE
    ) as clients:
        while clients.poll() is None and time.monotonic() - begun < seconds:
            memory.append((time.monotonic() - begun, installation.web_memory()))
            time.sleep(min(MEMORY_EVERY, seconds / 20))
        output, _ = clients.communicate()
    if clients.returncode:
        raise MeasurementFailed("The clients ended with an error.")
    return orjson.loads(output), memory


def memory_growth(memory: list[tuple[float, float]]) -> float:
    """Growth of memory in MB a minute: the least-squares slope, without the warm-up."""
    rows = memory[int(WARM_SHARE * len(memory)) :]
    mean_at = sum(at for at, _ in rows) / len(rows)
    mean_mb = sum(mb for _, mb in rows) / len(rows)
    spread = sum((at - mean_at) ** 2 for at, _ in rows)
    return 60 * sum((at - mean_at) * (mb - mean_mb) for at, mb in rows) / spread if spread else 0.0


def _measure_slow(workspace: Workspace, plan: Plan, report: Report) -> None:
    if NGINX is None:
        report.notes.append("slow: skipped, because nginx is not installed (Debian: apt install nginx-light)")
        return
    with _serving(workspace, on_servers=False) as installation:
        _print_progress(
            f"slow: {SLOW_CLIENTS} slow and {IDLE_CLIENTS} idle clients for {plan.slow_seconds:g} s"
        )
        listener = installation.listeners()[0]
        paths = ["/health/live/", f"/api/v1/users/{listener}/recommendations/?n=20"]
        with tempfile.TemporaryDirectory() as folder:
            totals = hostile_requests.ask_beside_slow_clients(
                installation, Path(folder), paths, clients=SLOW_CLIENTS, idle=IDLE_CLIENTS,
                seconds=plan.slow_seconds,
            )  # fmt: skip
    report.findings += [
        _none_of("requests that failed beside slow clients", totals.failures, totals.answers),
        Finding("slowest answer beside slow clients", f"{totals.slowest:.2f} s", "-", "-", totals.slowest,
                MAX_SLOW_ANSWER, unit=" s"),
    ]  # fmt: skip


def _measure_bodies(workspace: Workspace, plan: Plan, report: Report) -> None:
    with _serving(workspace, on_servers=False) as installation:
        _print_progress(f"bodies: {plan.bodies} malformed bodies")
        totals = hostile_requests.send_malformed_bodies(installation, plan.bodies, plan.seed)
    report.findings.append(
        _none_of("malformed bodies without an orderly answer", len(totals.broken), plan.bodies)
    )
    statuses = ", ".join(f"{count} x {status}" for status, count in sorted(totals.statuses.items()))
    report.notes += [f"Answers to malformed bodies: {statuses}.", *totals.broken[:MAX_EXAMPLES]]


def _measure_artifacts(workspace: Workspace, plan: Plan, report: Report) -> None:
    with _serving(workspace, on_servers=False) as installation:
        found = installation.project.shell(CHAMPION)
        _print_progress(f"artifacts: {plan.artifacts} damaged copies of a model")
        model, sha256 = found.rsplit(" ", 1)
        totals = damaged_artifacts.damage_artifacts(
            Path(model), sha256, workspace.folder, plan.artifacts, plan.seed
        )
    report.findings += [
        _none_of("damaged models that were loaded", len(totals.accepted), plan.artifacts),
        _none_of(
            "damaged models that raised something else than a refusal", len(totals.raised), plan.artifacts
        ),
        _none_of("models whose code was run", int(totals.executed), plan.artifacts),
    ]
    report.notes += [*totals.accepted[:MAX_EXAMPLES], *totals.raised[:MAX_EXAMPLES]]


def _measure_api(workspace: Workspace, plan: Plan, report: Report) -> None:
    with _serving(workspace, on_servers=False) as installation:
        scopes = {"no key": "", "a key without the scopes": "metrics", "a key with all scopes": ALL_SCOPES}
        for who, scope in scopes.items():
            _print_progress(f"api: {who}, {plan.examples} requests for each operation")
            key = installation.make_key(scope) if scope else ""
            totals = api_checks.check_api(installation, key, workspace.folder, plan.examples, plan.seed)
            report.findings.append(
                _none_of(f"operations with a wrong answer, {who}", len(totals.failures), totals.operations)
            )
            report.notes += totals.failures[:MAX_EXAMPLES]


@contextmanager
def _serving(workspace: Workspace, *, on_servers: bool) -> Iterator[Installation]:
    """A web server with a catalogue, a model and candidate lists."""
    with (
        DemoServer(build_world()) as source,
        run_installation(workspace, source.url, on_servers=on_servers) as installation,
    ):
        for command in (["runingest", "--json"], ["retrain", "--json"], ["preparelists", "--all"]):
            installation.project.manage(*command)
        installation.start(WEB)
        installation.wait_until_ready()
        yield installation


def _none_of(measure: str, bad: int, of: int) -> Finding:
    return Finding(measure, ours=str(bad), peer=f"of {of}", ratio="", judged=bad, target=0)


def _print_progress(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def plan_from_arguments(chosen: Any) -> Plan:
    parts = tuple(chosen.only or ())
    if chosen.quick:
        return Plan(**{**asdict(QUICK), "seed": chosen.seed, "parts": parts})
    return Plan(
        chosen.kills,
        chosen.minutes,
        chosen.slow_seconds,
        chosen.bodies,
        chosen.artifacts,
        chosen.examples,
        chosen.seed,
        parts,
    )


PARTS: Final[dict[str, Callable[[Workspace, Plan, Report], None]]] = {
    "kills": _measure_kills, "clients": _measure_clients, "slow": _measure_slow, "bodies": _measure_bodies,
    "artifacts": _measure_artifacts, "api": _measure_api,
}  # fmt: skip

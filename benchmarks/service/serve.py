"""Cost of recommendation lists: requests per second against a plain view, scoring time, memory of workers.

With --postgresql, requests per second of 1 to 64 clients on PostgreSQL and Valkey instead.
"""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from secrets import token_urlsafe
from typing import Final

import orjson
import psutil
import psycopg

from benchmarks.report import Finding, Report
from benchmarks.workspace import (
    ROOT,
    Figures,
    MeasurementFailed,
    Workspace,
    open_postgres,
    temporary_workspace,
)
from tests.support.servers.postgres_and_valkey import run_valkey

MIN_THROUGHPUT_RATIO: Final = 0.6  # times the plain view's
MAX_P99_RATIO: Final = 3.0  # times the plain view's
MAX_MODEL_MS: Final = {200_000: 3.0, 1_000_000: 6.0}
MAX_PRIVATE_MEMORY: Final = 150.0  # MB per worker
WORKERS: Final = 4
START_TIMEOUT: Final = 120.0  # seconds
CONNECTIONS: Final = 4
CLIENTS: Final = (1, 4, 16, 64)  # at the same time
CLIENTS_WORKERS: Final = 2
CLIENTS_THREADS: Final = 8  # of each worker, as `serve` starts them
REQUESTED_LISTENERS: Final = 300  # per view: enough that no response repeats the one before


VIEW_SETTINGS: Final = {
    "plain": "benchmarks.service.plain_view_settings",
    "ours": "moovitamix.settings",
}


@dataclass(frozen=True)
class Plan:
    """The size of the database and the duration of each load."""

    songs: int = 200_000
    listeners: int = 20_000
    plays: int = 1_000_000
    seconds: float = 10.0
    rounds: int = 3
    big_songs: int = 1_000_000
    on_servers: bool = False  # PostgreSQL and Valkey, instead of SQLite and no Redis


def measure(plan: Plan) -> Report:
    report = Report(asdict(plan))
    with temporary_workspace() as workspace:
        try:
            if plan.on_servers:
                _measure_clients(workspace, plan, report)
                return report
            key = _prepare(workspace, plan)
            _measure_throughput(workspace, plan, report, key)
            _measure_memory(workspace, plan, report, key)
            for songs in (plan.songs, plan.big_songs):
                _measure_model_time(workspace, plan, songs, report)
        except MeasurementFailed as error:
            report.is_broken = True
            report.notes.append(f"Failed: {error}")
    return report


def _prepare(workspace: Workspace, plan: Plan) -> str:
    """Fill a database, train a model and prepare candidate lists; returns an API key."""
    workspace.environment |= {
        "DATABASE_NAME": str(workspace.folder / "serve.db"), "API_RATE": "1000000/min",
        "ALLOWED_HOSTS": "127.0.0.1", "SECRET_KEY": token_urlsafe(50),
    }  # fmt: skip
    manage = str(ROOT / "manage.py")
    workspace.run_python(manage, "migrate", "-v", "0")
    _print_progress(f"generating {plan.songs} songs, {plan.listeners} listeners, {plan.plays} plays")
    workspace.run_python(
        "-m", "benchmarks.populate.catalogue", str(plan.songs), str(plan.listeners), str(plan.plays)
    )
    _print_progress("training")
    workspace.run_python(manage, "retrain", "--json")
    _print_progress("preparing candidate lists")
    made = orjson.loads(workspace.run_python(manage, "preparelists", "--all", "--json"))["lists"]
    if made < 2 * REQUESTED_LISTENERS:
        raise MeasurementFailed(
            f"Candidate lists were prepared for only {made} of {plan.listeners} listeners"
        )
    workspace.run_python(
        manage,
        "createsuperuser",
        "--noinput",
        "--username=admin",
        "--email=admin@example.org",
        DJANGO_SUPERUSER_PASSWORD=token_urlsafe(12),
    )
    return workspace.run_python(manage, "apikey", "benchmark", "--user=admin", "--quiet").decode().split()[-1]


def _measure_throughput(workspace: Workspace, plan: Plan, report: Report, key: str) -> None:
    samples: dict[str, list[Figures]] = {"plain": [], "ours": []}
    for round_ in range(plan.rounds):
        for name, figures in samples.items():
            _print_progress(f"load {round_ + 1}/{plan.rounds}: {name}")
            with _server(workspace, workers=1, DJANGO_SETTINGS_MODULE=VIEW_SETTINGS[name]) as (port, _):
                figures.append(_load(workspace, port, key, plan.seconds, _paths(name)))
    _require_answers(samples)
    _findings(report, samples, f"at {plan.songs} songs")


def _measure_clients(workspace: Workspace, plan: Plan, report: Report) -> None:
    samples: dict[int, dict[str, list[Figures]]] = {
        clients: {name: [] for name in VIEW_SETTINGS} for clients in CLIENTS
    }
    with run_valkey() as valkey, open_postgres(workspace) as databases:
        database = databases.create_database()
        workspace.environment |= {**database, "REDIS_URL": valkey.url}
        key = _prepare(workspace, plan)
        # This server has no autovacuum, and without statistics PostgreSQL chooses other plans.
        with psycopg.connect(database["DATABASE_URL"], autocommit=True) as connection:
            connection.execute("ANALYZE")
        for round_ in range(plan.rounds):
            for name, settings in VIEW_SETTINGS.items():
                _print_progress(f"{', '.join(map(str, CLIENTS))} clients {round_ + 1}/{plan.rounds}: {name}")
                with _server(
                    workspace, workers=CLIENTS_WORKERS, threads=CLIENTS_THREADS,
                    DJANGO_SETTINGS_MODULE=settings,
                ) as (port, _):  # fmt: skip
                    for clients, found in samples.items():
                        found[name].append(
                            _load(workspace, port, key, plan.seconds, _paths(name), connections=clients)
                        )
    for clients, found in samples.items():
        _require_answers(found)
        _findings(report, found, f"on PostgreSQL, {clients} clients")


def _paths(name: str) -> list[str]:
    if name == "ours":
        listeners = range(1, REQUESTED_LISTENERS + 1)
        return [f"/api/v1/users/{listener}/recommendations/?n=20" for listener in listeners]
    # Other listeners: the plain view's feedback makes their candidate lists stale.
    return [f"/plain/{listener}/" for listener in range(REQUESTED_LISTENERS + 1, 2 * REQUESTED_LISTENERS + 1)]


def _require_answers(samples: dict[str, list[Figures]]) -> None:
    failures = sum(figures["failures"] for figures in samples["ours"])
    if failures:
        raise MeasurementFailed(f"{failures} responses did not have status 200")


def _findings(report: Report, samples: dict[str, list[Figures]], where: str) -> None:
    rate = {name: _median(figures, "a_second") for name, figures in samples.items()}
    tail = {name: 1000 * _median(figures, "p99") for name, figures in samples.items()}
    every = {name: [figures["a_second"] for figures in rounds] for name, rounds in samples.items()}
    report.findings += [
        Finding(
            f"lists per second {where} / plain view",
            f"{rate['ours']:.0f}",
            f"{rate['plain']:.0f}",
            f"{rate['ours'] / rate['plain']:.2f}",
            rate["ours"] / rate["plain"],
            MIN_THROUGHPUT_RATIO,
            at_most=False,
            samples=every,
        ),
        Finding(
            f"99th percentile of the response time {where} / plain view",
            f"{tail['ours']:.1f} ms",
            f"{tail['plain']:.1f} ms",
            f"{tail['ours'] / tail['plain']:.2f}",
            tail["ours"] / tail["plain"],
            MAX_P99_RATIO,
        ),
    ]


def _measure_memory(workspace: Workspace, plan: Plan, report: Report, key: str) -> None:
    """Private memory of each worker after serving prepared lists and scoring online."""
    paths = [
        f"/api/v1/users/{listener}/recommendations/?n=20"
        for listener in range(1, 2 * REQUESTED_LISTENERS + 1)
    ]
    with _server(workspace, workers=WORKERS) as (port, server):
        _load(workspace, port, key, plan.seconds, paths, connections=4 * WORKERS)
        workers = [child for child in server.children(recursive=True) if child.memory_info().rss > 20e6]
        private = [worker.memory_full_info().uss / 1e6 for worker in workers]
    report.findings.append(
        Finding(
            f"private memory of the largest of {len(private)} workers", f"{max(private):.0f} MB", "-", "-",
            max(private), MAX_PRIVATE_MEMORY, unit=" MB", samples={"workers": private},
        )
    )  # fmt: skip


def _measure_model_time(workspace: Workspace, plan: Plan, songs: int, report: Report) -> None:
    _print_progress(f"online scoring at {songs} songs")
    figures = workspace.measure_module(
        "benchmarks.recommendations.online_scoring", str(songs), str(plan.listeners), str(plan.plays)
    )
    target = MAX_MODEL_MS.get(songs, max(MAX_MODEL_MS.values()))
    report.findings.append(
        Finding(
            f"online scoring, {songs} songs, median", f"{figures['p50'] * 1000:.2f} ms", "-", "-",
            figures["p50"] * 1000, target, unit=" ms",
        )
    )  # fmt: skip
    report.notes.append(f"Online scoring at {songs} songs: 99th percentile {figures['p99'] * 1000:.2f} ms.")


def _load(
    workspace: Workspace,
    port: int,
    key: str,
    seconds: float,
    paths: list[str],
    connections: int = CONNECTIONS,
) -> Figures:
    return workspace.measure_module(
        "benchmarks.service.http_load", str(port), key, str(seconds), str(connections), *paths
    )


@contextmanager
def _server(
    workspace: Workspace, *, workers: int, threads: int = 1, **variables: str
) -> Iterator[tuple[int, psutil.Process]]:
    """A Granian server. A single worker is pinned, so that the load gets the other processor."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    command = [sys.executable, "-m", "granian", "--interface=wsgi", "--host=127.0.0.1", f"--port={port}",
               f"--workers={workers}", f"--blocking-threads={threads}", "--no-access-log",
               "moovitamix.wsgi:application"]  # fmt: skip
    log = workspace.folder / "server.log"
    with (
        log.open("ab") as output,
        subprocess.Popen(
            command,
            env={**workspace.environment, **variables},
            cwd=workspace.folder,
            stdout=output,
            stderr=output,
        ) as process,
    ):
        try:
            _pin_to_processor(process.pid, workers)
            _wait_for_port(port, process, log.name)
            yield port, psutil.Process(process.pid)
        finally:
            process.terminate()


def _pin_to_processor(pid: int, workers: int) -> None:
    processors = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    if len(processors) > 1 and workers == 1:
        os.sched_setaffinity(pid, {processors[0]})


def _wait_for_port(port: int, process: "subprocess.Popen[bytes]", log: str) -> None:
    end = time.monotonic() + START_TIMEOUT
    while time.monotonic() < end and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise MeasurementFailed(f"the server did not start; see {log}")


def _median(figures: list[Figures], name: str) -> float:
    values = sorted(float(one[name]) for one in figures)
    return values[len(values) // 2]


def _print_progress(text: str) -> None:
    sys.stderr.write(f"serve: {text} ...\n")

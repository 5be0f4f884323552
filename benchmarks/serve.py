"""What a list of recommendations costs: against a plain view, in model time, and in memory."""

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

from benchmarks.place import ROOT, Figures, MeasurementFailed, Workspace, temporary_workspace
from benchmarks.report import Finding, Report

MIN_THROUGHPUT_RATIO: Final = 0.6  # of the plain view's
MAX_P99_RATIO: Final = 3.0  # times the plain view's
MAX_MODEL_MS: Final = {200_000: 3.0, 1_000_000: 6.0}
MAX_PRIVATE_MEMORY: Final = 150.0  # MB a worker
WORKERS: Final = 4
START_TIMEOUT: Final = 120.0  # seconds
CONNECTIONS: Final = 4
REQUESTED_LISTENERS: Final = 300  # listeners of each view; enough that no answer is the one before


@dataclass(frozen=True)
class Plan:
    """How large a world, and how long each load lasts."""

    songs: int = 200_000
    listeners: int = 20_000
    plays: int = 1_000_000
    seconds: float = 10.0
    rounds: int = 3
    big_songs: int = 1_000_000


def measure(plan: Plan) -> Report:
    """Measure throughput and tail against a plain view, model time at two sizes, and workers' memory."""
    report = Report(asdict(plan))
    with temporary_workspace() as place:
        try:
            key = _prepare(place, plan)
            _measure_throughput(place, plan, report, key)
            _measure_memory(place, plan, report, key)
            for songs in (plan.songs, plan.big_songs):
                _measure_model_time(place, plan, songs, report)
        except MeasurementFailed as error:
            report.is_broken = True
            report.notes.append(f"Broke: {error}")
    return report


def _prepare(place: Workspace, plan: Plan) -> str:
    """Fill a database, train a model, prepare the shelves; a key to the API."""
    place.environment |= {
        "DATABASE_NAME": str(place.folder / "serve.db"), "API_RATE": "1000000/min",
        "ALLOWED_HOSTS": "127.0.0.1", "SECRET_KEY": token_urlsafe(50),
    }  # fmt: skip
    manage = str(ROOT / "manage.py")
    place.run_python(manage, "migrate", "-v", "0")
    _print_progress(f"filling a world of {plan.songs} songs, {plan.listeners} listeners, {plan.plays} plays")
    place.run_python(
        "-m", "benchmarks.populate.catalogue", str(plan.songs), str(plan.listeners), str(plan.plays)
    )
    _print_progress("training")
    place.run_python(manage, "retrain", "--json")
    _print_progress("preparing shelves")
    made = orjson.loads(place.run_python(manage, "prepareshelves", "--all", "--json"))["shelves"]
    if made < 2 * REQUESTED_LISTENERS:
        raise MeasurementFailed(
            f"{made} shelves were prepared, of {plan.listeners}: lists would be scored live"
        )
    place.run_python(manage, "createsuperuser", "--noinput", "--username=admin", "--email=admin@example.org",
              DJANGO_SUPERUSER_PASSWORD=token_urlsafe(12))  # fmt: skip
    return place.run_python(manage, "apikey", "benchmark", "--user=admin", "--quiet").decode().split()[-1]


def _measure_throughput(place: Workspace, plan: Plan, report: Report, key: str) -> None:
    samples: dict[str, list[Figures]] = {"plain": [], "ours": []}
    paths = {
        # Other listeners: what the plain view writes would make shelves stale.
        "plain": [
            f"/plain/{listener}/" for listener in range(REQUESTED_LISTENERS + 1, 2 * REQUESTED_LISTENERS + 1)
        ],
        "ours": [
            f"/api/v1/users/{listener}/recommendations/?n=20"
            for listener in range(1, REQUESTED_LISTENERS + 1)
        ],
    }
    settings = {"plain": "benchmarks.processes.plain_view_settings", "ours": "moovitamix.settings"}
    for round_ in range(plan.rounds):
        for name, figures in samples.items():
            _print_progress(f"load {round_ + 1}/{plan.rounds}: {name}")
            with _server(place, workers=1, DJANGO_SETTINGS_MODULE=settings[name]) as (port, _):
                figures.append(_load(place, port, key, plan.seconds, paths[name]))
    failures = sum(figures["failures"] for figures in samples["ours"])
    if failures:
        raise MeasurementFailed(f"{failures} answers were no 200")
    _findings(report, plan, samples)


def _findings(report: Report, plan: Plan, samples: dict[str, list[Figures]]) -> None:
    rate = {name: _median(figures, "a_second") for name, figures in samples.items()}
    tail = {name: 1000 * _median(figures, "p99") for name, figures in samples.items()}
    every = {name: [figures["a_second"] for figures in of] for name, of in samples.items()}
    report.findings += [
        Finding(
            f"lists a second at {plan.songs} songs / plain view",
            f"{rate['ours']:.0f}", f"{rate['plain']:.0f}",
            f"{rate['ours'] / rate['plain']:.2f}", rate["ours"] / rate["plain"], MIN_THROUGHPUT_RATIO,
            at_most=False, samples=every,
        ),
        Finding(
            "p99 / plain view's", f"{tail['ours']:.1f} ms", f"{tail['plain']:.1f} ms",
            f"{tail['ours'] / tail['plain']:.2f}", tail["ours"] / tail["plain"], MAX_P99_RATIO,
        ),
    ]  # fmt: skip


def _measure_memory(place: Workspace, plan: Plan, report: Report, key: str) -> None:
    """Private memory of each of several workers, after all of them have served from shelves and scored live.

    Live for the second half of the listeners: what the plain view wrote of them made their shelves stale.
    """
    paths = [
        f"/api/v1/users/{listener}/recommendations/?n=20"
        for listener in range(1, 2 * REQUESTED_LISTENERS + 1)
    ]
    with _server(place, workers=WORKERS) as (port, server):
        _load(place, port, key, plan.seconds, paths, connections=4 * WORKERS)
        workers = [child for child in server.children(recursive=True) if child.memory_info().rss > 20e6]
        private = [worker.memory_full_info().uss / 1e6 for worker in workers]
    report.findings.append(
        Finding(
            f"private memory of the largest of {len(private)} workers", f"{max(private):.0f} MB", "-", "-",
            max(private), MAX_PRIVATE_MEMORY, unit=" MB", samples={"workers": private},
        )
    )  # fmt: skip


def _measure_model_time(place: Workspace, plan: Plan, songs: int, report: Report) -> None:
    _print_progress(f"live scoring at {songs} songs")
    figures = place.measure_module("online_scoring", str(songs), str(plan.listeners), str(plan.plays))
    target = MAX_MODEL_MS.get(songs, max(MAX_MODEL_MS.values()))
    report.findings.append(
        Finding(
            f"live scoring, {songs} songs, median model time", f"{figures['p50'] * 1000:.2f} ms", "-", "-",
            figures["p50"] * 1000, target, unit=" ms",
        )
    )  # fmt: skip
    report.notes.append(f"Live scoring at {songs} songs: p99 {figures['p99'] * 1000:.2f} ms.")


def _load(
    place: Workspace, port: int, key: str, seconds: float, paths: list[str], connections: int = CONNECTIONS
) -> Figures:
    return place.measure_module("http_load", str(port), key, str(seconds), str(connections), *paths)


@contextmanager
def _server(place: Workspace, *, workers: int, **variables: str) -> Iterator[tuple[int, psutil.Process]]:
    """Granian with so many workers; where there are two processors, the load has the other one."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    command = [sys.executable, "-m", "granian", "--interface=wsgi", "--host=127.0.0.1", f"--port={port}",
               f"--workers={workers}", "--blocking-threads=1", "--no-access-log",
               "moovitamix.wsgi:application"]  # fmt: skip
    log = place.folder / "server.log"
    with (
        log.open("ab") as output,
        subprocess.Popen(
            command, env={**place.environment, **variables}, cwd=place.folder, stdout=output, stderr=output
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

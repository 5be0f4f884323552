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

from benchmarks.place import ROOT, Broken, Figures, Place, temporary_place
from benchmarks.report import Finding, Report

LEAST_THROUGHPUT: Final = 0.6  # of the plain view's
MOST_P99: Final = 3.0  # times the plain view's
MOST_MODEL_MS: Final = {200_000: 3.0, 1_000_000: 6.0}
MOST_PRIVATE: Final = 150.0  # MB a worker
WORKERS: Final = 4
START_WITHIN: Final = 120.0  # seconds
CONNECTIONS: Final = 4
ASKED: Final = 300  # listeners of each view; enough that no answer is the one before


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
    with temporary_place() as place:
        try:
            key = _prepare(place, plan)
            _throughput(place, plan, report, key)
            _memory(place, plan, report, key)
            for songs in (plan.songs, plan.big_songs):
                _model_time(place, plan, songs, report)
        except Broken as error:
            report.is_broken = True
            report.notes.append(f"Broke: {error}")
    return report


def _prepare(place: Place, plan: Plan) -> str:
    """Fill a database, train a model, prepare the shelves; a key to the API."""
    place.environment |= {
        "DATABASE_NAME": str(place.folder / "serve.db"), "API_RATE": "1000000/min",
        "ALLOWED_HOSTS": "127.0.0.1", "SECRET_KEY": token_urlsafe(50),
    }  # fmt: skip
    manage = str(ROOT / "manage.py")
    place.run(manage, "migrate", "-v", "0")
    _say(f"filling a world of {plan.songs} songs, {plan.listeners} listeners, {plan.plays} plays")
    place.run("-m", "benchmarks._world", str(plan.songs), str(plan.listeners), str(plan.plays))
    _say("training")
    place.run(manage, "retrain", "--json")
    _say("preparing shelves")
    made = orjson.loads(place.run(manage, "prepareshelves", "--all", "--json"))["shelves"]
    if made < 2 * ASKED:
        raise Broken(f"{made} shelves were prepared, of {plan.listeners}: lists would be scored live")
    place.run(manage, "createsuperuser", "--noinput", "--username=admin", "--email=admin@example.org",
              DJANGO_SUPERUSER_PASSWORD=token_urlsafe(12))  # fmt: skip
    return place.run(manage, "apikey", "benchmark", "--user=admin", "--quiet").decode().split()[-1]


def _throughput(place: Place, plan: Plan, report: Report, key: str) -> None:
    samples: dict[str, list[Figures]] = {"plain": [], "ours": []}
    paths = {
        # Other listeners: what the plain view writes would make shelves stale.
        "plain": [f"/plain/{listener}/" for listener in range(ASKED + 1, 2 * ASKED + 1)],
        "ours": [f"/api/v1/users/{listener}/recommendations/?n=20" for listener in range(1, ASKED + 1)],
    }
    settings = {"plain": "benchmarks._plain_settings", "ours": "moovitamix.settings"}
    for round_ in range(plan.rounds):
        for name, figures in samples.items():
            _say(f"load {round_ + 1}/{plan.rounds}: {name}")
            with _server(place, workers=1, DJANGO_SETTINGS_MODULE=settings[name]) as (port, _):
                figures.append(_load(place, port, key, plan.seconds, paths[name]))
    failures = sum(figures["failures"] for figures in samples["ours"])
    if failures:
        raise Broken(f"{failures} answers were no 200")
    _findings(report, plan, samples)


def _findings(report: Report, plan: Plan, samples: dict[str, list[Figures]]) -> None:
    rate = {name: _middle(figures, "a_second") for name, figures in samples.items()}
    tail = {name: 1000 * _middle(figures, "p99") for name, figures in samples.items()}
    every = {name: [figures["a_second"] for figures in of] for name, of in samples.items()}
    report.findings += [
        Finding(
            f"lists a second at {plan.songs} songs / plain view",
            f"{rate['ours']:.0f}", f"{rate['plain']:.0f}",
            f"{rate['ours'] / rate['plain']:.2f}", rate["ours"] / rate["plain"], LEAST_THROUGHPUT,
            at_most=False, samples=every,
        ),
        Finding(
            "p99 / plain view's", f"{tail['ours']:.1f} ms", f"{tail['plain']:.1f} ms",
            f"{tail['ours'] / tail['plain']:.2f}", tail["ours"] / tail["plain"], MOST_P99,
        ),
    ]  # fmt: skip


def _memory(place: Place, plan: Plan, report: Report, key: str) -> None:
    """Private memory of each of several workers, after all of them have served from shelves and scored live.

    Live for the second half of the listeners: what the plain view wrote of them made their shelves stale.
    """
    paths = [f"/api/v1/users/{listener}/recommendations/?n=20" for listener in range(1, 2 * ASKED + 1)]
    with _server(place, workers=WORKERS) as (port, server):
        _load(place, port, key, plan.seconds, paths, connections=4 * WORKERS)
        workers = [child for child in server.children(recursive=True) if child.memory_info().rss > 20e6]
        private = [worker.memory_full_info().uss / 1e6 for worker in workers]
    report.findings.append(
        Finding(
            f"private memory of the largest of {len(private)} workers", f"{max(private):.0f} MB", "-", "-",
            max(private), MOST_PRIVATE, unit=" MB", samples={"workers": private},
        )
    )  # fmt: skip


def _model_time(place: Place, plan: Plan, songs: int, report: Report) -> None:
    _say(f"live scoring at {songs} songs")
    figures = place.figures("_live", str(songs), str(plan.listeners), str(plan.plays))
    target = MOST_MODEL_MS.get(songs, max(MOST_MODEL_MS.values()))
    report.findings.append(
        Finding(
            f"live scoring, {songs} songs, median model time", f"{figures['p50'] * 1000:.2f} ms", "-", "-",
            figures["p50"] * 1000, target, unit=" ms",
        )
    )  # fmt: skip
    report.notes.append(f"Live scoring at {songs} songs: p99 {figures['p99'] * 1000:.2f} ms.")


def _load(
    place: Place, port: int, key: str, seconds: float, paths: list[str], connections: int = CONNECTIONS
) -> Figures:
    return place.figures("_load", str(port), key, str(seconds), str(connections), *paths)


@contextmanager
def _server(place: Place, *, workers: int, **variables: str) -> Iterator[tuple[int, psutil.Process]]:
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
            _pin(process.pid, workers)
            _wait(port, process, log.name)
            yield port, psutil.Process(process.pid)
        finally:
            process.terminate()


def _pin(pid: int, workers: int) -> None:
    processors = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    if len(processors) > 1 and workers == 1:
        os.sched_setaffinity(pid, {processors[0]})


def _wait(port: int, process: "subprocess.Popen[bytes]", log: str) -> None:
    end = time.monotonic() + START_WITHIN
    while time.monotonic() < end and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise Broken(f"the server did not start; see {log}")


def _middle(figures: list[Figures], name: str) -> float:
    values = sorted(float(one[name]) for one in figures)
    return values[len(values) // 2]


def _say(text: str) -> None:
    sys.stderr.write(f"serve: {text} ...\n")

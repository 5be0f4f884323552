"""Processes of the simulated service: they serve the API and run tasks, at the times that requests name.

Started as `python -m`. A process ends with its input, so none outlives a killed simulation.
"""

import gc
import http.client
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, date, datetime
from functools import cached_property
from pathlib import Path
from threading import Thread
from typing import Any, Final
from wsgiref.simple_server import WSGIRequestHandler, make_server

import django
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.urls import get_resolver
from django.utils import timezone

if __name__ == "__main__":
    # Searching what is being imported for unused cycles takes a fifth of the start.
    gc.disable()
    # Before the imports of modules with models.
    django.setup()

from ingestion.tasks import ingest_due
from moovitamix.simulation.simulated_process import (
    SimulatedClock,
    clear_process_caches,
    prepare_process,
    run_logging_errors,
)
from recommender.experiments import assignment
from recommender.models import Experiment
from recommender.monitoring import health_checks
from recommender.registry import model_loader
from recommender.serving.candidates import candidate_cache
from recommender.serving.candidates.candidates import generate_block

MODULE: Final = "moovitamix.simulation.service_process"
# They run two parts of the morning, and half of the visits each.
SERVICE_PROCESSES: Final = 2
MOMENT_HEADER, BROKEN_SHARE_HEADER = "X-Simulated-At", "X-Broken-Share"
TASK_PATH: Final = "/simulated-tasks/"
TESTED: Final = (Experiment.Kind.REFRESH, Experiment.Kind.CHANGE)
REQUEST_TIMEOUT: Final = 60.0  # seconds
TASK_TIMEOUT: Final = 1_800.0  # seconds; an import waits for a source that is down


def prepare_due_lists() -> int:
    return candidate_cache.prepare_due(model_loader.current_model(settings.MODEL_STORAGE), timezone.now())


def try_challengers() -> int:
    return health_checks.try_challengers(timezone.now())


# The last two are the periodic task `prepare_candidate_lists`, in two parts that run at the same time.
TASKS: Final[dict[str, Callable[[], object]]] = {
    "ingest": ingest_due, "prepare-lists": prepare_due_lists, "try-challengers": try_challengers,
}  # fmt: skip


class ServiceProcess:
    """A child process that serves the API; `stop` must be called.

    Attributes:
        broken_share: share of the listeners for whom challengers under test fail.
    """

    def __init__(self) -> None:
        self.broken_share = 0.0
        self._child = subprocess.Popen(  # noqa: S603
            [sys.executable, "-m", MODULE], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            cwd=settings.CHECKOUT,
        )  # fmt: skip

    def run_task(self, name: str, at: datetime) -> None:
        """Run one of TASKS; an error of the task is logged, as in a worker.

        Raises:
            ConnectionError: the process ended, or there is no such task.
        """
        status, _ = self.send_request("POST", f"{TASK_PATH}{name}", at, timeout=TASK_TIMEOUT)
        if status != http.client.NO_CONTENT:
            raise ConnectionError(f"A process of the simulated service answered {status}.")

    def send_request(
        self, method: str, path: str, at: datetime, *, body: bytes | None = None,
        headers: dict[str, str] | None = None, timeout: float = REQUEST_TIMEOUT,
    ) -> tuple[int, bytes]:  # fmt: skip
        """Status and body of the answer at this simulated time; the clock does not go back to an earlier one.

        Raises:
            ConnectionError: the process ended, or does not answer.
        """
        simulated = {MOMENT_HEADER: at.isoformat(), BROKEN_SHARE_HEADER: str(self.broken_share)}
        server = http.client.HTTPConnection("127.0.0.1", self._port, timeout=timeout)
        try:
            server.request(method, path, body, {**(headers or {}), **simulated})
            response = server.getresponse()
            return response.status, response.read()
        except (TimeoutError, http.client.HTTPException) as error:
            raise ConnectionError(f"A process of the simulated service does not answer: {error!r}") from error
        finally:
            server.close()

    def stop(self) -> None:
        self._child.kill()
        for pipe in (self._child.stdin, self._child.stdout):
            if pipe is not None:
                pipe.close()
        self._child.wait()

    @cached_property
    def _port(self) -> int:
        assert self._child.stdout is not None  # noqa: S101
        line = self._child.stdout.readline()
        if not line:
            raise ConnectionError("A process of the simulated service ended while it started.")
        return int(line)


@contextmanager
def start_services() -> Iterator[list[ServiceProcess]]:
    """Start the processes, which are ready some seconds later; the first request waits for it."""
    with ExitStack() as running:
        started = []
        for _ in range(SERVICE_PROCESSES):
            started.append(ServiceProcess())
            running.callback(started[-1].stop)
        yield started


class SimulatedService:
    """The WSGI application at simulated times, and the tasks that requests to TASK_PATH start."""

    def __init__(self, application: Any, clock: SimulatedClock, storage: Path) -> None:
        self._application, self._clock, self._storage = application, clock, storage
        self._last: tuple[date, str] | None = None  # the day, and the task or none
        self._broken, self._broken_share = ExitStack(), 0.0

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        at = datetime.fromisoformat(environ[_environ_name(MOMENT_HEADER)])
        self._break_challengers(float(environ[_environ_name(BROKEN_SHARE_HEADER)]))
        self._clock.move_to(at)
        path = environ["PATH_INFO"]
        task = path.removeprefix(TASK_PATH) if path.startswith(TASK_PATH) else ""
        if self._last != (at.date(), task):
            self._last = (at.date(), task)
            clear_process_caches(self._storage)
        if not task:
            answer: Iterable[bytes] = self._application(environ, start_response)
            return answer
        run_logging_errors(TASKS[task])
        start_response("204 No Content", [])
        return []

    def _break_challengers(self, share: float) -> None:
        if share != self._broken_share:
            self._broken.close()
            self._broken_share = share
            if share:
                self._broken.enter_context(break_challengers(share))


@contextmanager
def break_challengers(share: float) -> Iterator[None]:
    """Let every challenger under test fail for a share of the listeners, in this process."""

    def fail_for_some(profiles: Any, model: Any, now: datetime) -> Any:
        tested = {one.challenger_id for one in assignment.RUNNING_EXPERIMENTS.current() if one.kind in TESTED}
        shares = [assignment.hash_to_share("broken", profile.listener_id) for profile in profiles]
        if min(shares) < share and model is not None and model.version.pk in tested:
            raise ValueError("This challenger was broken by the simulation.")
        return generate_block(profiles, model, now)

    vars(candidate_cache)["generate_block"] = fail_for_some
    try:
        yield
    finally:
        vars(candidate_cache)["generate_block"] = generate_block


class QuietRequestHandler(WSGIRequestHandler):
    wbufsize = -1  # an answer is sent at once, and not each header by itself

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        return


def _environ_name(header: str) -> str:
    return f"HTTP_{header.upper().replace('-', '_')}"


def _serve() -> None:
    # Before any simulated time; the first request moves it.
    clock = SimulatedClock(datetime(2000, 1, 1, tzinfo=UTC))
    with clock.replace_system_time():
        service = SimulatedService(get_wsgi_application(), clock, Path(settings.MODEL_STORAGE))
        # Import the views now, while the simulation creates its tables and its world.
        get_resolver().url_patterns  # noqa: B018
        prepare_process()
        with make_server("127.0.0.1", 0, service, handler_class=QuietRequestHandler) as server:
            sys.stdout.write(f"{server.server_port}\n")
            sys.stdout.flush()
            # Nobody reads what tasks print.
            os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
            Thread(target=_end_with_input, daemon=True).start()
            server.serve_forever(poll_interval=0.1)


def _end_with_input() -> None:
    sys.stdin.buffer.read()
    # At once, also during a request or a task: nobody waits for the answer.
    os._exit(0)


if __name__ == "__main__":
    # Ctrl+C reaches the whole group; the simulation ends, and with it this process.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _serve()

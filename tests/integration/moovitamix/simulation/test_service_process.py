"""The processes of the simulated service: time, caches and faults that each request brings."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Thread
from typing import Any
from unittest.mock import MagicMock

import psutil
import pytest
from django.core.cache import cache
from django.utils import timezone

from moovitamix.simulation import service_process
from moovitamix.simulation.service_process import ServiceProcess, SimulatedService
from moovitamix.simulation.simulated_process import SimulatedClock
from recommender.serving.candidates import candidate_cache
from recommender.serving.candidates.candidates import generate_block
from tests.support.project import ROOT

pytestmark = pytest.mark.django_db

MORNING = datetime(2026, 11, 2, 7, tzinfo=UTC)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[SimulatedService]:
    """Answers each request with the time and with what the cache holds."""

    def answer(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [])
        return [timezone.now().isoformat(timespec="seconds").encode(), str(cache.get("word")).encode()]

    clock = SimulatedClock(MORNING - timedelta(days=1))
    with clock.replace_system_time():
        yield SimulatedService(answer, clock, tmp_path)
    cache.clear()


def send(service: SimulatedService, at: datetime, path: str = "/", broken_share: float = 0.0) -> list[bytes]:
    environ = {
        "PATH_INFO": path, "HTTP_X_SIMULATED_AT": at.isoformat(), "HTTP_X_BROKEN_SHARE": str(broken_share),
    }  # fmt: skip
    return list(service(environ, lambda status, headers: None))


def test_a_request_happens_at_its_simulated_time(service: SimulatedService) -> None:
    asked = [MORNING + timedelta(hours=hour) for hour in (0, 5, 30)]

    seen = [datetime.fromisoformat(send(service, at)[0].decode()) for at in asked]

    # The clock goes on while a request is answered.
    assert [at <= there < at + timedelta(hours=1) for at, there in zip(asked, seen, strict=True)] == [
        True
    ] * 3


def test_caches_last_until_the_next_day_or_task(
    service: SimulatedService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(service_process.TASKS, "nothing", lambda: None)
    send(service, MORNING)
    cache.set("word", "kept")

    same_day = send(service, MORNING + timedelta(hours=9))[1]
    next_day = send(service, MORNING + timedelta(days=1))[1]
    cache.set("word", "kept")
    send(service, MORNING + timedelta(days=1, hours=1), "/simulated-tasks/nothing")
    after_task = send(service, MORNING + timedelta(days=1, hours=2))[1]

    assert (same_day, next_day, after_task) == (b"kept", b"None", b"None")


def test_a_task_that_fails_is_logged_and_the_process_goes_on(
    service: SimulatedService, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise OSError("The source is down.")

    monkeypatch.setitem(service_process.TASKS, "ingest", fail)

    answers = [send(service, MORNING, path) for path in ("/simulated-tasks/ingest", "/")]

    assert (answers[0], len(answers[1])) == ([], 2)
    assert "task_failed" in caplog.text


def test_challengers_fail_while_requests_say_so(service: SimulatedService) -> None:
    places = []
    for share in (0.0, 0.1, 0.1, 0.0):
        send(service, MORNING, broken_share=share)
        places.append(vars(candidate_cache)["generate_block"] is generate_block)

    assert places == [True, False, False, True]


WAIT_AS_PARENT = """
import sys
import django
django.setup()
from moovitamix.simulation.service_process import ServiceProcess
process = ServiceProcess()
print(process._child.pid, process._port, flush=True)
sys.stdin.read()
"""


@pytest.mark.slow
def test_a_process_ends_with_a_simulation_that_is_killed_during_a_request(tmp_path: Path) -> None:
    environment = {
        **os.environ, "DJANGO_SETTINGS_MODULE": "moovitamix.settings", "DATABASE_URL": "",
        "DATABASE_NAME": str(tmp_path / "music.db"), "VAR_DIR": str(tmp_path), "SECRET_KEY": "for-this-test",
    }  # fmt: skip
    with subprocess.Popen(
        [sys.executable, "-c", WAIT_AS_PARENT], cwd=ROOT, env=environment, stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as parent:  # fmt: skip
        assert parent.stdout is not None
        pid, port = map(int, parent.stdout.readline().split())
        child = psutil.Process(pid)
        with socket.create_connection(("127.0.0.1", port)) as half_sent:
            half_sent.sendall(b"GET / HTTP/1.1\r\n")
            while not any(one.status == psutil.CONN_ESTABLISHED for one in child.net_connections()):
                assert child.is_running()
            parent.kill()
            ended = psutil.wait_procs([child], timeout=60)[0]

    assert ended == [child]


def test_a_process_that_ends_within_an_answer_is_a_connection_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def answer_half(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65_536)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")

    monkeypatch.setattr(subprocess, "Popen", MagicMock())
    process = ServiceProcess()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        vars(process)["_port"] = listener.getsockname()[1]
        thread = Thread(target=answer_half, args=(listener,))
        thread.start()
        with pytest.raises(ConnectionError, match="does not answer"):
            process.run_task("ingest", MORNING)
        thread.join()


def test_a_process_that_can_not_start_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "moovitamix.no_settings")
    process = ServiceProcess()
    try:
        with pytest.raises(ConnectionError, match="ended while it started"):
            process.run_task("ingest", MORNING)
    finally:
        process.stop()

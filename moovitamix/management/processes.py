"""Child processes of `demo` and `simulate`: their environment, command lines and servers."""

import os
import secrets
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NoReturn
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

from django.conf import settings
from django.core.management.base import CommandError

# The servers run on this machine, so a configured proxy must not be used.
OPENER_WITHOUT_PROXY: Final = build_opener(ProxyHandler({}))
# The file that `simulate` leaves in its folder when all weeks are done.
COMPLETION_MARKER: Final = "rehearsed"
# The folder in which it leaves the pages that the source serves after the weeks.
SOURCE_PAGES: Final = "source"
SIMULATION_DATABASE: Final = "rehearsal.db"
SIMULATION_LOG: Final = "rehearsal.log"
SIMULATION_FILES: Final = (
    SIMULATION_DATABASE,
    f"{SIMULATION_DATABASE}-wal",
    f"{SIMULATION_DATABASE}-shm",
    "staging",
    "models",
    "broker",
    SOURCE_PAGES,
    COMPLETION_MARKER,
)
START_TIMEOUT: Final = 180.0  # seconds; a process that ends is noticed at once, so this is for a busy machine
POLL_INTERVAL: Final = 0.2
DEFAULT_THREADS: Final = 8
THREAD_IDLE_SECONDS: Final = 600
# A training page takes seconds; a request that is still running after this time is ended.
STOP_SECONDS: Final = 30
# A URL that excludes 500 songs has 10 KB. Headers may have up to twice the buffer: 64 KB, by default 800 KB.
HEADER_BUFFER_BYTES: Final = 32_768


def build_demo_environment(folder: Path, source: str) -> dict[str, str]:
    """This process's environment, with all written paths moved into `folder`.

    It names no other service of the installation: no alerts, no cluster, no backups.
    """
    secret = folder / "secret-key"
    if not secret.exists():
        secret.write_text(secrets.token_urlsafe(50))
        secret.chmod(0o600)
    ours = {
        "BASE_URL": source, "SOURCE_TOKEN": "", "SOURCE_TIME_ZONE": "UTC", "DATABASE_URL": "",
        "DATABASE_NAME": str(folder / "demo.db"), "VAR_DIR": str(folder),
        "STAGING_DIR": str(folder / "staging"),
        "MODEL_STORAGE": str(folder / "models"), "BROKER_DIR": str(folder / "broker"), "REDIS_URL": "",
        "CACHE_URL": "", "ENGINE": "local", "SPARK_MASTER": "", "EXPORT_DIR": str(folder / "exports"),
        "BACKUP_DIR": "", "HISTORY_RETENTION": "",
        "SECRET_KEY": secret.read_text(), "DEBUG": "false", "HTTPS": "false",
        "ALLOWED_HOSTS": "localhost,127.0.0.1,[::1]", "LOG_LEVEL": "WARNING",
        "EMAIL_URL": "consolemail://", "ALERT_EMAILS": "", "SLACK_WEBHOOK_URL": "", "ALERT_URLS": "",
        "HEALTHCHECKS_URL": "", "EXPECTED_PARTS": "beat,worker,watchdog", "WATCHDOG_IN_WEB": "true",
        "PROXY_COUNT": "0", "REQUIRE_TWO_FACTOR": "false", "DJANGO_SETTINGS_MODULE": "moovitamix.settings",
    }  # fmt: skip
    return {**os.environ, **ours}


def simulation_environment(folder: Path) -> dict[str, str]:
    """The environment of a process that simulates in this folder."""
    source = f"http://127.0.0.1:{find_free_port(0)}"
    ours = {
        "DATABASE_NAME": str(folder / SIMULATION_DATABASE),
        # A day's requests come within seconds.
        "API_RATE": "1000000/sec", "API_FEEDBACK_RATE": "1000000/sec",
        # Waiting takes real time, so the simulation does not wait long for a source that is down.
        "SOURCE_ATTEMPTS": "2", "WATCHDOG_IN_WEB": "false", "EXPECTED_PARTS": "",
        "SCHEDULED_TIME": "02:00", "TIME_ZONE": "UTC",
        # Two threads of BLAS wait for each other longer than products of such small matrices take.
        "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    return {**build_demo_environment(folder, source), **ours}


def clear_simulation(folder: Path) -> None:
    """Create the folder, and delete what an earlier simulation left in it."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in SIMULATION_FILES:
        shutil.rmtree(folder / name) if (folder / name).is_dir() else (folder / name).unlink(True)


def management_command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "django", *arguments]


def web_server_command(
    port: int, *, host: str = "127.0.0.1", workers: int = 1, threads: int = DEFAULT_THREADS
) -> list[str]:
    """The granian command of `serve`.

    The number of threads is limited, because each keeps a database connection.
    """
    return [
        sys.executable, "-m", "granian", "--interface=wsgi", "--http=1", "--no-ws", f"--host={host}",
        f"--port={port}", f"--workers={workers}", f"--blocking-threads={threads}",
        f"--blocking-threads-idle-timeout={THREAD_IDLE_SECONDS}",
        f"--http1-buffer-size={HEADER_BUFFER_BYTES}",
        "--respawn-failed-workers", "--respawn-interval=1", f"--workers-kill-timeout={STOP_SECONDS}",
        "moovitamix.wsgi:application",
    ]  # fmt: skip


def worker_command(*, concurrency: int, queues: Sequence[str] = (), with_beat: bool = True) -> list[str]:
    """The Celery command of `work`; limits and queues are settings."""
    return [
        sys.executable, "-m", "celery", "-A", "moovitamix", "worker", f"--concurrency={concurrency}",
        f"--loglevel={settings.LOG_LEVEL}", *(["--beat"] if with_beat else []),
        *([f"--queues={','.join(queues)}"] if queues else []),
    ]  # fmt: skip


def replace_process(command: list[str]) -> NoReturn:
    """Replace this process by the command, in the project's folder, which holds the modules and `.env`."""
    os.chdir(settings.HOME)
    if os.name == "nt":
        sys.exit(subprocess.call(command))  # noqa: S603
    # Not a child process, so that signals of the service manager reach the command itself.
    os.execv(command[0], command)  # noqa: S606


def find_free_port(preferred: int) -> int:
    for port in (preferred, 0):
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(listener.getsockname()[1])
    raise CommandError(f"Port {preferred} is in use and no other port is free.")


@contextmanager
def child_process(
    command: list[str], environment: dict[str, str], log: Any
) -> Iterator[subprocess.Popen[bytes]]:
    """A process that ends with this block.

    It has its own session, so that Ctrl-C reaches only the parent, which stops its children in order.
    """
    with subprocess.Popen(  # noqa: S603
        command, env=environment, stdout=log, stderr=log, cwd=settings.CHECKOUT, start_new_session=True
    ) as process:
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


def wait_for_url(url: str, process: subprocess.Popen[Any], log: Path) -> None:
    """Wait until the URL answers.

    Raises:
        CommandError: the process ended, or did not answer within `START_TIMEOUT`.
    """
    pause, attempts = threading.Event(), int(START_TIMEOUT / POLL_INTERVAL)
    for _ in range(attempts):
        if process.poll() is not None:
            break
        try:
            with OPENER_WITHOUT_PROXY.open(url, timeout=START_TIMEOUT):
                return
        except (URLError, ConnectionError):
            pause.wait(POLL_INTERVAL)
    raise CommandError(f"Nothing answers at {url}; the reason is at the end of {log}.")

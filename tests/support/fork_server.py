"""Starts Python processes by forking one that has the libraries loaded already.

A new interpreter spends up to two seconds on importing Django, Celery, the models and the commands, and the
journeys start hundreds of them. The server imports all this once, and sets Django up. A forked child takes
over environment, folder and output files from the request, reads the settings again, and runs the command as
`python` would. If the settings can't be read, it becomes a new interpreter, so that the command itself fails.
"""

import atexit
import gc
import json
import logging
import mmap
import os
import pkgutil
import runpy
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from importlib import import_module, reload
from io import TextIOWrapper
from pathlib import Path
from typing import Any, Final, NoReturn, cast

import django
from asgiref.local import Local
from django.conf import settings
from django.core.signals import setting_changed
from django.db import connections
from django.utils.functional import empty

from ingestion.jobs import stop_signals

# What `manage.py check` and a Celery worker import.
PRELOADED: Final = """
    apprise asyncio celery celery.app.amqp celery.app.base celery.app.builtins celery.app.control
    celery.app.events celery.app.log celery.bin.celery celery.fixups.django celery.loaders.app celery.result
    celery.schedules celery.signals celery.utils.log celery.worker cron_descriptor crontab django.apps
    django.conf django.contrib.admin.utils django.contrib.messages django.contrib.staticfiles.finders
    django.core.cache.backends.redis django.core.checks django.core.handlers.wsgi django.core.mail
    django.core.management.commands.makemigrations django.core.management.commands.migrate
    django.core.management.commands.shell django.core.serializers.json django.db.backends.postgresql.base
    django.db.backends.sqlite3.base django.db.migrations.executor django.db.models django.forms django.http
    django.template django.template.defaulttags django.template.loader django.test django.urls
    django.utils.translation.reloader django.utils.translation.trans_real django.views.debug environ getpass
    kombu.transport.redis markdown numpy orjson prometheus_client psutil psycopg pydantic.type_adapter
    pydantic.types pygments.formatters.html redis requests scipy.cluster.hierarchy scipy.linalg scipy.optimize
    scipy.sparse.linalg scipy.special scipy.stats sklearn.cluster smtplib threadpoolctl tqdm
    uritemplate whitenoise.base xml.etree.ElementTree yaml
""".split()  # noqa: SIM905
# With Django set up. The routes, with all pages, because links of incidents and messages need them.
PRELOADED_AFTER_SETUP: Final = """
    django_celery_beat.schedulers django_celery_results.backends drf_spectacular.views
    rest_framework.generics moovitamix.background.beat_scheduler moovitamix.background.measured_task
    moovitamix.simulation.simulator moovitamix.tasks moovitamix.urls ingestion.services ingestion.tasks
    recommender.services recommender.tasks unfold.admin
""".split()  # noqa: SIM905
# Packages of MoovitaMix, all their modules.
PRELOADED_PACKAGES: Final = ("recommender.engine", "ingestion.source", "ingestion.demo")
COMMAND_PACKAGES: Final = tuple(
    f"{app}.management.commands" for app in ("moovitamix", "ingestion", "recommender")
)
SETTINGS_MODULE: Final = "moovitamix.settings"
# Checked where a module is imported, so that a wrong one stops the start.
SETTINGS_READ_BY_IMPORTS: Final = ("API_RATE", "API_FEEDBACK_RATE")
# What Django and Django REST framework keep of them is thrown away when they change.
KEPT_SETTINGS: Final = (
    "CACHES", "DEBUG", "LANGUAGE_CODE", "REST_FRAMEWORK", "SPECTACULAR_SETTINGS", "STATIC_ROOT", "TEMPLATES",
    "TIME_ZONE",
)  # fmt: skip
# Read when an interpreter starts: a child would not notice another value.
INTERPRETER_VARIABLES: Final = frozenset(
    {"LANG", "LC_ALL", "PYTHONHASHSEED", "PYTHONPATH", "PYTHONUTF8", "PYTHONWARNINGS"}
)
MAX_REQUEST: Final = 1 << 20  # bytes
READY: Final = b"ready\n"


class ForkedProcess(subprocess.Popen[str]):
    """A child of the fork server, used like any other `Popen` whose output is one pipe."""

    _child_created = False  # For Popen's __del__: there is nothing to reap, the server does it.

    def __init__(
        self, command: Sequence[str], pid: int, connection: socket.socket, output: int | None
    ) -> None:
        self.args = command
        self.pid = pid
        self.returncode = cast("int", None)
        self.stdin = self.stderr = None
        self.stdout = os.fdopen(output, encoding="utf-8") if output is not None else None
        self._connection = connection
        self._lock = threading.Lock()

    def poll(self) -> int | None:
        # Another thread that waits holds the lock.
        if self._lock.acquire(blocking=False):
            try:
                return self._receive_status(0.001)
            except TimeoutError:
                return None
            finally:
                self._lock.release()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        try:
            with self._lock:
                return self._receive_status(timeout)
        except TimeoutError:
            raise subprocess.TimeoutExpired(self.args, timeout or 0) from None

    def send_signal(self, sig: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, sig)

    def communicate(  # type: ignore[override]
        self,
        input: None = None,  # noqa: A002
        timeout: float | None = None,
    ) -> tuple[str, str]:
        assert input is None, "a forked process has no standard input"
        output: list[str] = []
        if self.stdout is not None and not self.stdout.closed:
            reader = threading.Thread(target=lambda: output.append(self.stdout.read()), daemon=True)  # type: ignore[union-attr]
            reader.start()
            reader.join(timeout)
            if reader.is_alive():
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
            self.stdout.close()
        self.wait(timeout)
        return "".join(output), ""

    def _receive_status(self, timeout: float | None) -> int:
        if self.returncode is None:
            self._connection.settimeout(timeout)
            status = self._connection.recv(16)
            assert status, "the fork server has ended"
            self.returncode = int(status)
            self._connection.close()
        return self.returncode


@dataclass(frozen=True)
class ForkServer:
    """A running fork server: its address, and the environment with which it was started."""

    address: str
    environment: Mapping[str, str]

    def can_run(self, command: Sequence[str], environment: Mapping[str, str]) -> bool:
        """Whether a forked child is the same as a new interpreter for this command."""
        is_python = command[0] == sys.executable and (command[1] == "-m" or command[1].endswith(".py"))
        has_our_settings = environment.get("DJANGO_SETTINGS_MODULE", SETTINGS_MODULE) == SETTINGS_MODULE
        return (
            is_python
            and has_our_settings
            and all(environment.get(name) == self.environment.get(name) for name in INTERPRETER_VARIABLES)
        )

    def start(self, command: Sequence[str], environment: Mapping[str, str], folder: Path) -> ForkedProcess:
        """Start a process with its own session; its output and errors are one pipe."""
        reader, writer = os.pipe()
        try:
            return self._fork(command, environment, folder, (writer, writer), reader)
        finally:
            os.close(writer)

    def run(
        self, command: Sequence[str], environment: Mapping[str, str], folder: Path, timeout: float
    ) -> "subprocess.CompletedProcess[str]":
        """Run a process to its end.

        Raises:
            subprocess.TimeoutExpired: it took longer than `timeout` seconds, and was killed.
        """
        with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
            files = (output.fileno(), errors.fileno())
            process = self._fork(command, environment, folder, files, None)
            try:
                process.wait(timeout)
            except BaseException:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                raise
            output.seek(0)
            errors.seek(0)
            return subprocess.CompletedProcess(command, process.returncode, output.read(), errors.read())

    def _fork(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        folder: Path,
        files: tuple[int, int],
        output: int | None,
    ) -> ForkedProcess:
        request = {"command": list(command[1:]), "environment": dict(environment), "folder": str(folder)}
        connection = self._send(request, files)
        pid = int(connection.recv(16))
        return ForkedProcess(command, pid, connection, output)

    def _send(self, request: Mapping[str, Any], files: tuple[int, int]) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        connection.connect(self.address)
        socket.send_fds(connection, [json.dumps(request).encode()], files)
        return connection


@contextmanager
def run_fork_server(environment: Mapping[str, str]) -> Iterator[ForkServer]:
    """A server that ends with the `with` block, or with this process."""
    folder = tempfile.mkdtemp(prefix="moovitamix-fork-", dir="/tmp")
    address = f"{folder}/socket"
    # One BLAS thread: a fork copies none of the others.
    started_with = {**environment, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.fork_server", address], env=started_with,
        cwd=Path(__file__).parents[2], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == READY, "the fork server does not start"
        yield ForkServer(address, started_with)
    finally:
        process.stdin.close()
        process.wait()
        process.stdout.close()
        shutil.rmtree(folder, ignore_errors=True)


def main(address: str) -> None:
    """Fork for each request until standard input ends; a child then runs its command.

    The children return from `serve` too.
    """
    os.environ["DJANGO_SETTINGS_MODULE"] = SETTINGS_MODULE
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in (*PRELOADED, *_modules_of(PRELOADED_PACKAGES)):
            import_module(name)
        django.setup()
        for name in (*PRELOADED_AFTER_SETUP, *_modules_of(COMMAND_PACKAGES)):
            import_module(name)
    # `catch_warnings` took it back, but logging believes that it captures them, and a child would not begin.
    logging.captureWarnings(capture=False)
    assert threading.active_count() == 1, "a fork copies no thread"
    assert not import_module("moovitamix.celery").app.configured, "a child would keep the server's broker"
    # Else the first collection of a child copies every page that it visits.
    gc.freeze()
    request = serve(address, 0, partial(os.write, 1, READY))
    if request is not None:
        read_settings_again(request)
        end_process(run_command(request))


def _modules_of(packages: Sequence[str]) -> Iterator[str]:
    for package in packages:
        yield package
        yield from (
            module.name for module in pkgutil.walk_packages(import_module(package).__path__, f"{package}.")
        )


def read_settings_again(request: Mapping[str, Any]) -> None:
    """Replace the settings of the server by those of this child's environment."""
    is_named = "DJANGO_SETTINGS_MODULE" in os.environ
    os.environ["DJANGO_SETTINGS_MODULE"] = SETTINGS_MODULE
    checked = [getattr(settings, name) for name in SETTINGS_READ_BY_IMPORTS]
    del sys.modules[SETTINGS_MODULE]
    settings._wrapped = empty
    try:
        are_checked = [getattr(settings, name) for name in SETTINGS_READ_BY_IMPORTS] == checked
    except BaseException:
        are_checked = False
    if not are_checked:
        # The command itself must fail, and say why.
        arguments = [sys.executable, *request["command"]]
        os.execve(sys.executable, arguments, request["environment"])  # noqa: S606
    if not is_named:
        del os.environ["DJANGO_SETTINGS_MODULE"]
    # Writes its defaults into the settings when it is imported.
    reload(sys.modules["axes.conf"])
    handler: Any = connections  # its private fields have no types
    handler._settings = None
    for kept in ("settings", "databases"):
        vars(connections).pop(kept, None)
    handler._connections = Local(connections.thread_critical)
    # Else one memory for all children: a worker that shuts down would stop the imports of all others.
    stop_signals._shutdown_flag = mmap.mmap(-1, 1)
    for name in KEPT_SETTINGS:
        setting_changed.send(sender=None, setting=name, value=getattr(settings, name, None), enter=True)


def serve(address: str, lifeline: int, report_ready: Callable[[], object]) -> dict[str, Any] | None:
    """The request that a child is to run, or None in the server when the file `lifeline` ends."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(address)
    listener.listen()
    wakeup, wakeup_writer = socket.socketpair()
    wakeup.setblocking(False)
    wakeup_writer.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wakeup_writer.fileno())
    report_ready()
    sources: list[Any] = [lifeline, listener, wakeup]
    children: dict[int, socket.socket] = {}
    while True:
        ready = select.select(sources, [], [])[0]
        if wakeup in ready:
            wakeup.recv(4096)
            report_ended(children)
        if listener in ready:
            connection, _ = listener.accept()
            message, files, _, _ = socket.recv_fds(connection, MAX_REQUEST, 2)
            pid = os.fork()
            if pid == 0:
                signal.set_wakeup_fd(-1)
                request: dict[str, Any] = json.loads(message)
                adopt(request, files)
                connection.send(str(os.getpid()).encode())
                for opened in (listener, wakeup, wakeup_writer, connection, *children.values()):
                    opened.close()
                return request
            for file in files:
                os.close(file)
            children[pid] = connection
        if lifeline in ready:
            return None


def report_ended(children: dict[int, socket.socket]) -> None:
    while children:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        with suppress(OSError), children.pop(pid) as connection:
            connection.send(str(os.waitstatus_to_exitcode(status)).encode())


def adopt(request: Mapping[str, Any], files: Sequence[int]) -> None:
    """Take over session, signals, files, environment and folder, as an interpreter that starts finds them."""
    os.setsid()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, file in enumerate(files, 1):
        os.dup2(file, number)
        os.close(file)
    os.environ.clear()
    os.environ.update(request["environment"])
    time.tzset()
    os.chdir(request["folder"])
    unbuffered = bool(os.environ.get("PYTHONUNBUFFERED"))
    sys.stdin = sys.__stdin__ = open(0, encoding="utf-8")  # type: ignore[misc]  # noqa: SIM115
    sys.stdout = sys.__stdout__ = open_output(1, "surrogateescape", unbuffered)  # type: ignore[misc]
    sys.stderr = sys.__stderr__ = open_output(2, "backslashreplace", unbuffered)  # type: ignore[misc]


def open_output(number: int, errors: str, unbuffered: bool) -> TextIOWrapper:
    raw = open(number, "wb", buffering=0 if unbuffered else -1, closefd=False)  # noqa: SIM115
    return TextIOWrapper(
        cast("Any", raw), "utf-8", errors, line_buffering=number == 2, write_through=unbuffered
    )


def run_command(request: Mapping[str, Any]) -> int:
    """Run the command as the interpreter does with these arguments, and return its exit status."""
    first, *arguments = request["command"]
    try:
        if first == "-m":
            sys.path[0] = request["folder"]
            sys.argv = arguments
            runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)
        else:
            sys.path[0] = str(Path(first).parent)
            sys.argv = [first, *arguments]
            runpy.run_path(first, run_name="__main__")
    except SystemExit as ending:
        if ending.code is None or isinstance(ending.code, int):
            return ending.code or 0
        sys.stderr.write(f"{ending.code}\n")
        return 1
    except Exception:
        sys.excepthook(*sys.exc_info())
        return 1
    return 0


def end_process(status: int) -> NoReturn:
    """End as an interpreter does, with its exit handlers, but leave its objects to the kernel.

    To destroy them, a child would copy nearly all memory of the server: three quarters of what it costs. So
    files that the command left open are not flushed, and no `__del__` is called.
    """
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and not stream.closed:
            try:
                stream.flush()
            except OSError:
                status = status or 120  # as the interpreter does when nobody reads its output
    os._exit(status)


if __name__ == "__main__":
    main(sys.argv[1])

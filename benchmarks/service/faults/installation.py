"""A whole installation whose parts are killed and started again."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from secrets import token_urlsafe
from typing import Final

import psutil
import requests

from benchmarks.workspace import ROOT, MeasurementFailed, Workspace
from tests.support.fork_server import ForkServer, run_fork_server
from tests.support.project import Project
from tests.support.servers.ports import free_port
from tests.support.servers.postgres_and_valkey import (
    KillableServer,
    kill_tree,
    run_killable_postgres,
    run_killable_valkey,
)

WEB, WORKER, BEAT, VALKEY, POSTGRES = "web", "worker", "Beat", "Valkey", "PostgreSQL"
START_PATIENCE: Final = 180.0  # seconds; the machine may be busy
POLL: Final = 0.1
MANAGE: Final = str(ROOT / "manage.py")


class Installation:
    """Web server, worker and Beat as deployed, on SQLite alone or on PostgreSQL and Valkey.

    Attributes:
        key: of the API, for lists and feedback.
        project: runs commands with the settings of the installation.
    """

    def __init__(
        self,
        workspace: Workspace,
        source_url: str,
        fork_server: ForkServer,
        servers: dict[str, KillableServer],
        *,
        web_workers: int = 2,
    ) -> None:
        self.servers, self._web_workers = servers, web_workers
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self.port = free_port()
        self.folder = workspace.folder
        environment = {
            **workspace.environment,
            "BASE_URL": source_url, "SECRET_KEY": token_urlsafe(50), "ALLOWED_HOSTS": "127.0.0.1,localhost",
            "API_RATE": "1000000/min", "API_FEEDBACK_RATE": "1000000/min", "PYTHONUNBUFFERED": "1",
            "DATABASE_NAME": str(workspace.folder / "soak.db"), "SCHEDULED_TIME": "02:00",
        }  # fmt: skip
        if POSTGRES in servers:
            environment["DATABASE_URL"] = servers[POSTGRES].url
        if VALKEY in servers:
            environment["REDIS_URL"] = servers[VALKEY].url
        self.project = Project(environment, workspace.folder, fork_server)
        self.project.manage("migrate", "-v", "0")
        self.key = self.make_key("catalogue,recommend,feedback")

    def make_key(self, scopes: str) -> str:
        made = self.project.manage(
            "apikey", "soak", "--user=soak", "--create-user", f"--scopes={scopes}", "--quiet"
        )
        return made.stdout.split()[-1]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self, part: str) -> None:
        if part in self.servers:
            self.servers[part].start()
            return
        commands = {
            WEB: [sys.executable, MANAGE, "serve", f"--port={self.port}", f"--workers={self._web_workers}"],
            WORKER: [sys.executable, MANAGE, "work", "--no-beat"],
            BEAT: [sys.executable, "-m", "celery", "-A", "moovitamix", "beat", "--loglevel=WARNING"],
        }
        with (self.folder / f"{part}.log").open("ab") as log:
            self._processes[part] = subprocess.Popen(
                commands[part], env=self.project.environment, cwd=ROOT, stdout=log, stderr=log,
                stdin=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip

    def kill(self, part: str) -> None:
        """Send SIGKILL to all processes of the part."""
        if part in self.servers:
            self.servers[part].kill()
        elif part in self._processes:
            kill_tree(self._processes.pop(part))

    def stop(self) -> None:
        for part in list(self._processes):
            self.kill(part)
        self.project.stop()

    def wait_until_ready(self) -> float:
        """Seconds until the service answers requests again.

        Raises:
            MeasurementFailed: it does not; the text holds the end of the web server's log.
        """
        begun = time.monotonic()
        while time.monotonic() - begun < START_PATIENCE:
            try:
                if requests.get(f"{self.url}/health/ready/", timeout=10).status_code == 200:
                    return time.monotonic() - begun
            except requests.RequestException:
                pass
            time.sleep(POLL)
        log = self.folder / f"{WEB}.log"
        raise MeasurementFailed(f"The service does not answer: {log.read_text(errors='replace')[-2000:]}")

    def listeners(self) -> list[str]:
        return self.project.shell(
            "from ingestion.models import Listener; print(*Listener.objects.values_list('pk', flat=True))"
        ).split()

    def web_memory(self) -> float:
        """Resident memory of the web server's processes together, in MB."""
        web = psutil.Process(self._processes[WEB].pid)
        total = 0.0
        for one in (web, *web.children(recursive=True)):
            try:
                total += one.memory_info().rss / 1e6
            except psutil.NoSuchProcess:
                continue
        return total


@contextmanager
def run_installation(
    workspace: Workspace, source_url: str, *, on_servers: bool, web_workers: int = 2
) -> Iterator[Installation]:
    """An installation with its servers; nothing but those runs yet."""
    with ExitStack() as stack:
        servers = {}
        if on_servers:
            servers[POSTGRES] = stack.enter_context(run_killable_postgres())
            servers[VALKEY] = stack.enter_context(run_killable_valkey())
        fork_server = stack.enter_context(run_fork_server(workspace.environment))
        installation = Installation(workspace, source_url, fork_server, servers, web_workers=web_workers)
        stack.callback(installation.stop)
        yield installation

"""Everything at once, to look at: the demo source, an ingestion, the web admin."""

import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

SOURCE_PORT: Final = 8001
WEB_PORT: Final = 8000
# What we start is on this machine; a proxy of the environment knows nothing of it.
DIRECTLY: Final = build_opener(ProxyHandler({}))
START_WITHIN: Final = 60.0  # seconds; a busy small machine needs some for the first page
PAUSE: Final = 0.2
ADMIN: Final = "admin"
NAME_LISTENER: Final = """
from ingestion.models import ListeningHistory
print(ListeningHistory.objects.values_list("user_id", flat=True).first() or 1)
"""
MAKE_ADMIN: Final = f"""
import os
from django.contrib.auth.models import User
admin, _ = User.objects.update_or_create(
    username={ADMIN!r}, defaults={{"email": "admin@example.org", "is_staff": True, "is_superuser": True}}
)
admin.set_password(os.environ["DEMO_PASSWORD"])
admin.save()
"""


class Command(BaseCommand):
    help = (
        "Start a demo source with believable songs and listeners, ingest it, and serve the web admin, until "
        "Ctrl-C. Everything it makes is under var/demo/; your own database is not touched. Run it again and "
        "it goes on with what is there; delete var/demo/ to start afresh."
    )
    # The demo has a database of its own; the one of the settings need not even be there.
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--songs", type=int, default=2_000, help="in the demo source (default: 2000)")
        parser.add_argument("--listeners", type=int, default=300, help="in the demo source (default: 300)")
        parser.add_argument("--days", type=int, default=60, help="of listening so far (default: 60)")
        parser.add_argument(
            "--faults", default="", help="faults of the source, such as 429,500,badrow; see demosource --help"
        )
        parser.add_argument(
            "--source-port", type=int, default=SOURCE_PORT, help="default: 8001, or a free one"
        )
        parser.add_argument("--web-port", type=int, default=WEB_PORT, help="default: 8000, or a free one")
        parser.add_argument(
            "--folder", type=Path, default=settings.HOME / "var" / "demo", help="default: var/demo"
        )
        parser.add_argument("--once", action="store_true", help="stop when everything has answered once")

    def handle(self, *_: Any, **options: Any) -> None:
        # SIGTERM ends it as Ctrl-C does: children are stopped on the way out.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            with ExitStack() as running:
                self._run(running, options)
        except KeyboardInterrupt:
            self._say("\nStopped. What was made is kept; run the demo again to go on with it.")

    def _run(self, running: ExitStack, options: dict[str, Any]) -> None:
        folder = options["folder"].resolve()
        folder.mkdir(parents=True, exist_ok=True)
        source_port, web_port = free_port(options["source_port"]), free_port(options["web_port"])
        source = f"http://127.0.0.1:{source_port}"
        environment = demo_environment(folder, source)

        self._say(f"1/6  Starting the demo source at {source}: {options['songs']} songs, "
                  f"{options['listeners']} listeners, {options['days']} days.")  # fmt: skip
        log = running.enter_context((folder / "source.log").open("ab"))
        command = manage("demosource", f"--port={source_port}", *source_arguments(options))
        wait_for(source, running.enter_context(child(command, environment, log)), folder / "source.log")

        self._say(f"2/6  Making the tables in {folder / 'demo.db'}.")
        self._manage(environment, "migrate", "--verbosity=0")
        self._manage(environment, "check")
        password = self._make_admin(environment, folder)

        self._say("3/6  Ingesting: read every page, check every row, prove that nothing is missing.")
        self._manage(environment, "runingest", may_fail=True)

        key = self._learn(environment, folder)

        web = f"http://127.0.0.1:{web_port}"
        self._say(f"6/6  Starting the web pages and the API at {web}.")
        log = running.enter_context((folder / "web.log").open("ab"))
        server = running.enter_context(child(web_server(web_port), environment, log))
        wait_for(f"{web}/admin/login/", server, folder / "web.log")
        self._tell(source, web, password, self._request(environment, web, key), folder)
        if not options["once"]:
            threading.Event().wait()

    def _learn(self, environment: dict[str, str], folder: Path) -> str | None:
        """Train a model, prepare what it recommends, and make a key to ask for it."""
        self._say(
            "4/6  Training: learn from all but the latest week, measure on that week, learn from it too."
        )
        self._manage(environment, "retrain", "--promote", may_fail=True)
        self._say("5/6  Preparing a shelf of songs for each listener.")
        self._manage(environment, "prepareshelves", may_fail=True)
        return self._make_key(environment, folder)

    def _make_admin(self, environment: dict[str, str], folder: Path) -> str | None:
        """The password of a new admin, which is shown once and stored nowhere; None for one made before."""
        made = folder / "admin-made"
        if made.exists():
            return None
        password = secrets.token_urlsafe(9)
        self._manage({**environment, "DEMO_PASSWORD": password}, "shell", "--no-imports", "-c", MAKE_ADMIN)
        self._say(
            f"     Made the web admin's user {ADMIN} with the password {password}, which is kept nowhere."
        )
        # Last: whoever stopped us before has not seen the password, and gets another one next time.
        made.touch()
        return password

    def _make_key(self, environment: dict[str, str], folder: Path) -> str | None:
        """A new key to the API, which is shown once and stored nowhere; None where one was shown before."""
        made = folder / "key-made"
        if made.exists():
            return None
        key = self._said(environment, "apikey", "demo", f"--user={ADMIN}", "--quiet")
        self._say(f"     The API key, shown only this once: {key}")
        made.touch()
        return key

    def _said(self, environment: dict[str, str], *arguments: str) -> str:
        """The last word of what a command says."""
        done = subprocess.run(  # noqa: S603
            manage(*arguments), env=environment, cwd=settings.CHECKOUT, check=True, text=True,
            stdout=subprocess.PIPE,
        )  # fmt: skip
        return done.stdout.split()[-1]

    def _manage(self, environment: dict[str, str], *arguments: str, may_fail: bool = False) -> None:
        done = subprocess.run(manage(*arguments), env=environment, cwd=settings.CHECKOUT, check=False)  # noqa: S603
        if done.returncode and not may_fail:
            raise CommandError(f"`manage.py {arguments[0]}` failed; what it says stands above.")

    def _request(self, environment: dict[str, str], web: str, key: str | None) -> str:
        """A command that gets 20 songs for somebody who listens."""
        listener = self._said(environment, "shell", "--no-imports", "-c", NAME_LISTENER)
        path = f"/api/v1/users/{listener}/recommendations/?n=20"
        return f"curl -H 'Authorization: Bearer {key or 'KEY'}' '{web}{path}'"

    def _tell(self, source: str, web: str, password: str | None, request: str, folder: Path) -> None:
        login = (
            f"{ADMIN} / {password}  (shown only this once)"
            if password
            else f"{ADMIN}, with the password shown at the first start (delete {folder} for a new one)"
        )
        self._say(
            f"\nReady.\n"
            f"  web admin    {web}/admin/\n"
            f"  log in as    {login}\n"
            f"  listeners    {web}/listen/\n"
            f"  API          {web}/api/docs/\n"
            f"  20 songs     {request}\n"
            f"  demo source  {source}/tracks?page=1&size=5\n"
            f"  the loop     python3 manage.py rehearse --weeks 12 shows three months of it\n"
            f"Logs are in {folder}. Ctrl-C stops everything."
        )

    def _say(self, text: str) -> None:
        self.stdout.write(text)
        self.stdout.flush()


def source_arguments(options: dict[str, Any]) -> list[str]:
    names = ("songs", "listeners", "days", "faults")
    return [f"--{name}={options[name]}" for name in names if options[name]]


def demo_environment(folder: Path, source: str) -> dict[str, str]:
    """This process's environment, with every place where something is written moved into `folder`."""
    secret = folder / "secret-key"
    if not secret.exists():
        secret.write_text(secrets.token_urlsafe(50))
        secret.chmod(0o600)
    ours = {
        "BASE_URL": source, "SOURCE_TOKEN": "", "SOURCE_TIME_ZONE": "UTC", "DATABASE_URL": "",
        "DATABASE_NAME": str(folder / "demo.db"), "VAR_DIR": str(folder),
        "STAGING_DIR": str(folder / "staging"),
        "MODEL_STORAGE": str(folder / "models"), "BROKER_DIR": str(folder / "broker"), "REDIS_URL": "",
        "SECRET_KEY": secret.read_text(), "DEBUG": "false", "HTTPS": "false",
        "ALLOWED_HOSTS": "localhost,127.0.0.1,[::1]", "LOG_LEVEL": "WARNING",
        "EMAIL_URL": "consolemail://", "ALERT_EMAILS": "", "SLACK_WEBHOOK_URL": "", "ALERT_URLS": "",
        "HEALTHCHECKS_URL": "", "DJANGO_SETTINGS_MODULE": "moovitamix.settings",
    }  # fmt: skip
    return {**os.environ, **ours}


def manage(*arguments: str) -> list[str]:
    """The command line of a management command, in this Python."""
    return [sys.executable, "-m", "django", *arguments]


def web_server(port: int) -> list[str]:
    return [sys.executable, "-m", "granian", "--interface=wsgi", "--host=127.0.0.1", f"--port={port}",
            "--workers=1", "--blocking-threads=4", "moovitamix.wsgi:application"]  # fmt: skip


def free_port(wanted: int) -> int:
    """`wanted`, or a free port where somebody else has it."""
    for port in (wanted, 0):
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(listener.getsockname()[1])
    raise CommandError(f"Port {wanted} is taken, and no other one is free.")


@contextmanager
def child(command: list[str], environment: dict[str, str], log: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A process that ends with us; a terminal's Ctrl-C reaches us alone, and we pass it on in order."""
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


def wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Return once the address answers.

    Raises:
        CommandError: the process behind it has ended, or says nothing within `START_WITHIN`.
    """
    pause, tries = threading.Event(), int(START_WITHIN / PAUSE)
    for _ in range(tries):
        if process.poll() is not None:
            break
        try:
            with DIRECTLY.open(url, timeout=START_WITHIN):
                return
        except (URLError, ConnectionError):
            pause.wait(PAUSE)
    raise CommandError(f"Nothing answers at {url}; the reason is at the end of {log}.")

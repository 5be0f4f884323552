"""Run a complete demo: simulated weeks or a new import, the demo source, the pages and the API."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
from argparse import ArgumentParser
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from django.conf import settings
from django.core.management.base import CommandError

from ingestion.management.base import GuidedCommand
from moovitamix.management import demo_installation
from moovitamix.management.demo_installation import ADMIN_USERNAME
from moovitamix.management.processes import (
    COMPLETION_MARKER,
    SIMULATION_DATABASE,
    SIMULATION_LOG,
    SOURCE_PAGES,
    build_demo_environment,
    child_process,
    clear_simulation,
    find_free_port,
    management_command,
    simulation_environment,
    wait_for_url,
)

SOURCE_PORT: Final = 8001
WEB_PORT: Final = 8000
# Enough for a refresh to be decided, and simulated in little more than a minute on a quiet machine.
DEFAULT_WEEKS: Final = 4
# The weeks of the help: enough for a better method to win its experiment and for a worse version to lose.
WEEKS: Final = 8
MAX_WEEKS: Final = 104  # the limit of `simulate` too
# Of the new source, and of the simulated one nine weeks before its first week.
SOURCE_SIZE: Final = {"songs": 2_000, "listeners": 300}
SIMULATED_SIZE: Final = {"songs": 400, "listeners": 30}
# 31 listeners at the start, since a refresh is decided by at least 20 who have engaged with its lists.
FIRST_WEEKS_SIZE: Final = {"songs": 240, "listeners": 24}
# The better method of the second wins in its sixth week.
FIRST_WEEKS, SCENARIO, LONG_WEEKS = "first-weeks", "demo", 6
SIMULATED: Final = "simulated"  # subfolder
SIMULATED_WEEKS: Final = "simulated-weeks"  # file in it: how many weeks of which size are complete
IMPORTED_DATABASE: Final = "demo.db"
DEFAULT_DAYS: Final = 60
MORE_CHARTS: Final = (
    f"  full charts  python3 manage.py demo --weeks {DEFAULT_WEEKS}  (simulates first, in a minute or two)\n"
)
HELP = f"""Simulate weeks of a synthetic music app and of this service, and serve pages and API, until Ctrl-C.
Four weeks take a minute or two and end this morning: the pages show full charts, a decided experiment
and an ended incident. --weeks 0 imports and trains on a larger new source instead. Everything is kept under
var/demo/; your own database is not touched. The next start continues with that data; delete var/demo/ to
start from scratch.

examples:
  python manage.py demo
  python manage.py demo --weeks {WEEKS}                     more weeks, some minutes: a better method wins
  python manage.py demo --weeks 0                     no simulation: one import of a larger source
  python manage.py demo --faults 429,500,badrow       with a source that fails now and then

next:
  open the address that it prints and log in with the user and password that it prints
"""


class Command(GuidedCommand):
    help = HELP
    # Uses a database of its own; the configured one need not exist.
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--weeks", type=int,
            help="weeks to simulate first (default: 4; 0 imports a new source)",
        )  # fmt: skip
        parser.add_argument(
            "--songs",
            type=int,
            help="songs in the demo source (default: 240; from 6 weeks on 400; with --weeks 0: 2000)",
        )
        parser.add_argument(
            "--listeners",
            type=int,
            help="listeners in the demo source (default: 24; from 6 weeks on 30; with --weeks 0: 300)",
        )
        parser.add_argument(
            "--days", type=int, help="with --weeks 0: days of listening history (default: 60)"
        )
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
        parser.add_argument(
            "--once", action="store_true", help="stop as soon as everything has answered once"
        )

    def handle(self, *_: Any, **options: Any) -> None:
        # SIGTERM and a closed terminal work like Ctrl-C: child processes are stopped before this one ends.
        for end in (signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)):
            signal.signal(end, signal.default_int_handler)
        if options["weeks"] is not None and not 0 <= options["weeks"] <= MAX_WEEKS:
            raise CommandError(f"--weeks is from 0 to {MAX_WEEKS}.")
        try:
            with ExitStack() as running:
                self._lock_folder(running, options["folder"].resolve())
                self._choose_world(options)
                (self._run_simulated if options["weeks"] else self._run_imported)(running, options)
                if not options["once"]:
                    threading.Event().wait()
        except KeyboardInterrupt:
            self._print("\nStopped. The data is kept; run the demo again to continue with it.")

    def _lock_folder(self, running: ExitStack, folder: Path) -> None:
        """Let no second demo replace the files of a running one."""
        folder.mkdir(parents=True, exist_ok=True)
        lock = running.enter_context((folder / "lock").open("w"))
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CommandError(
                f"A demo is running in {folder}. Stop it first, or choose another --folder."
            ) from None

    def _choose_world(self, options: dict[str, Any]) -> None:
        """Continue with what is there if nobody asks for a number of weeks or a size."""
        is_asked = options["weeks"] is not None or options["songs"] or options["listeners"]
        made = options["folder"].resolve() / SIMULATED / SIMULATED_WEEKS
        if not is_asked and made.exists():
            weeks, *sizes = made.read_text().split()
            options["weeks"] = int(weeks)
            names = zip(SIMULATED_SIZE, sizes, strict=True)
            options |= {name: int(size.partition("=")[2]) for name, size in names}
        elif not is_asked and (options["folder"].resolve() / IMPORTED_DATABASE).exists():
            options["weeks"] = 0
        elif options["weeks"] is None:
            options["weeks"] = DEFAULT_WEEKS

    def _run_simulated(self, running: ExitStack, options: dict[str, Any]) -> None:
        is_long = options["weeks"] >= LONG_WEEKS
        sizes = SIMULATED_SIZE if is_long else FIRST_WEEKS_SIZE
        options |= {name: options[name] or default for name, default in sizes.items()}
        options["scenario"] = SCENARIO if is_long else FIRST_WEEKS
        folder = options["folder"].resolve() / SIMULATED
        folder.mkdir(parents=True, exist_ok=True)
        self._print(
            f"1/3  Simulating weeks of imports, lists, trainings and experiments: {options['weeks']}."
        )
        installed = self._simulate(folder, options)
        source_port = find_free_port(options["source_port"])
        source = f"http://127.0.0.1:{source_port}"
        environment = {
            **build_demo_environment(folder, source), "DATABASE_NAME": str(folder / SIMULATION_DATABASE),
            # As in the simulated weeks.
            "SCHEDULED_TIME": "02:00", "TIME_ZONE": "UTC",
        }  # fmt: skip
        self._print(
            f"2/3  Starting the demo source at {source}, with the songs and listeners of these weeks."
        )
        self._start_source(
            running, environment, folder, source, [f"--pages={folder / SOURCE_PAGES}"], options
        )
        if installed is None:
            installed = self._prepare("simulated", environment, folder)
        web = self._start_pages(running, environment, folder, options, "3/3")
        self._print_summary(source, web, installed, folder, SIMULATION_DATABASE)

    def _run_imported(self, running: ExitStack, options: dict[str, Any]) -> None:
        options |= {name: options[name] or default for name, default in SOURCE_SIZE.items()}
        options["days"] = options["days"] or DEFAULT_DAYS
        folder = options["folder"].resolve()
        folder.mkdir(parents=True, exist_ok=True)
        source_port = find_free_port(options["source_port"])
        source = f"http://127.0.0.1:{source_port}"
        environment = build_demo_environment(folder, source)

        self._print(f"1/6  Starting the demo source at {source}: {options['songs']} songs, "
                  f"{options['listeners']} listeners, {options['days']} days.")  # fmt: skip
        sizes = [f"--{name}={options[name]}" for name in ("songs", "listeners", "days")]
        self._start_source(running, environment, folder, source, sizes, options)

        installed = self._prepare("imported", environment, folder)
        web = self._start_pages(running, environment, folder, options, "6/6")
        self._print_summary(source, web, installed, folder, IMPORTED_DATABASE)

    def _simulate(self, folder: Path, options: dict[str, Any]) -> dict[str, Any] | None:
        """Simulate the weeks in a separate process, which also adds the admin user and the key.

        Returns:
            The results of `DemoInstallation`; None if these weeks were simulated earlier.
        """
        sizes = [f"--{name}={options[name]}" for name in SIMULATED_SIZE]
        simulated = " ".join([str(options["weeks"]), *sizes])
        made = folder / SIMULATED_WEEKS
        if made.exists() and made.read_text() == simulated:
            self._print("     These weeks were simulated earlier.")
            return None
        if made.exists():
            self._print("     They replace the weeks that were simulated earlier.")
        for name in (SIMULATED_WEEKS, "admin-made", "key-made"):
            (folder / name).unlink(missing_ok=True)
        arguments = (
            f"--weeks={options['weeks']}", f"--scenario={options['scenario']}", f"--folder={folder}",
            "--to-today", *sizes,
        )  # fmt: skip
        try:
            clear_simulation(folder)
            with (folder / SIMULATION_LOG).open("wb") as log:
                environment = simulation_environment(folder)
                installed = self._prepare("weeks", environment, folder, *arguments, errors=log)
        except (OSError, CommandError) as error:
            what = "The simulation did not finish"
            if (folder / COMPLETION_MARKER).exists():
                made.write_text(simulated)
                what = "The admin user and the API key could not be added"
            raise CommandError(f"{what}; the reason is in {folder}.") from error
        made.write_text(simulated)
        return installed

    def _start_source(
        self, running: ExitStack, environment: dict[str, str], folder: Path, source: str,
        arguments: list[str], options: dict[str, Any],
    ) -> None:  # fmt: skip
        port = source.rpartition(":")[2]
        faults = [f"--faults={options['faults']}"] if options["faults"] else []
        command = management_command("demosource", f"--port={port}", *arguments, *faults)
        log = running.enter_context((folder / "source.log").open("ab"))
        process = running.enter_context(child_process(command, environment, log))
        wait_for_url(source, process, folder / "source.log")

    def _start_pages(
        self,
        running: ExitStack,
        environment: dict[str, str],
        folder: Path,
        options: dict[str, Any],
        step: str,
    ) -> str:
        # Only now: a free port is kept for nobody, and the source or another program may take it.
        web_port = find_free_port(options["web_port"])
        worker = "" if options["once"] else ", and a worker"
        self._print(f"{step}  Starting the web pages and the API at http://127.0.0.1:{web_port}{worker}.")
        web = self._start_web_server(running, environment, folder, web_port)
        if not options["once"]:
            log = running.enter_context((folder / "worker.log").open("ab"))
            running.enter_context(child_process(management_command("work"), environment, log))
        return web

    def _start_web_server(
        self, running: ExitStack, environment: dict[str, str], folder: Path, port: int
    ) -> str:
        web = f"http://127.0.0.1:{port}"
        log = running.enter_context((folder / "web.log").open("ab"))
        command = management_command("serve", f"--port={port}")
        server = running.enter_context(child_process(command, environment, log))
        wait_for_url(f"{web}/admin/login/", server, folder / "web.log")
        return web

    def _prepare(
        self, kind: str, environment: dict[str, str], folder: Path, *arguments: str, errors: Any = None
    ) -> dict[str, Any]:
        """Fill the database in a separate process; returns the results of `DemoInstallation`.

        Raises:
            CommandError: the process failed.
        """
        reader, writer = os.pipe()
        command = [
            sys.executable,
            "-m",
            demo_installation.__name__,
            kind,
            str(folder),
            str(writer),
            *arguments,
        ]
        with os.fdopen(reader) as pipe:
            try:
                done = subprocess.run(  # noqa: S603
                    command, env=environment, cwd=settings.CHECKOUT, check=False, pass_fds=[writer],
                    stderr=errors,
                )  # fmt: skip
            finally:
                os.close(writer)
            if done.returncode:
                raise CommandError("The demo can't be prepared; see the output above.")
            installed: dict[str, Any] = json.load(pipe)
        return installed

    def _print_summary(
        self, source: str, web: str, installed: dict[str, Any], folder: Path, database: str
    ) -> None:
        request = (
            f"curl -H 'Authorization: Bearer {installed.get('key', 'KEY')}' "
            f"'{web}/api/v1/users/{installed['listener']}/recommendations/?n=20'"
        )
        self._print(
            f"\nReady. Look at these first:\n"
            f"  listeners    {web}/listen/  choose a listener: their songs, each with its reason\n"
            f"  operations   {web}/         the last import: what came, and whether it was as usual\n"
            f"  models       {web}/models/  the model that serves: does it beat the baselines?\n"
            f"\n"
            f"  web admin    {web}/admin/\n"
            f"  log in as    {self._login(installed.get('password'))}\n"
            f"  API          {web}/api/docs/ (quickstart in Python, JavaScript and curl)\n"
            f"  20 songs     {request}\n"
            f"  demo source  {source}/tracks?page=1&size=5\n"
            f"{_by_hand_hint(folder, database)}"
            f"{MORE_CHARTS if database != SIMULATION_DATABASE else ''}"
            f"Logs are in {folder}. Ctrl-C stops everything."
        )

    def _login(self, password: str | None) -> str:
        if password:
            return f"{ADMIN_USERNAME} / {password}  (shown only this once)"
        return (
            f"{ADMIN_USERNAME}, with the password shown at the first start "
            f"(lost? `changepassword {ADMIN_USERNAME}` by hand)"
        )

    def _print(self, text: str) -> None:
        self.stdout.write(text)
        self.stdout.flush()


def _by_hand_hint(folder: Path, database: str) -> str:
    words = f"VAR_DIR={folder} DATABASE_NAME={folder / database} python3 manage.py"
    return f"  by hand      {words} checkdrift   (or any other command)\n"

"""Months of the loop in minutes, on the demo source: what was planted, what the loop did, was it right?"""

import shutil
import signal
import subprocess
import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from datetime import date, timedelta
from pathlib import Path
from textwrap import wrap
from typing import Any, Final
from urllib.parse import urlsplit

import orjson
from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone
from tqdm import tqdm

from ingestion.demo.scenarios import ScenarioEvent, describe_events, parse_scenario
from ingestion.demo.world.world import World
from moovitamix.processes import COMPLETION_MARKER, build_demo_environment, find_free_port, management_command
from moovitamix.simulation.report import EventFinding, judge_events
from moovitamix.simulation.simulator import Simulation

DEFAULT_SCENARIO: Final = Path(__file__).resolve().parents[2] / "scenarios" / "usual.json"
# As far back as drift looks, and the week that the first training is measured on.
HISTORY_DAYS: Final = 63
MAX_WEEKS: Final = 104
EXAMPLE_WEEKS: Final = 12
OUTCOME_WIDTH: Final = 56  # letters: the whole table fits a terminal of 130
DATABASE, LOG = "rehearsal.db", "rehearsal.log"
SIMULATION_FILES: Final = (
    DATABASE,
    f"{DATABASE}-wal",
    f"{DATABASE}-shm",
    "staging",
    "models",
    "broker",
    COMPLETION_MARKER,
)
HELP = f"""Live weeks in minutes: the demo source's days, real ingestion over HTTP, the loop's own tasks, and
listeners who ask the real API and react by tastes that nobody sees, with a clock that is set on. Ends with a
table: what was planted, what the loop did about it and when, and whether that was right (exit 0: all of it).
Everything it makes is in var/rehearsal, made anew each time; your own database is not touched.

a scenario is a JSON file: {{"events": [{{"event": "outage", "week": 2, "day": 3, "days": 2}}, ...]}}; weeks
count from 1, days from 1, a Monday, to 7. Events, with what else they take:
{describe_events()}

examples:
  python manage.py rehearse --weeks 12
  python manage.py rehearse --weeks 3 --scenario mine.json --json
"""


class Command(BaseCommand):
    help = HELP
    # It has a database of its own; the one of the settings need not even be there.
    requires_system_checks = ()

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> Any:
        return super().create_parser(
            prog_name, subcommand, formatter_class=RawDescriptionHelpFormatter, **kwargs
        )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--weeks", type=int, default=12, help="to be lived, 1 to 104 (default: 12)")
        parser.add_argument("--scenario", type=Path, metavar="FILE", help="default: every event once")
        parser.add_argument("--seed", type=int, default=7, help="of world and listeners (default: 7)")
        parser.add_argument(
            "--songs", type=int, default=600, help="nine weeks before the start (default: 600)"
        )
        # About one in a hundred and seventy comes new each day: 60 at the start, and 85 after twelve weeks.
        parser.add_argument(
            "--listeners", type=int, default=45, help="nine weeks before the start (default: 45)"
        )
        parser.add_argument(
            "--folder", type=Path, default=settings.HOME / "var" / "rehearsal", help="default: var/rehearsal"
        )
        parser.add_argument("--json", action="store_true", help="one JSON object, and nothing else")

    def handle(self, *_: Any, **options: Any) -> None:
        if not 1 <= options["weeks"] <= MAX_WEEKS:
            raise CommandError(f"--weeks must be from 1 to {MAX_WEEKS}.")
        events = self._read_events(options)
        folder = options["folder"].resolve()
        if Path(settings.DATABASES["default"]["NAME"]) != folder / DATABASE:
            sys.exit(self._start_inside(folder, options))
        call_command("migrate", verbosity=0)
        rehearsal = self._create_simulation(events, options)
        self._simulate(rehearsal, options)
        findings = judge_events(rehearsal.planted)
        self._print_report(findings, rehearsal, folder, as_json=options["json"])
        (folder / COMPLETION_MARKER).touch()
        sys.exit(1 if any(finding.is_right is False for finding in findings) else 0)

    def _read_events(self, options: dict[str, Any]) -> list[ScenarioEvent]:
        chosen = options["scenario"] or DEFAULT_SCENARIO
        try:
            events = parse_scenario(chosen.read_bytes(), weeks=MAX_WEEKS)
        except OSError as error:
            raise CommandError(f"The scenario {chosen} can't be read: {error.strerror}.") from error
        except ValueError as error:
            raise CommandError(str(error)) from error
        return [event for event in events if event.first_day < 7 * options["weeks"]]

    def _start_inside(self, folder: Path, options: dict[str, Any]) -> int:
        """The same command in a process of its own, whose settings and time are the rehearsal's."""
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        folder.mkdir(parents=True, exist_ok=True)
        for name in SIMULATION_FILES:
            shutil.rmtree(folder / name) if (folder / name).is_dir() else (folder / name).unlink(True)
        with (folder / LOG).open("wb") as log:
            try:
                code = subprocess.run(  # noqa: S603
                    management_command("rehearse", *_command_arguments(folder, options)),
                    env=_simulation_environment(folder),
                    stderr=log,
                    cwd=settings.CHECKOUT,
                    check=False,
                ).returncode
            except KeyboardInterrupt:
                raise CommandError("Stopped.") from None
        if code:
            self.stderr.write(f"What is not told above stands in {folder / LOG}.")
        return code

    def _create_simulation(self, events: list[ScenarioEvent], options: dict[str, Any]) -> Simulation:
        # Up to last Sunday: what is looked at afterwards is of today, and nothing lies in the future.
        today = timezone.now().date()
        first = today - timedelta(days=today.weekday() + 7 * options["weeks"])
        world = World.ending_on(
            first - timedelta(days=1), seed=options["seed"], songs=options["songs"],
            listeners=options["listeners"], days=HISTORY_DAYS, proportional_changes=True,
        )  # fmt: skip
        address = urlsplit(settings.BASE_URL)
        return Simulation(
            world=world, events=events, first_day=first, storage=Path(settings.MODEL_STORAGE),
            source_address=(str(address.hostname), int(address.port or 80)), seed=options["seed"],
        )  # fmt: skip

    def _simulate(self, rehearsal: Simulation, options: dict[str, Any]) -> None:
        days = 7 * options["weeks"]
        if options["json"]:
            rehearsal.run_days(days, lambda day: None)
        elif self.stdout.isatty():
            with tqdm(total=days, unit="day", file=sys.stdout) as bar:
                rehearsal.run_days(days, lambda day: bar.update())
        else:
            rehearsal.run_days(days, self._print_day)

    def _print_day(self, day: date) -> None:
        self.stdout.write(f"lived {day}")
        self.stdout.flush()

    def _print_report(
        self, findings: list[EventFinding], rehearsal: Simulation, folder: Path, *, as_json: bool
    ) -> None:
        if as_json:
            facts = {
                "counts": dict(rehearsal.counts),
                "findings": [
                    {"event": one.event.kind, "planted": one.event.description, "on": one.event.since.date(),
                     "did": one.reaction, "at": one.at, "right": one.is_right}
                    for one in findings
                ],
            }  # fmt: skip
            self.stdout.write(orjson.dumps(facts).decode())
            return
        told = ", ".join(f"{number} {name}" for name, number in sorted(rehearsal.counts.items()))
        self.stdout.write(f"\n{told}.\n\n{format_findings(findings)}")
        words = f"VAR_DIR={folder} DATABASE_URL= DATABASE_NAME={folder / DATABASE} python3 manage.py"
        self.stdout.write(
            f"\nThe pages of weeks like these: python3 manage.py demo --lived {EXAMPLE_WEEKS}\n"
            f"A command on what was lived:   {words} explaindecision"
        )


def format_findings(findings: list[EventFinding]) -> str:
    """What was planted, when, what the loop did, when, and whether that was right; columns in line."""
    rows = [("planted", "on", "what the loop did", "on", "right?")]
    for one in findings:
        first, *more = wrap(one.reaction, OUTCOME_WIDTH)
        at = f"{one.at:%d %b}" if one.at else "-"
        is_right = {True: "yes", False: "NO", None: "not over"}[one.is_right]
        rows.append((one.event.description, f"{one.event.since:%d %b}", first, at, is_right))
        rows += [("", "", line, "", "") for line in more]
    widths = [max(len(row[place]) for row in rows) for place in range(5)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def _command_arguments(folder: Path, options: dict[str, Any]) -> list[str]:
    given = [f"--{name}={options[name]}" for name in ("weeks", "seed", "songs", "listeners")]
    given.append(f"--folder={folder}")
    if options["scenario"]:
        given.append(f"--scenario={options['scenario'].resolve()}")
    return [*given, "--json"] if options["json"] else given


def _simulation_environment(folder: Path) -> dict[str, str]:
    source = f"http://127.0.0.1:{find_free_port(0)}"
    ours = {
        "DATABASE_NAME": str(folder / DATABASE),
        # A day's requests come within seconds.
        "API_RATE": "1000000/sec", "API_FEEDBACK_RATE": "1000000/sec",
        # Time is set on while nothing runs: whoever waits for a source that is down waits for real.
        "SOURCE_ATTEMPTS": "2", "WATCHDOG_IN_WEB": "false", "SCHEDULED_TIME": "02:00", "TIME_ZONE": "UTC",
    }  # fmt: skip
    return {**build_demo_environment(folder, source), **ours}

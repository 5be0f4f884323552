"""Simulate weeks of operation in minutes, and check the reaction to every injected event."""

import gc
import signal
import subprocess
import sys
from argparse import ArgumentParser
from datetime import date, datetime, time, timedelta
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import orjson
from django.conf import settings
from django.core.management import call_command
from django.core.management.base import CommandError
from django.utils import timezone
from tqdm import tqdm

from ingestion.demo.scenarios import ScenarioEvent, describe_events, parse_last_day, parse_scenario
from ingestion.demo.source import record_pages
from ingestion.demo.world.world import World
from ingestion.management.base import GuidedCommand
from ingestion.management.progress import progress_bar
from moovitamix.management.processes import (
    COMPLETION_MARKER,
    SIMULATION_DATABASE,
    SIMULATION_LOG,
    SOURCE_PAGES,
    clear_simulation,
    management_command,
    simulation_environment,
)
from moovitamix.simulation.report import (
    EventFinding,
    UnplannedFinding,
    judge_events,
    judge_unplanned,
)
from moovitamix.simulation.service_process import ServiceProcess, start_services
from moovitamix.simulation.simulated_process import prepare_process, write_database

if TYPE_CHECKING:
    from moovitamix.simulation.simulator import Simulation

SCENARIOS: Final = Path(__file__).resolve().parents[2] / "scenarios"
DEFAULT_SCENARIO: Final = "usual"
# The drift check needs eight weeks, and the first training a ninth for its evaluation.
HISTORY_DAYS: Final = 63
MAX_WEEKS: Final = 104
OUTCOME_WIDTH: Final = 56  # characters, so that the table fits a terminal with 130 columns
# The tasks of a simulated morning are done by then.
MORNING_ENDS: Final = time(7)
HELP = f"""Simulate weeks of operation in minutes. The demo source adds a day of data, the real ingestion
imports it over HTTP, the periodic tasks run, and simulated listeners use the real API and react by hidden
tastes, all under a clock that is moved forward. Two processes serve them, on two processors. A scenario
plants events such as an outage or a worse model. The final tables say for each event what MoovitaMix did,
when, and whether that was right, and what happened without a planted cause: false alarms, rollbacks, bad
champions (exit code 0: all was right).
Everything is written to var/rehearsal, which is emptied first; your own database is not touched.
`rehearse` is the former name of this command and still works.

examples:
  python manage.py simulate --weeks 12
  python manage.py simulate --weeks 8 --scenario quiet
  python manage.py simulate --weeks 3 --scenario mine.json --json

scenarios: {", ".join(sorted(file.stem for file in SCENARIOS.glob("*.json")))}

next:
  python manage.py demo --weeks 12              shows the pages after twelve simulated weeks

a scenario is a JSON file: {{"events": [{{"event": "outage", "week": 2, "day": 3, "days": 2}}, ...]}}; weeks
count from 1, days from 1 (Monday) to 7. "last_day" names the Sunday on which the weeks end, by default the
last one. Events and their other fields:
{describe_events()}
"""


class Command(GuidedCommand):
    help = HELP
    # Uses a database of its own; the configured one need not exist.
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--weeks", type=int, default=12, help="weeks to simulate, 1 to 104 (default: 12)")
        parser.add_argument(
            "--scenario",
            default=DEFAULT_SCENARIO,
            metavar="NAME",
            help="events to plant: the name of a scenario, or a file (default: usual, every event once)",
        )
        parser.add_argument(
            "--seed", type=int, default=7, help="random seed of the data and the listeners (default: 7)"
        )
        parser.add_argument(
            "--songs", type=int, default=600, help="songs nine weeks before the start (default: 600)"
        )
        # The number grows by 1 in 170 each day: 60 at the start of the simulation, 85 after twelve weeks.
        parser.add_argument(
            "--listeners", type=int, default=45, help="listeners nine weeks before the start (default: 45)"
        )
        parser.add_argument(
            "--folder", type=Path, default=settings.HOME / "var" / "rehearsal", help="default: var/rehearsal"
        )
        parser.add_argument(
            "--to-today",
            action="store_true",
            help="end this morning instead: the last week is this one so far",
        )
        parser.add_argument("--json", action="store_true", help="print one JSON object instead of text")

    def handle(self, *_: Any, **options: Any) -> None:
        if not 1 <= options["weeks"] <= MAX_WEEKS:
            raise CommandError(f"--weeks must be from 1 to {MAX_WEEKS}.")
        events, last_day = self._read_scenario(options["scenario"], weeks=options["weeks"])
        folder = options["folder"].resolve()
        if Path(settings.DATABASES["default"]["NAME"]) != folder / SIMULATION_DATABASE:
            sys.exit(self._start_inside(folder, options))
        # They import Django while this process creates the tables and the world.
        with start_services() as services:
            gc.disable()
            call_command("migrate", verbosity=0)
            simulation = self._create_simulation(events, last_day, options, services)
            prepare_process()
            self._simulate(simulation, options)
        write_database()
        record_pages(simulation.scenario_source.snapshot().tables, folder / SOURCE_PAGES)
        findings, unplanned = judge_events(simulation.planted), judge_unplanned(simulation.planted)
        self._print_report(findings, unplanned, simulation, folder, as_json=options["json"])
        (folder / COMPLETION_MARKER).touch()
        is_wrong = any(one.is_right is False for one in findings) or not all(
            one.is_right for one in unplanned
        )
        sys.exit(1 if is_wrong else 0)

    def _read_scenario(self, chosen: str, *, weeks: int) -> tuple[list[ScenarioEvent], date | None]:
        try:
            text = find_scenario(chosen).read_bytes()
            return parse_scenario(text, weeks=weeks), parse_last_day(text)
        except OSError as error:
            raise CommandError(f"The scenario {chosen} can't be read: {error.strerror}.") from error
        except ValueError as error:
            raise CommandError(str(error)) from error

    def _start_inside(self, folder: Path, options: dict[str, Any]) -> int:
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        clear_simulation(folder)
        with (folder / SIMULATION_LOG).open("wb") as log:
            try:
                code = subprocess.run(  # noqa: S603
                    management_command("simulate", *_command_arguments(folder, options)),
                    env=simulation_environment(folder),
                    stderr=log,
                    cwd=settings.CHECKOUT,
                    check=False,
                ).returncode
            except KeyboardInterrupt:
                raise CommandError("Stopped.") from None
        if code:
            self.stderr.write(f"The log is in {folder / SIMULATION_LOG}.")
        return code

    def _create_simulation(
        self,
        events: list[ScenarioEvent],
        last_day: date | None,
        options: dict[str, Any],
        services: list[ServiceProcess],
    ) -> "Simulation":
        # Trainings need scikit-learn, which takes longer to import than Django. The process outside this one
        # does without, and the services start at the same time.
        from moovitamix.simulation.simulator import Simulation  # noqa: PLC0415

        first, self._days = plan_days(
            timezone.now(), options["weeks"], to_today=options["to_today"], last_day=last_day
        )
        world = World.ending_on(
            first - timedelta(days=1), seed=options["seed"], songs=options["songs"],
            listeners=options["listeners"], days=HISTORY_DAYS, proportional_changes=True,
        )  # fmt: skip
        address = urlsplit(settings.BASE_URL)
        return Simulation(
            world=world, events=events, first_day=first, storage=Path(settings.MODEL_STORAGE),
            source_address=(str(address.hostname), int(address.port or 80)), seed=options["seed"],
            services=services,
        )  # fmt: skip

    def _simulate(self, simulation: "Simulation", options: dict[str, Any]) -> None:
        days = self._days
        if options["json"]:
            simulation.run_days(days, lambda day: None)
        elif self.stdout.isatty():
            with tqdm(total=days, unit="day", file=sys.stdout) as bar:
                simulation.run_days(days, lambda day: bar.update())
        else:
            with progress_bar("simulation", "days", days, stream=sys.stdout) as bar:
                simulation.run_days(days, lambda day: bar.update())

    def _print_report(
        self,
        findings: list[EventFinding],
        unplanned: list[UnplannedFinding],
        simulation: "Simulation",
        folder: Path,
        *,
        as_json: bool,
    ) -> None:
        if as_json:
            facts = {
                "counts": dict(simulation.counts),
                "findings": [
                    {"event": one.event.kind, "planted": one.event.description, "on": one.event.since.date(),
                     "did": one.reaction, "at": one.at, "right": one.is_right}
                    for one in findings
                ],
                "unplanned": [
                    {"name": one.name, "found": one.found, "right": one.is_right} for one in unplanned
                ],
            }  # fmt: skip
            self.stdout.write(orjson.dumps(facts).decode())
            return
        counts = ", ".join(f"{number} {name}" for name, number in sorted(simulation.counts.items()))
        self.stdout.write(f"\n{counts}.")
        if findings:
            self.stdout.write(f"\n{format_findings(findings)}")
        self.stdout.write(f"\n{format_unplanned(unplanned)}")
        words = (
            f"VAR_DIR={folder} DATABASE_URL= DATABASE_NAME={folder / SIMULATION_DATABASE} python3 manage.py"
        )
        self.stdout.write(
            f"\nThe pages after such weeks:         python3 manage.py demo --weeks 12\n"
            f"A command on the simulated data:    {words} explaindecision"
        )


def plan_days(now: datetime, weeks: int, *, to_today: bool, last_day: date | None) -> tuple[date, int]:
    """The first day, a Monday, and the number of days, so that no row is in the future.

    Args:
        to_today: the days end yesterday or, before the end of this morning's tasks, the day before.
        last_day: the Sunday on which the weeks end; None for last Sunday.
    """
    if to_today:
        morning = (now - timedelta(days=now.time() < MORNING_ENDS)).date()
        last_day = morning - timedelta(days=1)
    elif last_day is None:
        last_day = now.date() - timedelta(days=now.weekday() + 1)
    first = last_day - timedelta(days=last_day.weekday() + 7 * (weeks - 1))
    return first, (last_day - first).days + 1


def format_findings(findings: list[EventFinding]) -> str:
    rows = [("planted event", "on", "reaction", "on", "right?")]
    for one in findings:
        first, *more = wrap(one.reaction, OUTCOME_WIDTH)
        at = f"{one.at:%d %b}" if one.at else "-"
        is_right = {True: "yes", False: "NO", None: "not over"}[one.is_right]
        rows.append((one.event.description, f"{one.event.since:%d %b}", first, at, is_right))
        rows += [("", "", line, "", "") for line in more]
    widths = [max(len(row[place]) for row in rows) for place in range(5)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def format_unplanned(findings: list[UnplannedFinding]) -> str:
    rows = [("without a planted cause", "found", "right?")]
    for one in findings:
        first, *more = wrap("; ".join(one.found), OUTCOME_WIDTH) or ["none"]
        rows.append((one.name, first, "yes" if one.is_right else "NO"))
        rows += [("", line, "") for line in more]
    widths = [max(len(row[place]) for row in rows) for place in range(3)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def find_scenario(chosen: str) -> Path:
    """The file of a bundled scenario, or the file with this path."""
    bundled = SCENARIOS / f"{chosen}.json"
    return bundled if bundled.parent == SCENARIOS and bundled.exists() else Path(chosen)


def _command_arguments(folder: Path, options: dict[str, Any]) -> list[str]:
    given = [f"--{name}={options[name]}" for name in ("weeks", "seed", "songs", "listeners")]
    given.append(f"--folder={folder}")
    given.append(f"--scenario={find_scenario(options['scenario']).resolve()}")
    given += [f"--{name.replace('_', '-')}" for name in ("to_today", "json") if options[name]]
    return given

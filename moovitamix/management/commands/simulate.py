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

from ingestion.demo.scenarios import Event, describe_events, parse_scenario
from ingestion.demo.world.world import World
from moovitamix.processes import REHEARSED, demo_environment, free_port, manage
from moovitamix.simulation.report import Finding, judged
from moovitamix.simulation.simulator import Rehearsal

USUAL: Final = Path(__file__).resolve().parents[2] / "scenarios" / "usual.json"
# As far back as drift looks, and the week that the first training is measured on.
DAYS_BEFORE: Final = 63
MOST_WEEKS: Final = 104
WEEKS_SHOWN: Final = 12
WIDE: Final = 56  # letters: the whole table fits a terminal of 130
DATABASE, LOG = "rehearsal.db", "rehearsal.log"
MADE: Final = (DATABASE, f"{DATABASE}-wal", f"{DATABASE}-shm", "staging", "models", "broker", REHEARSED)
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
        if not 1 <= options["weeks"] <= MOST_WEEKS:
            raise CommandError(f"--weeks must be from 1 to {MOST_WEEKS}.")
        events = self._events(options)
        folder = options["folder"].resolve()
        if Path(settings.DATABASES["default"]["NAME"]) != folder / DATABASE:
            sys.exit(self._start_inside(folder, options))
        call_command("migrate", verbosity=0)
        rehearsal = self._rehearsal(events, options)
        self._live(rehearsal, options)
        findings = judged(rehearsal.planted)
        self._tell(findings, rehearsal, folder, as_json=options["json"])
        (folder / REHEARSED).touch()
        sys.exit(1 if any(finding.is_right is False for finding in findings) else 0)

    def _events(self, options: dict[str, Any]) -> list[Event]:
        chosen = options["scenario"] or USUAL
        try:
            events = parse_scenario(chosen.read_bytes(), weeks=MOST_WEEKS)
        except OSError as error:
            raise CommandError(f"The scenario {chosen} can't be read: {error.strerror}.") from error
        except ValueError as error:
            raise CommandError(str(error)) from error
        return [event for event in events if event.first < 7 * options["weeks"]]

    def _start_inside(self, folder: Path, options: dict[str, Any]) -> int:
        """The same command in a process of its own, whose settings and time are the rehearsal's."""
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        folder.mkdir(parents=True, exist_ok=True)
        for name in MADE:
            shutil.rmtree(folder / name) if (folder / name).is_dir() else (folder / name).unlink(True)
        with (folder / LOG).open("wb") as log:
            try:
                code = subprocess.run(  # noqa: S603
                    manage("rehearse", *_arguments(folder, options)), env=_environment(folder), stderr=log,
                    cwd=settings.CHECKOUT, check=False,
                ).returncode  # fmt: skip
            except KeyboardInterrupt:
                raise CommandError("Stopped.") from None
        if code:
            self.stderr.write(f"What is not told above stands in {folder / LOG}.")
        return code

    def _rehearsal(self, events: list[Event], options: dict[str, Any]) -> Rehearsal:
        # Up to last Sunday: what is looked at afterwards is of today, and nothing lies in the future.
        today = timezone.now().date()
        first = today - timedelta(days=today.weekday() + 7 * options["weeks"])
        world = World.up_to(
            first - timedelta(days=1), seed=options["seed"], songs=options["songs"],
            listeners=options["listeners"], days=DAYS_BEFORE, calm=True,
        )  # fmt: skip
        address = urlsplit(settings.BASE_URL)
        return Rehearsal(
            world=world, events=events, first=first, storage=Path(settings.MODEL_STORAGE),
            source=(str(address.hostname), int(address.port or 80)), seed=options["seed"],
        )  # fmt: skip

    def _live(self, rehearsal: Rehearsal, options: dict[str, Any]) -> None:
        days = 7 * options["weeks"]
        if options["json"]:
            rehearsal.live(days, lambda day: None)
        elif self.stdout.isatty():
            with tqdm(total=days, unit="day", file=sys.stdout) as bar:
                rehearsal.live(days, lambda day: bar.update())
        else:
            rehearsal.live(days, self._log)

    def _log(self, day: date) -> None:
        self.stdout.write(f"lived {day}")
        self.stdout.flush()

    def _tell(self, findings: list[Finding], rehearsal: Rehearsal, folder: Path, *, as_json: bool) -> None:
        if as_json:
            facts = {
                "counts": dict(rehearsal.counts),
                "findings": [
                    {"event": one.planted.kind, "planted": one.planted.told, "on": one.planted.since.date(),
                     "did": one.did, "at": one.at, "right": one.is_right}
                    for one in findings
                ],
            }  # fmt: skip
            self.stdout.write(orjson.dumps(facts).decode())
            return
        told = ", ".join(f"{number} {name}" for name, number in sorted(rehearsal.counts.items()))
        self.stdout.write(f"\n{told}.\n\n{table(findings)}")
        words = f"VAR_DIR={folder} DATABASE_URL= DATABASE_NAME={folder / DATABASE} python3 manage.py"
        self.stdout.write(
            f"\nThe pages of weeks like these: python3 manage.py demo --lived {WEEKS_SHOWN}\n"
            f"A command on what was lived:   {words} explaindecision"
        )


def table(findings: list[Finding]) -> str:
    """What was planted, when, what the loop did, when, and whether that was right; columns in line."""
    rows = [("planted", "on", "what the loop did", "on", "right?")]
    for one in findings:
        first, *more = wrap(one.did, WIDE)
        at = f"{one.at:%d %b}" if one.at else "-"
        is_right = {True: "yes", False: "NO", None: "not over"}[one.is_right]
        rows.append((one.planted.told, f"{one.planted.since:%d %b}", first, at, is_right))
        rows += [("", "", line, "", "") for line in more]
    widths = [max(len(row[place]) for row in rows) for place in range(5)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def _arguments(folder: Path, options: dict[str, Any]) -> list[str]:
    given = [f"--{name}={options[name]}" for name in ("weeks", "seed", "songs", "listeners")]
    given.append(f"--folder={folder}")
    if options["scenario"]:
        given.append(f"--scenario={options['scenario'].resolve()}")
    return [*given, "--json"] if options["json"] else given


def _environment(folder: Path) -> dict[str, str]:
    source = f"http://127.0.0.1:{free_port(0)}"
    ours = {
        "DATABASE_NAME": str(folder / DATABASE),
        # A day's requests come within seconds.
        "API_RATE": "1000000/sec", "API_FEEDBACK_RATE": "1000000/sec",
        # Time is set on while nothing runs: whoever waits for a source that is down waits for real.
        "SOURCE_ATTEMPTS": "2", "WATCHDOG_IN_WEB": "false", "SCHEDULED_TIME": "02:00", "TIME_ZONE": "UTC",
    }  # fmt: skip
    return {**demo_environment(folder, source), **ours}

"""Serve the demo source: a music app's API with synthetic data, to try everything on."""

import signal
import threading
from argparse import ArgumentParser
from contextlib import ExitStack, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError
from django.utils import timezone

from ingestion.demo.faults.spec import describe_faults, parse_faults
from ingestion.demo.server import DemoServer
from ingestion.demo.source import RecordedSource, Source
from ingestion.demo.world.world import World
from ingestion.management.base import GuidedCommand

MOST_PORTS = 65_535
HELP = f"""Serve synthetic songs, users and listening histories as a music app's API would:
/tracks, /users and /listen_history, paged by ?page= and ?size=. The same seed gives the same data.

examples:
  python manage.py demosource
  python manage.py demosource --songs 5000 --listeners 1000 --days 60
  python manage.py demosource --faults 429,500,slow,badrow
  python manage.py demosource --advance-every 60       adds one day of data every minute

next, in a second terminal:
  python manage.py runingest                           imports it (BASE_URL is this address by default)

faults, for --faults, separated by commas: NAME, or NAME:0.2 (at this rate), NAME@3 (on page 3),
NAME@3x2 (on page 3, twice):
{describe_faults()}
"""


class Command(GuidedCommand):
    help = HELP
    # Serves from memory, without a database.
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--host", default="127.0.0.1", help="default: 127.0.0.1, this machine only")
        parser.add_argument("--port", type=int, default=8001, help="default: 8001")
        parser.add_argument("--seed", type=int, default=7, help="random seed of the data (default: 7)")
        parser.add_argument("--songs", type=int, default=1000, help="number of songs (default: 1000)")
        parser.add_argument("--listeners", type=int, default=200, help="number of listeners (default: 200)")
        parser.add_argument(
            "--days", type=int, default=30, help="days of listening history, ending yesterday (default: 30)"
        )
        parser.add_argument(
            "--day", type=int, default=0, help="further days to add to that history (default: 0)"
        )
        parser.add_argument(
            "--advance-every", type=float, metavar="SECONDS", help="add one day of data this often"
        )
        parser.add_argument(
            "--pages", type=Path, metavar="FOLDER", help="serve recorded pages instead of synthetic data"
        )
        parser.add_argument("--faults", default="", help="faults to inject, see above")
        parser.add_argument(
            "--latency-ms", type=float, default=0.0, help="delay of every response (default: 0)"
        )
        parser.add_argument("--token", help="refuse requests without this bearer token")

    def handle(self, *_: Any, **options: Any) -> None:
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            source = self._source(options)
            faults = parse_faults(options["faults"], seed=options["seed"])
        except ValueError as error:
            raise CommandError(str(error)) from error
        if not 0 <= options["port"] <= MOST_PORTS:
            raise CommandError(f"--port is from 0 to {MOST_PORTS}; 0 picks a free port.")
        server = DemoServer(
            source, host=options["host"], port=options["port"], faults=faults,
            latency=options["latency_ms"] / 1000, token=options["token"],
        )  # fmt: skip
        # From the first line on that a person or script may see, Ctrl-C and SIGTERM are the regular end.
        with suppress(KeyboardInterrupt), ExitStack() as running:
            try:
                running.enter_context(server)
            except OSError as error:
                raise CommandError(
                    f"Port {options['port']} can't be used ({error.strerror}). Choose another one with "
                    "--port; 0 picks a free port."
                ) from error
            counts = ", ".join(f"{len(rows)} {name}" for name, rows in source.snapshot().tables.items())
            self.stdout.write(f"Demo source at {server.url}: {counts}. Ctrl-C stops.")
            self.stdout.flush()
            self._advance_days(source, options["advance_every"])
        self.stdout.write("Demo source stopped.")

    def _source(self, options: dict[str, Any]) -> Source:
        if options["pages"]:
            return RecordedSource(options["pages"])
        world = World.ending_on(
            # Yesterday, so that no row is in the future.
            timezone.now().date() - timedelta(days=1), seed=options["seed"], songs=options["songs"],
            listeners=options["listeners"], days=options["days"],
        )  # fmt: skip
        if options["day"]:
            world.advance(options["day"])
        return world

    def _advance_days(self, source: Source, every: float | None) -> None:
        forever = threading.Event()
        while not forever.wait(every):
            if isinstance(source, World):
                source.advance()
                self.stdout.write(f"Day {source.day_number}: {source.today}.")
                self.stdout.flush()

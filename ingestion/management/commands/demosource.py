"""The demo source: the twin of a music app's API, to try everything on."""

import signal
import threading
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from ingestion.demo.faults.spec import describe_faults, parse_faults
from ingestion.demo.server import DemoServer
from ingestion.demo.source import RecordedSource, Source
from ingestion.demo.world.world import World

MOST_PORTS = 65_535
HELP = f"""Serve invented songs, users and listening histories as a music app's API does:
/tracks, /users and /listen_history, paged by ?page= and ?size=. The same seed gives the same world.

faults, for --faults, separated by commas: NAME, or NAME:0.2 (this rate), NAME@3 (page 3),
NAME@3x2 (there, twice):
{describe_faults()}

examples:
  python manage.py demosource --songs 5000 --listeners 1000 --days 60
  python manage.py demosource --faults 429,500,slow,badrow
  python manage.py demosource --advance-every 60       a day passes every minute
"""


class Command(BaseCommand):
    help = HELP
    # It serves from memory, and needs no database.
    requires_system_checks = ()

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> Any:
        return super().create_parser(
            prog_name, subcommand, formatter_class=RawDescriptionHelpFormatter, **kwargs
        )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--host", default="127.0.0.1", help="default: 127.0.0.1, this machine only")
        parser.add_argument("--port", type=int, default=8001, help="default: 8001")
        parser.add_argument("--seed", type=int, default=7, help="of the world (default: 7)")
        parser.add_argument("--songs", type=int, default=1000, help="at the start (default: 1000)")
        parser.add_argument("--listeners", type=int, default=200, help="at the start (default: 200)")
        parser.add_argument(
            "--days", type=int, default=30, help="lived, the last one yesterday (default: 30)"
        )
        parser.add_argument("--day", type=int, default=0, help="days to live on from there (default: 0)")
        parser.add_argument(
            "--advance-every", type=float, metavar="SECONDS", help="let a day pass this often"
        )
        parser.add_argument(
            "--pages", type=Path, metavar="FOLDER", help="serve recorded pages instead of a world"
        )
        parser.add_argument("--faults", default="", help="what goes wrong, see above")
        parser.add_argument(
            "--latency-ms", type=float, default=0.0, help="added to every answer (default: 0)"
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
            raise CommandError(f"--port is from 0 to {MOST_PORTS}; 0 is a free one.")
        server = DemoServer(
            source, host=options["host"], port=options["port"], faults=faults,
            latency=options["latency_ms"] / 1000, token=options["token"],
        )  # fmt: skip
        with ExitStack() as running:
            try:
                running.enter_context(server)
            except OSError as error:
                raise CommandError(
                    f"Port {options['port']} can't be used ({error.strerror}). Choose another one with "
                    "--port; 0 is a free one."
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
            # Yesterday: no row lies in the future.
            timezone.now().date() - timedelta(days=1), seed=options["seed"], songs=options["songs"],
            listeners=options["listeners"], days=options["days"],
        )  # fmt: skip
        if options["day"]:
            world.advance(options["day"])
        return world

    def _advance_days(self, source: Source, every: float | None) -> None:
        forever = threading.Event()
        try:
            while not forever.wait(every):
                if isinstance(source, World):
                    source.advance()
                    self.stdout.write(f"Day {source.day_number}: {source.today}.")
                    self.stdout.flush()
        except KeyboardInterrupt:
            return

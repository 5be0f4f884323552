"""Serve the web pages and the API with granian."""

import os
import socket
import sys
from argparse import ArgumentParser
from contextlib import suppress
from typing import Any, Final

from django.core.management.base import CommandError

from ingestion.management.base import GuidedCommand
from moovitamix.management.processes import DEFAULT_THREADS, replace_process, web_server_command

MIN_THREADS: Final = 8
MAX_THREADS: Final = 16
MAX_WORKERS: Final = 64
# By default, the C library keeps up to eight heaps for each processor, so each thread has one of its own, and
# each keeps the memory of its largest request: docs/reliability.md has the measurement. Python's lock lets
# only one thread run anyway.
MEMORY_HEAPS: Final = ("MALLOC_ARENA_MAX", "2")

HELP = """Serve the web pages and the API until Ctrl-C or SIGTERM; requests in progress are finished first.

A worker process that dies is replaced. Each has 8 to 16 threads, and each thread keeps one connection to the
database: workers times threads must stay below the database's limit (PostgreSQL: 100).

examples:
  python manage.py serve
  python manage.py serve --workers 4 --port 8080
  python manage.py serve --host 0.0.0.0           other machines can connect: see docs/operating.md first

next:
  python manage.py work                           imports, trainings and alerts
"""


class Command(GuidedCommand):
    help = HELP
    requires_system_checks = ("settings",)

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1)")
        parser.add_argument("--port", type=int, default=8000, help="port to listen on (default: 8000)")
        parser.add_argument("--workers", type=int, default=1, help="number of processes (default: 1)")
        parser.add_argument(
            "--threads", type=int, default=DEFAULT_THREADS, help="threads per process, 8 to 16 (default: 8)"
        )

    def handle(self, *_: Any, **options: Any) -> None:
        host, port, workers, threads = (options[name] for name in ("host", "port", "workers", "threads"))
        for name, value, low, high in (
            ("port", port, 1, 65_535),
            ("workers", workers, 1, MAX_WORKERS),
            ("threads", threads, MIN_THREADS, MAX_THREADS),
        ):
            if not low <= value <= high:
                raise CommandError(f"--{name} is from {low} to {high}.")
        _reserve_port(host, port)
        command = web_server_command(port, host=host, workers=workers, threads=threads)
        os.environ.setdefault(*MEMORY_HEAPS)
        replace_process(command)


def _reserve_port(host: str, port: int) -> None:
    """Check that the port is free, because the server would share it and get only some of the requests.

    On Linux it stays reserved until the server ends: it listens only seconds later, when another `serve` may
    have found the port free, too.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise CommandError(f"--host {host} can't be resolved: {error}") from None
    with socket.socket(family, kind, protocol) as probe:
        # Closing connections of an earlier server do not block the port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            raise CommandError(
                f"Port {port} of {host} can't be used: {error.strerror}. Stop the other server, or choose "
                "another port: --port NUMBER"
            ) from None
    if sys.platform == "linux":
        # Without SO_REUSEADDR, which the check above has: that would find the port free. Closing connections
        # may then block it; the server starts without a reservation.
        with suppress(OSError), socket.socket(family, kind, protocol) as reserved:
            reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            reserved.bind(address)
            reserved.set_inheritable(True)
            reserved.detach()  # stays open in the command that replaces this process

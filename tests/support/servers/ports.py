"""Ports for servers that need a port number before they start."""

import os
import socket
from contextlib import suppress
from itertools import count
from typing import Final

# Linux assigns free ports from 32768 on, so it gives a lower one to no program between choice and start.
FIRST: Final = 20_000
PER_WORKER: Final = 500

_numbers = count(os.getpid())


def free_port() -> int:
    """A port of this test process alone, another one with each call."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 20
    for _ in range(PER_WORKER):
        port = FIRST + PER_WORKER * worker + next(_numbers) % PER_WORKER
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise OSError(f"No port from {FIRST} on is free.")

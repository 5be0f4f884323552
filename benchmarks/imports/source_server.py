"""Serve generated rows until standard input ends; the first line of output is the address.

Usage: python -m benchmarks.imports.source_server SONGS USERS HISTORIES LATENCY.
"""

import sys

from ingestion.demo.bulk import BulkSource
from ingestion.demo.server import DemoServer


def main(songs: int, users: int, histories: int, latency: float) -> None:
    with DemoServer(BulkSource(songs, users, histories), latency=latency) as server:
        print(server.url, flush=True)
        # The starting process holds the other end: this one ends with it, even after a crash.
        sys.stdin.read()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))

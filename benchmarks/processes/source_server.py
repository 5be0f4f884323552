"""A process that serves generated rows until its input ends.

Usage: python -m benchmarks.processes.source_server SONGS USERS HISTORIES LATENCY; its first line of output is
its address.
"""

import sys

from ingestion.demo.bulk import BulkSource
from ingestion.demo.server import DemoServer


def main(songs: int, users: int, histories: int, latency: float) -> None:
    with DemoServer(BulkSource(songs, users, histories), latency=latency) as server:
        print(server.url, flush=True)
        # Whoever started this holds the other end: it ends with them, however they end.
        sys.stdin.read()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))

"""Request pages over keep-alive connections and time every response.

Usage: python -m benchmarks.service.http_load PORT KEY SECONDS CONNECTIONS PATH...

Paths are requested in a seeded random order. The time begins when each connection has had its first response,
and its first tenth is a warm-up. Prints JSON.
"""

import random
import socket
import sys
import threading
import time
from dataclasses import dataclass, field

import orjson


@dataclass
class ConnectionTotals:
    """Seconds of each response of one connection, and number of failed ones."""

    seconds: list[float] = field(default_factory=list)
    failures: int = 0


def main(port: int, key: str, seconds: float, connections: int, paths: list[str]) -> None:
    totals = [ConnectionTotals() for _ in range(connections)]
    ready = threading.Barrier(connections)
    threads = [
        threading.Thread(target=_send_requests, args=(port, key, paths, seed, seconds, ready, total))
        for seed, total in enumerate(totals)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    times = sorted(time for total in totals for time in total.seconds)
    figures = {
        "answers": len(times), "a_second": len(times) / seconds,
        "failures": sum(total.failures for total in totals),
        "p50": times[len(times) // 2], "p99": times[int(len(times) * 0.99)],
    }  # fmt: skip
    sys.stdout.buffer.write(orjson.dumps(figures))


def _send_requests(
    port: int,
    key: str,
    paths: list[str],
    seed: int,
    seconds: float,
    ready: threading.Barrier,
    total: ConnectionTotals,
) -> None:
    draws = random.Random(seed)
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # A worker loads the model for its first request.
        _request(connection, key, draws.choice(paths))
        ready.wait(60)
        warm = time.perf_counter() + seconds / 10
        end = warm + seconds
        while (begun := time.perf_counter()) < end:
            status = _request(connection, key, draws.choice(paths))
            if begun >= warm:
                total.seconds.append(time.perf_counter() - begun)
                total.failures += status != 200


def _request(connection: socket.socket, key: str, path: str) -> int:
    """Get one page; returns its status."""
    connection.sendall(
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: application/json\r\n"
        f"Authorization: Bearer {key}\r\n\r\n".encode()
    )
    return _read_answer(connection)


def _read_answer(connection: socket.socket) -> int:
    """Read one response; returns its status."""
    received = b""
    while b"\r\n\r\n" not in received:
        received += _receive_more(connection)
    head, _, body = received.partition(b"\r\n\r\n")
    lines = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
    missing = int(lines[b"content-length"]) - len(body)
    while missing > 0:
        missing -= len(_receive_more(connection))
    return int(head.split(b" ", 2)[1])


def _receive_more(connection: socket.socket) -> bytes:
    received = connection.recv(65_536)
    if not received:
        raise ConnectionError("the server closed the connection")
    return received


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], float(sys.argv[3]), int(sys.argv[4]), sys.argv[5:])

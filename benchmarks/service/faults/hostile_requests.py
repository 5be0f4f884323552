"""Malformed bodies, and slow clients in front of the shipped proxy."""

import random
import socket
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any, Final

import orjson

from benchmarks.service.faults.installation import Installation
from tests.support.servers.proxy import run_nginx

VALID: Final[dict[str, Any]] = {
    "event_id": "a", "user_id": 1, "song_id": 1, "kind": "listen", "seconds": 30.5,
    "recommendation_id": "1a1b1c1d-0000-4000-8000-000000000000", "at": "2026-11-29T08:00:00Z",
}  # fmt: skip
SHORT_BODY: Final = 8_192
MAX_TEXT: Final = "x" * 70_000
ODD_VALUES: Final[tuple[Any, ...]] = (
    None, True, -1, 2**63, 2**64, 10**40, 1e308, "", "\0", "\ud7ff", MAX_TEXT, [], {}, [[[]]], {"a": {}},
    "NaN", "Infinity", "9999-12-31T23:59:59+14:00", "'; DROP TABLE songs; --", "../../etc/passwd",
)  # fmt: skip
NOT_JSON: Final = (
    b"", b"\xff\xfe", b"[" * 50_000, b'{"a":' * 20_000, b"null", b"[]", b"1" * 5_000, bytes(300),
)  # fmt: skip
CONTENT_TYPES: Final = (
    "application/json", "application/json; charset=latin-1", "text/plain", "multipart/form-data", "",
    "application/x-www-form-urlencoded", "application/json; charset=nothing",
)  # fmt: skip


@dataclass
class BodyTotals:
    statuses: Counter[int] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)


def send_malformed_bodies(installation: Installation, count: int, seed: int) -> BodyTotals:
    """Post bodies that differ from a valid event; `broken` lists those without an orderly answer."""
    draws, totals = random.Random(seed), BodyTotals()
    connection = HTTPConnection("127.0.0.1", installation.port, timeout=60)
    for number in range(count):
        body = malformed_body(draws)
        # A wrong type is answered before a long body is read, and the connection ends.
        kinds = CONTENT_TYPES[:1] * 12 + CONTENT_TYPES if len(body) < SHORT_BODY else CONTENT_TYPES[:1]
        kind = draws.choice(kinds)
        headers = {"Authorization": f"Bearer {installation.key}", "Content-Type": kind}
        try:
            status = _post(connection, body, headers)
        except (OSError, HTTPException) as error:
            totals.broken.append(f"body {number}: {error!r} for {body[:100]!r}")
            connection.close()
            continue
        totals.statuses[status] += 1
        if status >= 500:
            totals.broken.append(f"body {number}: {status} for {body[:100]!r}")
    connection.close()
    return totals


def _post(connection: HTTPConnection, body: bytes, headers: dict[str, str]) -> int:
    """The answer's status; repeated once, as clients do, if the server has closed an idle connection."""
    try:
        connection.request("POST", "/api/v1/feedback/", body, headers)
        answer = connection.getresponse()
    except (ConnectionError, HTTPException):
        connection.close()
        connection.request("POST", "/api/v1/feedback/", body, headers)
        answer = connection.getresponse()
    answer.read()
    return answer.status


def malformed_body(draws: random.Random) -> bytes:
    """A valid event or list of events, with a wrong value, type, field, or bytes that are no JSON."""
    event = _change_event(draws)
    shape = draws.random()
    wrapped: Any = event
    if shape >= 0.8:
        wrapped = {"a": event}
    elif shape >= 0.5:
        # A long list of long texts would be 70 MB.
        wrapped = [event] * draws.choice((1, 2) if MAX_TEXT in event.values() else (1, 2, 1_001))
    try:
        body = orjson.dumps(wrapped)
    except TypeError:  # an integer beyond 64 bits, which orjson does not write
        body = repr(wrapped).replace("'", '"').replace("None", "null").replace("True", "true").encode()
    return _damage_bytes(body, draws)


def _change_event(draws: random.Random) -> dict[str, Any]:
    event = dict(VALID)
    for name in draws.sample(list(event), draws.choice((1, 1, 2))):
        choice = draws.random()
        if choice < 0.6:
            event[name] = draws.choice(ODD_VALUES)
        elif choice < 0.8:
            del event[name]
        else:
            event[name + "x"] = event.pop(name)
    return event


def _damage_bytes(body: bytes, draws: random.Random) -> bytes:
    kind, place = draws.random(), draws.randrange(len(body))
    if kind < 0.5:
        return body
    if kind < 0.65:
        return body[:place]
    if kind < 0.85:
        return body[:place] + bytes([draws.randrange(256)]) + body[place + 1 :]
    return draws.choice(NOT_JSON)


@dataclass
class SlowTotals:
    answers: int = 0
    failures: int = 0
    slowest: float = 0.0


def ask_beside_slow_clients(
    installation: Installation, folder: Path, paths: list[str], *, clients: int, idle: int, seconds: float
) -> SlowTotals:
    """Requests through the proxy while clients send a byte of a body a second, and others nothing at all."""
    totals = SlowTotals()
    with run_nginx(installation.port, folder) as url, _slow_clients(url, clients, idle) as slow:
        host, port = url.removeprefix("http://").split(":")
        end, drip = time.monotonic() + seconds, time.monotonic()
        while time.monotonic() < end:
            for path in paths:
                took, status = _ask(host, int(port), path, installation.key)
                totals.answers += 1
                totals.failures += status != 200
                totals.slowest = max(totals.slowest, took)
            if time.monotonic() - drip >= 1:
                drip = time.monotonic()
                for client in slow:
                    _send_byte(client)
    return totals


def _ask(host: str, port: int, path: str, key: str) -> tuple[float, int]:
    begun = time.monotonic()
    # A connection each, as a new visitor has: the proxy must accept it beside the slow ones.
    connection = HTTPConnection(host, port, timeout=60)
    try:
        connection.request("GET", path, headers={"Host": "localhost", "Authorization": f"Bearer {key}"})
        answer = connection.getresponse()
        answer.read()
        return time.monotonic() - begun, answer.status
    except (OSError, HTTPException):
        return time.monotonic() - begun, 0
    finally:
        connection.close()


@contextmanager
def _slow_clients(url: str, clients: int, idle: int) -> Iterator[list[socket.socket]]:
    host, port = url.removeprefix("http://").split(":")
    head = (
        b"POST /api/v1/feedback/ HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Content-Length: 100000\r\n\r\n[{"
    )
    with ExitStack() as stack:
        sockets = [
            stack.enter_context(socket.create_connection((host, int(port)))) for _ in range(clients + idle)
        ]
        for client in sockets[:clients]:
            client.sendall(head)
        yield sockets[:clients]


def _send_byte(client: socket.socket) -> None:
    try:
        client.send(b" ")
    except OSError:
        return  # the proxy has closed it

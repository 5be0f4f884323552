"""Clients that request lists, their next pages and status, and send feedback, each without a pause.

Usage: python -m benchmarks.service.client_load PORT KEY SECONDS CLIENTS LISTENER...

Prints JSON: the number of answers, of answers by status, and of errors with examples; for each minute (each
fifth of a load below five minutes) the number of answers and the 99th percentile of the response time in
seconds.
"""

import random
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import uuid4

import orjson

# Of ten requests of a client.
FEEDBACK_SHARE: Final = 0.2
NEXT_PAGE_SHARE: Final = 0.1
STATUS_SHARE: Final = 0.05
EXPECTED: Final = frozenset({200, 201})
MAX_ERRORS: Final = 20


@dataclass
class ClientTotals:
    times: list[tuple[float, float]] = field(default_factory=list)  # seconds since the start, duration
    statuses: Counter[int] = field(default_factory=Counter)
    errors: list[str] = field(default_factory=list)


class Client(threading.Thread):
    def __init__(
        self, port: int, key: str, number: int, listeners: list[str], start: float, end: float
    ) -> None:
        super().__init__()
        self._connection = HTTPConnection("127.0.0.1", port, timeout=60)
        self._headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        # Ids of events are unique for a key, also among several runs.
        self._draws, self._prefix, self._sent = random.Random(number), uuid4().hex[:12], 0
        self._listeners, self._start_at, self._end = listeners, start, end
        self._last: dict[str, Any] = {}
        self.totals = ClientTotals()

    def run(self) -> None:
        while (begun := time.monotonic()) < self._end:
            method, path, body = self._next_request()
            try:
                self._connection.request(method, path, body, self._headers)
                answer = self._connection.getresponse()
                content = answer.read()
            except (OSError, HTTPException) as error:
                self._note(0, f"{method} {path}: {error!r}")
                self._connection.close()
                continue
            self.totals.times.append((begun - self._start_at, time.monotonic() - begun))
            self._note(answer.status, f"{method} {path}: {answer.status} {content[:200]!r}")
            if answer.status == 200 and "/recommendations/" in path:
                self._last = orjson.loads(content)

    def _note(self, status: int, text: str) -> None:
        self.totals.statuses[status] += 1
        if status not in EXPECTED:
            self.totals.errors.append(text)

    def _next_request(self) -> tuple[str, str, bytes | None]:
        draw = self._draws.random()
        if self._last and draw < FEEDBACK_SHARE:
            return "POST", "/api/v1/feedback/", self._event()
        if self._last.get("next") and draw < FEEDBACK_SHARE + NEXT_PAGE_SHARE:
            parts = urlsplit(self._last["next"])
            return "GET", f"{parts.path}?{parts.query}", None
        if draw > 1 - STATUS_SHARE:
            return "GET", "/api/v1/status/", None
        listener = self._draws.choice(self._listeners)
        return "GET", f"/api/v1/users/{listener}/recommendations/?n=20", None

    def _event(self) -> bytes:
        self._sent += 1
        event = {
            "event_id": f"{self._prefix}-{self._sent}", "user_id": self._last["user_id"],
            "recommendation_id": self._last["recommendation_id"],
        }  # fmt: skip
        song = self._draws.choice(self._last["items"])["song"]["id"] if self._last["items"] else 1
        kind = self._draws.choice(("like", "skip", "listen"))
        seconds = {"seconds": self._draws.uniform(5, 200)} if kind == "listen" else {}
        return orjson.dumps({**event, "song_id": song, "kind": kind, **seconds})


def main(port: int, key: str, seconds: float, clients: int, listeners: list[str]) -> None:
    start = time.monotonic()
    threads = [Client(port, key, number, listeners, start, start + seconds) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    statuses: Counter[int] = sum((thread.totals.statuses for thread in threads), Counter())
    errors = [error for thread in threads for error in thread.totals.errors]
    minutes = _by_part([one for thread in threads for one in thread.totals.times], seconds)
    figures = {
        "answers": sum(minute["answers"] for minute in minutes), "errors": len(errors),
        "statuses": {str(status): count for status, count in statuses.items()},
        "examples": errors[:MAX_ERRORS], "minutes": minutes,
    }  # fmt: skip
    sys.stdout.buffer.write(orjson.dumps(figures))


def _by_part(times: list[tuple[float, float]], seconds: float) -> list[dict[str, float]]:
    """Figures of each minute, or of each fifth of a load that is shorter than five minutes."""
    length = min(60.0, seconds / 5)
    parts: dict[int, list[float]] = {}
    for at, took in times:
        parts.setdefault(int(at / length), []).append(took)
    return [
        {"answers": len(parts[number]), "p99": sorted(parts[number])[int(0.99 * len(parts[number]))]}
        for number in sorted(parts)
        if (number + 1) * length <= seconds + 0.01
    ]


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], float(sys.argv[3]), int(sys.argv[4]), sys.argv[5:])

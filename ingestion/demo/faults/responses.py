"""Answers that go wrong on the wire; each returns whether the connection stays usable."""

import math
import socket
import time
from collections.abc import Callable
from threading import Event
from typing import Final, NamedTuple

from ingestion.demo.faults.spec import Faults
from ingestion.demo.http import Answer, answer_json, http_date

HTML: Final = b"<!doctype html><html><head><title>Maintenance</title></head><body>Back soon.</body></html>"
ENDLESS: Final = b'{"id":1,"name":"for ever"},' * 2400


class Stage(NamedTuple):
    """What a fault needs to be played.

    Attributes:
        connection: the client's.
        answer: what would have been answered.
        target: the address that was asked for.
        luck: a number from 0 to below 1, for faults with variants.
        closing: set when the server closes; nothing may wait longer.
    """

    connection: socket.socket
    answer: Answer
    target: str
    luck: float
    faults: Faults
    closing: Event


def _send(stage: Stage, answer: Answer) -> bool:
    stage.connection.sendall(answer.head() + answer.body)
    return True


def too_many_requests(stage: Stage) -> bool:
    faults = stage.faults
    as_date = faults.retry_as == "date" or (faults.retry_as == "either" and stage.luck < 0.5)
    # A date has whole seconds: rounded up, or it would ask for less than it should.
    wait = http_date(math.ceil(time.time() + faults.retry_after)) if as_date else str(faults.retry_after)
    return _send(stage, answer_json(429, {"detail": "Too Many Requests"}, ("retry-after", wait)))


def server_error(stage: Stage) -> bool:
    return _send(stage, Answer(500, b"Internal Server Error", "text/plain; charset=utf-8"))


def slow(stage: Stage) -> bool:
    stage.closing.wait(stage.faults.slow_seconds)
    return _send(stage, stage.answer)


def hang(stage: Stage) -> bool:
    # Ends when the client gives up or the server closes: both end the connection's reading side.
    while stage.connection.recv(4096):
        pass
    return False


def drop(stage: Stage) -> bool:
    body = stage.answer.body
    stage.connection.sendall(stage.answer.head() + body[: len(body) // 2])
    return False


def truncated(stage: Stage) -> bool:
    body = stage.answer.body
    return _send(stage, Answer(200, body[: len(body) // 2]))


def html(stage: Stage) -> bool:
    return _send(stage, Answer(200, HTML, "text/html; charset=utf-8"))


def redirect(stage: Stage) -> bool:
    location = stage.faults.redirect_to.rstrip("/") + stage.target
    return _send(stage, Answer(302, b"", "text/plain", (("location", location),)))


def huge(stage: Stage) -> bool:
    stage.connection.sendall(stage.answer.head(keep_alive=False, length=-1) + b'{"items":[')
    while not stage.closing.is_set():
        stage.connection.sendall(ENDLESS)
    return False


PLAYS: Final[dict[str, Callable[[Stage], bool]]] = {
    "429": too_many_requests,
    "500": server_error,
    "slow": slow,
    "hang": hang,
    "drop": drop,
    "truncated": truncated,
    "html": html,
    "redirect": redirect,
    "huge": huge,
}

"""Faulty HTTP responses; each function returns whether the connection can still be used."""

import math
import socket
import time
from collections.abc import Callable
from threading import Event
from typing import Final, NamedTuple

from ingestion.demo.faults.spec import FaultSpec
from ingestion.demo.http import Response, http_date, json_response

MAINTENANCE_PAGE: Final = (
    b"<!doctype html><html><head><title>Maintenance</title></head><body>Back soon.</body></html>"
)
ENDLESS_CHUNK: Final = b'{"id":1,"name":"for ever"},' * 2400


class FaultContext(NamedTuple):
    connection: socket.socket
    answer: Response  # the correct response
    target: str
    fraction: float  # a number in [0, 1) that selects a variant
    faults: FaultSpec
    closing: Event  # set when the server closes; a waiting fault must end at once


def _send_answer(stage: FaultContext, answer: Response) -> bool:
    stage.connection.sendall(answer.render_head() + answer.body)
    return True


def send_too_many_requests(stage: FaultContext) -> bool:
    faults = stage.faults
    as_date = faults.retry_as == "date" or (faults.retry_as == "either" and stage.fraction < 0.5)
    # A date has whole seconds; rounding down would request a shorter wait than `retry_after`.
    wait = http_date(math.ceil(time.time() + faults.retry_after)) if as_date else str(faults.retry_after)
    return _send_answer(stage, json_response(429, {"detail": "Too Many Requests"}, ("retry-after", wait)))


def send_server_error(stage: FaultContext) -> bool:
    return _send_answer(stage, Response(500, b"Internal Server Error", "text/plain; charset=utf-8"))


def send_late(stage: FaultContext) -> bool:
    stage.closing.wait(stage.faults.slow_seconds)
    return _send_answer(stage, stage.answer)


def never_answer(stage: FaultContext) -> bool:
    # recv() returns nothing when the client gives up or the server closes the connection.
    while stage.connection.recv(4096):
        pass
    return False


def drop_connection(stage: FaultContext) -> bool:
    body = stage.answer.body
    stage.connection.sendall(stage.answer.render_head() + body[: len(body) // 2])
    return False


def send_truncated(stage: FaultContext) -> bool:
    body = stage.answer.body
    return _send_answer(stage, Response(200, body[: len(body) // 2]))


def send_html(stage: FaultContext) -> bool:
    return _send_answer(stage, Response(200, MAINTENANCE_PAGE, "text/html; charset=utf-8"))


def send_redirect(stage: FaultContext) -> bool:
    location = stage.faults.redirect_to.rstrip("/") + stage.target
    return _send_answer(stage, Response(302, b"", "text/plain", (("location", location),)))


def send_endless_body(stage: FaultContext) -> bool:
    stage.connection.sendall(stage.answer.render_head(keep_alive=False, length=-1) + b'{"items":[')
    while not stage.closing.is_set():
        stage.connection.sendall(ENDLESS_CHUNK)
    return False


RESPONSE_FAULTS: Final[dict[str, Callable[[FaultContext], bool]]] = {
    "429": send_too_many_requests,
    "500": send_server_error,
    "slow": send_late,
    "hang": never_answer,
    "drop": drop_connection,
    "truncated": send_truncated,
    "html": send_html,
    "redirect": send_redirect,
    "huge": send_endless_body,
}

"""The part of HTTP/1.1 that the demo server needs.

`http.server` parses headers with the e-mail package, which costs more than the rest of a request, and
server and client share cores when an ingestion is measured.
"""

import re
import time
from collections.abc import Mapping
from email.utils import formatdate
from http import HTTPStatus
from io import BufferedReader
from typing import Final, NamedTuple

import orjson

JSON_CONTENT_TYPE: Final = "application/json"
MAX_LINE_BYTES: Final = 65_536
MAX_HEADERS: Final = 100
REASON_PHRASES: Final = {status.value: status.phrase for status in HTTPStatus}


class BadRequest(Exception):
    """The data is not an HTTP request that this server supports."""


class Request(NamedTuple):
    method: str
    target: str
    headers: Mapping[str, str]
    keep_alive: bool


class Response(NamedTuple):
    status: int
    body: bytes
    content_type: str = JSON_CONTENT_TYPE
    headers: tuple[tuple[str, str], ...] = ()

    def render_head(self, *, keep_alive: bool = True, length: int | None = None) -> bytes:
        """The status line and headers as bytes; a negative `length` omits Content-Length."""
        length = len(self.body) if length is None else length
        lines = [
            f"HTTP/1.1 {self.status} {REASON_PHRASES.get(self.status, '')}",
            f"date: {http_date()}",
            "server: moovitamix-demo",
            *(f"{name}: {value}" for name, value in self.headers),
            f"content-type: {self.content_type}",
        ]
        if length >= 0:
            lines.append(f"content-length: {length}")
        if not keep_alive:
            lines.append("connection: close")
        return "\r\n".join([*lines, "\r\n"]).encode("latin-1")


def json_response(status: int, value: object, *headers: tuple[str, str]) -> Response:
    return Response(status, orjson.dumps(value), JSON_CONTENT_TYPE, headers)


def read_request(stream: BufferedReader) -> Request | None:
    """Read a request without its body; None if the client has closed the connection.

    Raises:
        BadRequest: the request line, a header or the body's length is invalid or too long.
    """
    line = _line(stream)
    if not line:
        return None
    try:
        method, target, protocol = line.decode("latin-1").split()
    except ValueError:
        raise BadRequest("the request line is broken") from None
    headers = _headers(stream)
    length = headers.get("content-length", "0")
    if not re.fullmatch(r"\d{1,6}", length, re.ASCII) or "transfer-encoding" in headers:
        raise BadRequest("only short bodies with a length are read")
    if length != "0":
        stream.read(int(length))
    wish = headers.get("connection", "").lower()
    keep_alive = wish != "close" if protocol == "HTTP/1.1" else wish == "keep-alive"
    return Request(method, target, headers, keep_alive)


def http_date(moment: float | None = None) -> str:
    """Format seconds since 1970, by default now, as a date for HTTP headers."""
    return formatdate(time.time() if moment is None else moment, usegmt=True)


def _headers(stream: BufferedReader) -> dict[str, str]:
    headers: dict[str, str] = {}
    for _ in range(MAX_HEADERS):
        line = _line(stream)
        if line in {b"\r\n", b"\n", b""}:
            return headers
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.lower()] = value.strip()
    raise BadRequest("too many headers")


def _line(stream: BufferedReader) -> bytes:
    line = stream.readline(MAX_LINE_BYTES)
    if len(line) >= MAX_LINE_BYTES:
        raise BadRequest("a line is too long")
    return line

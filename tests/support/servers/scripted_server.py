"""A source on a real socket that sends the responses of a test, well-formed or not."""

import contextlib
import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

# Made for 127.0.0.1, by itself, with its key: it proves nothing to anybody.
CERTIFICATE = Path(__file__).with_name("127.0.0.1.pem")


@dataclass(frozen=True)
class Request:
    """A received request; header names are in lower case."""

    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]

    @property
    def page(self) -> int:
        return int(self.query["page"])


@dataclass(frozen=True)
class Reply:
    """A response: a valid one, unless `raw` holds the exact bytes to send.

    `hang` keeps the connection open without sending anything until the server closes; `close` ends it.
    """

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    raw: Iterable[bytes] | None = None
    hang: bool = False
    close: bool = False

    def pieces(self) -> Iterable[bytes]:
        if self.raw is not None:
            return self.raw
        lines = {"Content-Type": "application/json", "Content-Length": str(len(self.body)), **self.headers}
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        return [f"HTTP/1.1 {self.status} Scripted\r\n{head}\r\n".encode("latin-1") + self.body]


def page_reply(rows: list[Any], number: int = 1, *, size: int = 100, **fields: Any) -> Reply:
    """The page of `rows` with this number, in the promised envelope; `fields` overwrite parts of it."""
    items = rows[(number - 1) * size : number * size]
    envelope = {
        "items": items,
        "total": len(rows),
        "page": number,
        "size": size,
        "pages": -(-len(rows) // size),
    }
    return Reply(body=json.dumps({**envelope, **fields}).encode())


class ScriptedServer:
    """A server with a thread for each connection, which stores all requests; use it as a context manager."""

    def __init__(self, script: list[Reply] | Callable[[Request], Reply], *, tls: bool = False) -> None:
        """Listen on a free port.

        Args:
            script: replies in turn, of which the last one is repeated; or a function, called by one thread
                at a time.
            tls: use `CERTIFICATE`, which clients trust only if they are configured to.
        """
        self._answer = script if callable(script) else _reply_in_turn(script)
        self.requests: list[Request] = []
        self.closing = threading.Event()
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self._tls = _tls_context() if tls else None
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self._listener.getsockname()[1]}"
        self._open: set[socket.socket] = set()
        self._threads = [threading.Thread(target=self._accept)]

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.closing.set()
        _hang_up(self._listener)
        self._threads[0].join()
        self._listener.close()
        with self._lock:
            for connection in self._open:
                _hang_up(connection)
        for thread in self._threads[1:]:
            thread.join()

    def _accept(self) -> None:
        while not self.closing.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls is not None:
                # The handshake is made by the thread that reads first.
                connection = self._tls.wrap_socket(connection, True, do_handshake_on_connect=False)
            with self._lock:
                self._open.add(connection)
            thread = threading.Thread(target=self._serve, args=(connection,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            while (request := _receive(connection)) is not None:
                with self._lock:
                    self.requests.append(request)
                    reply = self._answer(request)
                for piece in reply.pieces():
                    connection.sendall(piece)
                if reply.hang:
                    self.closing.wait()
                if reply.close or reply.hang or self.closing.is_set():
                    break
        with self._lock:
            self._open.discard(connection)


def _tls_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    return context


def _reply_in_turn(replies: list[Reply]) -> Callable[[Request], Reply]:
    rest = list(replies)
    return lambda _: rest.pop(0) if len(rest) > 1 else rest[0]


def _hang_up(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


def _receive(connection: socket.socket) -> Request | None:
    head = b""
    while b"\r\n\r\n" not in head:
        piece = connection.recv(65536)
        if not piece:
            return None
        head += piece
    first, *lines = head.decode("latin-1").split("\r\n\r\n")[0].split("\r\n")
    target = urlsplit(first.split(" ")[1])
    pairs = (line.partition(":") for line in lines)
    headers = {name.lower(): value.strip() for name, _, value in pairs}
    return Request(target.path, dict(parse_qsl(target.query)), headers)

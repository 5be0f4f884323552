"""HTTP server of the demo source; it needs little CPU, because it runs beside the client under test."""

import contextlib
import hmac
import socket
from collections import Counter, deque
from io import BufferedReader
from threading import Event, Lock, Thread
from types import TracebackType
from typing import Final, Self

from ingestion.demo.faults.responses import RESPONSE_FAULTS, FaultContext
from ingestion.demo.faults.rows import FaultySource
from ingestion.demo.faults.spec import FaultRule, FaultSpec, ResponseFaultSampler, hash_fraction
from ingestion.demo.http import BadRequest, Request, Response, json_response, read_request
from ingestion.demo.pagination import PageCache, PageQuery, parse_target, render_page
from ingestion.demo.source import RESOURCES, Source

BACKLOG: Final = 512
# Requests are recorded for tests of clients; a server that runs for weeks drops the oldest.
MAX_RECORDED_REQUESTS: Final = 100_000
MAX_CACHED_TARGETS: Final = 4096


class DemoServer:
    """An HTTP server that serves a source with the real API; use it as a context manager.

    Args:
        source: may change while it is served.
        port: 0 selects a free port.
        latency: delay of each response in seconds.
        token: if given, requests must carry it as `Authorization: Bearer TOKEN`.

    Attributes:
        requests: the latest requested pages, oldest first.
        answer_counts: responses by status code or fault name.
    """

    def __init__(
        self,
        source: Source,
        host: str = "127.0.0.1",
        port: int = 0,
        faults: FaultSpec | None = None,
        latency: float = 0.0,
        token: str | None = None,
    ) -> None:
        self.requests: deque[PageQuery] = deque(maxlen=MAX_RECORDED_REQUESTS)
        self.answer_counts: Counter[str] = Counter()
        self._faults = faults or FaultSpec()
        self._source = FaultySource(source, self._faults)
        self._draws = ResponseFaultSampler(self._faults)
        self._address = (host, port)
        self._latency = latency
        self._authorization = None if token is None else f"Bearer {token}"
        self._cache = PageCache()
        self._read: dict[str, PageQuery] = {}
        self._closing = Event()
        self._connections: dict[socket.socket, Thread] = {}
        self._lock = Lock()

    @property
    def url(self) -> str:
        host, port = self._listener.getsockname()[:2]
        return f"http://{host}:{port}"

    def start(self) -> None:
        self._listener = socket.create_server(self._address, backlog=BACKLOG)
        self._acceptor = Thread(target=self._accept, name="demo-source", daemon=True)
        self._acceptor.start()

    def close(self) -> None:
        """Stop the server and wait for every thread; may be called twice."""
        if self._closing.is_set():
            return
        self._closing.set()
        with contextlib.suppress(OSError), socket.create_connection(self._listener.getsockname()[:2], 1):
            pass  # wakes the acceptor thread: closing a socket does not interrupt accept()
        self._acceptor.join()
        self._listener.close()
        with self._lock:
            open_now = dict(self._connections)
        for connection, thread in open_now.items():
            with contextlib.suppress(OSError):  # the connection has just ended
                connection.shutdown(socket.SHUT_RDWR)
            thread.join()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:  # the client closed the connection at once, or too many are open
                continue
            if self._closing.is_set():
                connection.close()
                return
            thread = Thread(target=self._serve, args=(connection,), name="demo-connection", daemon=True)
            with self._lock:
                self._connections[connection] = thread
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        # Clients may close the connection at any time.
        with contextlib.suppress(OSError), connection, connection.makefile("rb") as stream:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            try:
                while self._handle_request(connection, stream):
                    pass
            except BadRequest as error:
                answer = json_response(400, {"detail": str(error)})
                connection.sendall(answer.render_head(keep_alive=False) + answer.body)
        with self._lock:
            del self._connections[connection]

    def _handle_request(self, connection: socket.socket, stream: BufferedReader) -> bool:
        request = read_request(stream)
        if request is None or self._closing.is_set():
            return False
        if self._latency:
            self._closing.wait(self._latency)
        refusal = self._refusal(request)
        query = refusal or self._query(request)
        if isinstance(query, Response):
            self.answer_counts[str(query.status)] += 1
            body = b"" if request.method == "HEAD" else query.body
            connection.sendall(query.render_head(keep_alive=request.keep_alive) + body)
            return request.keep_alive
        return self._answer(connection, request, query) and request.keep_alive

    def _answer(self, connection: socket.socket, request: Request, query: PageQuery) -> bool:
        self.requests.append(query)
        answer = Response(200, self._page(query))
        fault = self._draws.draw_fault(*query) if self._draws else None
        if fault is not None:
            return self._answer_with_fault(connection, request, query, answer, fault)
        self.answer_counts["200"] += 1
        # Before the response is sent, so that the client's next request sees the event.
        self._source.after_page(query.resource, query.page)
        connection.sendall(answer.render_head(keep_alive=request.keep_alive) + answer.body)
        return True

    def _answer_with_fault(
        self,
        connection: socket.socket,
        request: Request,
        query: PageQuery,
        answer: Response,
        fault: FaultRule,
    ) -> bool:
        self.answer_counts[fault.name] += 1
        if fault.name == "slow":  # late, but the page is served, so its events happen
            self._source.after_page(query.resource, query.page)
        luck = hash_fraction(self._faults.seed, query, self.answer_counts[fault.name])
        return RESPONSE_FAULTS[fault.name](
            FaultContext(connection, answer, request.target, luck, self._faults, self._closing)
        )

    def _refusal(self, request: Request) -> Response | None:
        if self._authorization is not None:
            given = request.headers.get("authorization", "")
            if not hmac.compare_digest(given.encode(), self._authorization.encode()):
                return json_response(401, {"detail": "Not authenticated"}, ("www-authenticate", "Bearer"))
        if request.target == "/" and request.method == "GET":
            return json_response(
                200, {"name": "MoovitaMix demo source", "resources": [f"/{r}" for r in RESOURCES]}
            )
        return None

    def _query(self, request: Request) -> PageQuery | Response:
        query = self._read.get(request.target) if request.method == "GET" else None
        if query is not None:
            return query
        read = parse_target(request.target, request.headers.get("host", ""))
        if request.method != "GET" and (isinstance(read, PageQuery) or read.status == 422):
            return json_response(405, {"detail": "Method Not Allowed"}, ("allow", "GET"))
        if isinstance(read, PageQuery) and len(self._read) < MAX_CACHED_TARGETS:
            self._read[request.target] = read
        return read

    def _page(self, query: PageQuery) -> bytes:
        snapshot = self._source.snapshot()
        key = (query, snapshot.version)
        body = self._cache.get(key)
        if body is None:
            rows = snapshot.tables[query.resource]
            body = render_page(rows, query, self._source.reported_total(query.page, len(rows)))
            self._cache.put(key, body)
        return body

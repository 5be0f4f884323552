"""The twin over HTTP: threaded, and cheap enough to share a machine with the client it measures."""

import contextlib
import hmac
import socket
from collections import Counter, deque
from io import BufferedReader
from threading import Event, Lock, Thread
from types import TracebackType
from typing import Final, Self

from ingestion.demo.faults.responses import PLAYS, Stage
from ingestion.demo.faults.rows import FaultySource
from ingestion.demo.faults.spec import AnswerDraws, Faults, Rule, share_of
from ingestion.demo.http import Answer, BadRequest, Request, answer_json, read_request
from ingestion.demo.pagination import PageCache, Query, page_body, read_target
from ingestion.demo.source import RESOURCES, Source

BACKLOG: Final = 512
# Requests are noted for whoever tests a client; a server that runs for weeks forgets the oldest.
NOTED_REQUESTS: Final = 100_000
ADDRESSES: Final = 4096


class DemoServer:
    """Serves a source as the real API does; a context manager, ready when entered and gone when left.

    Args:
        source: what is served; it may move on while it is.
        host: address to listen at.
        port: 0 takes any free one.
        faults: what goes wrong.
        latency: seconds that each answer is held back, as a distant source would.
        token: when given, requests must carry it as `Authorization: Bearer TOKEN`.

    Attributes:
        requests: the pages asked for, as (resource, page, size), oldest first.
        answered: how many answers of each kind were given: a status, or a fault's name.
    """

    def __init__(
        self,
        source: Source,
        host: str = "127.0.0.1",
        port: int = 0,
        faults: Faults | None = None,
        latency: float = 0.0,
        token: str | None = None,
    ) -> None:
        self.requests: deque[Query] = deque(maxlen=NOTED_REQUESTS)
        self.answered: Counter[str] = Counter()
        self._faults = faults or Faults()
        self._source = FaultySource(source, self._faults)
        self._draws = AnswerDraws(self._faults)
        self._address = (host, port)
        self._latency = latency
        self._authorization = None if token is None else f"Bearer {token}"
        self._cache = PageCache()
        self._read: dict[str, Query] = {}
        self._closing = Event()
        self._connections: dict[socket.socket, Thread] = {}
        self._lock = Lock()

    @property
    def url(self) -> str:
        """The address to give to a client; known once the server has started."""
        host, port = self._listener.getsockname()[:2]
        return f"http://{host}:{port}"

    def start(self) -> None:
        """Listen.

        Raises:
            OSError: the port is taken.
        """
        self._listener = socket.create_server(self._address, backlog=BACKLOG)
        self._acceptor = Thread(target=self._accept, name="demo-source", daemon=True)
        self._acceptor.start()

    def close(self) -> None:
        """Hang up on everybody and wait until every thread has ended; may be called twice."""
        if self._closing.is_set():
            return
        self._closing.set()
        with contextlib.suppress(OSError), socket.create_connection(self._listener.getsockname()[:2], 1):
            pass  # wakes the acceptor: closing a socket does not wake who waits at it
        self._acceptor.join()
        self._listener.close()
        with self._lock:
            open_now = dict(self._connections)
        for connection, thread in open_now.items():
            with contextlib.suppress(OSError):  # it has just ended by itself
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
            except OSError:  # the client left before it was let in, or there are too many of them
                continue
            if self._closing.is_set():
                connection.close()
                return
            thread = Thread(target=self._serve, args=(connection,), name="demo-connection", daemon=True)
            with self._lock:
                self._connections[connection] = thread
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        # A client that hangs up in the middle is no news.
        with contextlib.suppress(OSError), connection, connection.makefile("rb") as stream:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            try:
                while self._exchange(connection, stream):
                    pass
            except BadRequest as error:
                answer = answer_json(400, {"detail": str(error)})
                connection.sendall(answer.head(keep_alive=False) + answer.body)
        with self._lock:
            del self._connections[connection]

    def _exchange(self, connection: socket.socket, stream: BufferedReader) -> bool:
        """One request and its answer; whether the connection stays open."""
        request = read_request(stream)
        if request is None or self._closing.is_set():
            return False
        if self._latency:
            self._closing.wait(self._latency)
        refusal = self._refusal(request)
        query = refusal or self._query(request)
        if isinstance(query, Answer):
            self.answered[str(query.status)] += 1
            body = b"" if request.method == "HEAD" else query.body
            connection.sendall(query.head(keep_alive=request.keep_alive) + body)
            return request.keep_alive
        return self._answer(connection, request, query) and request.keep_alive

    def _answer(self, connection: socket.socket, request: Request, query: Query) -> bool:
        self.requests.append(query)
        answer = Answer(200, self._page(query))
        fault = self._draws.next(*query) if self._draws else None
        if fault is not None:
            return self._misbehave(connection, request, query, answer, fault)
        self.answered["200"] += 1
        # Before the answer is sent: the client's next request must already see what happened.
        self._source.served(query.resource, query.page)
        connection.sendall(answer.head(keep_alive=request.keep_alive) + answer.body)
        return True

    def _misbehave(
        self, connection: socket.socket, request: Request, query: Query, answer: Answer, fault: Rule
    ) -> bool:
        self.answered[fault.name] += 1
        if fault.name == "slow":  # late, but served
            self._source.served(query.resource, query.page)
        luck = share_of(self._faults.seed, query, self.answered[fault.name])
        return PLAYS[fault.name](Stage(connection, answer, request.target, luck, self._faults, self._closing))

    def _refusal(self, request: Request) -> Answer | None:
        if self._authorization is not None:
            given = request.headers.get("authorization", "")
            if not hmac.compare_digest(given.encode(), self._authorization.encode()):
                return answer_json(401, {"detail": "Not authenticated"}, ("www-authenticate", "Bearer"))
        if request.target == "/" and request.method == "GET":
            return answer_json(
                200, {"name": "MoovitaMix demo source", "resources": [f"/{r}" for r in RESOURCES]}
            )
        return None

    def _query(self, request: Request) -> Query | Answer:
        query = self._read.get(request.target) if request.method == "GET" else None
        if query is not None:
            return query
        read = read_target(request.target, request.headers.get("host", ""))
        if request.method != "GET" and (isinstance(read, Query) or read.status == 422):
            return answer_json(405, {"detail": "Method Not Allowed"}, ("allow", "GET"))
        if isinstance(read, Query) and len(self._read) < ADDRESSES:
            self._read[request.target] = read
        return read

    def _page(self, query: Query) -> bytes:
        snapshot = self._source.snapshot()
        key = (query, snapshot.version)
        body = self._cache.get(key)
        if body is None:
            rows = snapshot.tables[query.resource]
            body = page_body(rows, query, self._source.total(query.page, len(rows)))
            self._cache.put(key, body)
        return body

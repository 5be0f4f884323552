"""The source client over real HTTP: retries, limits, redirects, and no secret in any message."""

import gzip
import json
import logging
import random
import socket
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import pytest

from ingestion.source.client import SourceClient
from ingestion.source.errors import SourceContractBroken, SourceUnavailable
from ingestion.source.paginator import Paginator
from tests.support.servers.scripted_server import CERTIFICATE, Reply, Request, ScriptedServer, page_reply

ROWS = [{"id": 1}, {"id": 2}]
GOOD = page_reply(ROWS)
TOKEN = "s3cret-token"


class Highest(random.Random):
    def uniform(self, a: float, b: float) -> float:
        return b


def make_client(url: str, **options: Any) -> SourceClient:
    return SourceClient(url, **{"sleep": lambda _: None, "rng": Highest(), "connections": 2, **options})


def read(client: SourceClient, path: str = "/tracks") -> tuple[list[Any], Paginator]:
    with client.read_pages(path, key=lambda row: row["id"]) as reading:
        rows = {page.number: page.rows for page in reading}
    return [row for number in sorted(rows) for row in rows[number]], reading


def truncated() -> Reply:
    return Reply(raw=[b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n{"], close=True)


def broken_envelope(fields: dict[str, Any]) -> Reply:
    return Reply(body=json.dumps({**json.loads(GOOD.body), **fields}).encode())


BROKEN = {
    "http_429": Reply(429),
    "http_408": Reply(408),
    "http_500": Reply(500),
    "http_503": Reply(503),
    "http_599": Reply(599),
    "bad_json": Reply(body=b'{"items": ['),
    "not_json": Reply(body=b"<!doctype html><h1>Sign in</h1>", headers={"Content-Type": "text/html"}),
    "connection": Reply(raw=[], close=True),
    "truncated": truncated(),
    "envelope": Reply(body=b'{"items": []}'),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_answer_is_retried(kind: str) -> None:
    with ScriptedServer([BROKEN[kind], GOOD]) as server:
        rows, reading = read(make_client(server.url))

    assert rows == ROWS
    assert dict(reading.errors) == {kind: 1}
    assert (reading.requests, reading.retries) == (2, 1)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("http_500", "answered 500 Internal Server Error"),
        ("http_599", "answered 599"),
        ("bad_json", "answered 11 bytes that are not JSON"),
        ("not_json", "answered a web page instead of JSON"),
        ("connection", "no connection, or it was lost (RemoteDisconnected)"),
        ("truncated", "the connection ended in the middle of the body (IncompleteRead)"),
    ],
)
def test_after_the_last_attempt_the_source_is_unavailable_and_the_error_says_why(
    kind: str, reason: str
) -> None:
    with ScriptedServer([BROKEN[kind]]) as server, pytest.raises(SourceUnavailable) as caught:
        read(make_client(server.url, attempts=3))

    url = f"{server.url}/tracks?page=1&size=100"
    assert str(caught.value) == f"{url} failed 3 times; last reason: {reason}"
    assert caught.value.kind == kind
    assert len(server.requests) == 3


def test_a_source_that_refuses_connections_is_unavailable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

    with pytest.raises(SourceUnavailable, match=r"failed 2 times; .*\(Connection refused\)") as caught:
        read(make_client(f"http://127.0.0.1:{port}", attempts=2))

    assert caught.value.kind == "connection"


def test_a_source_without_tls_behind_https_is_unavailable() -> None:
    with ScriptedServer([GOOD]) as server, pytest.raises(SourceUnavailable) as caught:
        # The scripted server takes the handshake for an incomplete request and waits for the rest.
        read(make_client(server.url.replace("http:", "https:"), attempts=1, connect_timeout=0.2))

    assert caught.value.kind in {"tls", "timeout"}


def test_a_source_with_an_untrusted_certificate_is_unavailable() -> None:
    with ScriptedServer([GOOD], tls=True) as server, pytest.raises(SourceUnavailable) as caught:
        read(make_client(server.url, attempts=1))

    assert caught.value.kind == "tls"
    assert server.requests == []


def test_a_source_is_trusted_by_the_configured_certificates() -> None:
    with ScriptedServer([GOOD], tls=True) as server:
        rows, _ = read(make_client(server.url, ca_file=str(CERTIFICATE)))

    assert rows == ROWS


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"items": None}, "items is missing or not a list"),
        ({"total": "2"}, "total is missing or not a whole number of at least 0"),
        ({"total": True}, "total is missing or not a whole number of at least 0"),
        ({"size": 0}, "size is missing or not a whole number of at least 1"),
        ({"pages": -1}, "pages is missing or not a whole number of at least 0"),
        ({"page": 2}, "page 2 came for page 1"),
        ({"pages": 3}, "3 pages for 2 rows"),
    ],
)
def test_an_envelope_that_stays_broken_breaks_the_contract(fields: dict[str, Any], wrong: str) -> None:
    with ScriptedServer([broken_envelope(fields)]) as server, pytest.raises(SourceContractBroken) as caught:
        read(make_client(server.url, attempts=2))

    url = f"{server.url}/tracks?page=1&size=100"
    assert str(caught.value) == f"{url}: the envelope is not valid: {wrong}"
    assert len(server.requests) == 2


def test_a_list_without_an_envelope_breaks_the_contract() -> None:
    with ScriptedServer([Reply(body=b"[]")]) as server, pytest.raises(SourceContractBroken) as caught:
        read(make_client(server.url, attempts=1))

    assert caught.value.reason == "the envelope is not valid: it is a list, not an object"


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (400, "answered 400 Bad Request"),
        (401, "answered 401 Unauthorized; set SOURCE_TOKEN to a token that it accepts"),
        (403, "answered 403 Forbidden; set SOURCE_TOKEN to a token that it accepts"),
        (404, "answered 404 Not Found; check that BASE_URL is the address of the source"),
        (304, "answered 304 Not Modified"),
    ],
)
def test_a_client_error_is_requested_three_times_and_says_what_to_do(status: int, reason: str) -> None:
    with ScriptedServer([Reply(status)]) as server, pytest.raises(SourceContractBroken) as caught:
        read(make_client(server.url))

    assert str(caught.value) == f"{server.url}/tracks?page=1&size=100: {reason}"
    assert caught.value.kind == f"http_{status}"
    assert len(server.requests) == 3


@pytest.mark.parametrize("status", [301, 400, 401, 403, 404, 410, 422])
@pytest.mark.parametrize("page", [1, 3])
def test_a_single_odd_status_is_requested_again(status: int, page: int) -> None:
    asked: list[int] = []

    def answer(request: Request) -> Reply:
        asked.append(request.page)
        if request.page == page and asked.count(page) == 1:
            return Reply(status)
        return page_reply([{"id": number} for number in range(9)], request.page, size=2)

    with ScriptedServer(answer) as server:
        rows, reading = read(make_client(server.url))

    assert [row["id"] for row in rows] == list(range(9))
    assert dict(reading.errors) == {f"http_{status}": 1}


def test_an_odd_status_that_stays_while_other_pages_are_answered_gives_no_advice_about_the_address() -> None:
    def answer(request: Request) -> Reply:
        if request.page == 3:
            return Reply(403)
        return page_reply([{"id": number} for number in range(9)], request.page, size=2)

    with ScriptedServer(answer) as server, pytest.raises(SourceContractBroken) as caught:
        read(make_client(server.url))

    assert caught.value.reason == "answered 403 Forbidden 3 times while it answered other pages"


def test_a_source_that_answers_again_within_the_patience_is_read() -> None:
    clock = Ticks()

    def answer(_: Request) -> Reply:
        return Reply(503) if clock.now < 590 else GOOD

    with ScriptedServer(answer) as server:
        rows, reading = read(make_client(server.url, sleep=clock.sleep, clock=clock))

    assert rows == ROWS
    assert reading.retries > 10


@pytest.mark.parametrize("status", [429, 503])
def test_a_source_that_does_not_answer_within_the_patience_is_unavailable(status: int) -> None:
    clock = Ticks()
    with ScriptedServer([Reply(status)]) as server, pytest.raises(SourceUnavailable) as caught:
        read(make_client(server.url, sleep=clock.sleep, clock=clock, patience=60))

    assert caught.value.kind == f"http_{status}"
    assert 30 < clock.now <= 60


def test_the_lists_of_a_run_share_its_patience() -> None:
    clock = Ticks()
    with ScriptedServer([Reply(503)]) as server:
        client = make_client(server.url, sleep=clock.sleep, clock=clock, patience=60)
        with pytest.raises(SourceUnavailable):
            read(client)
        first = clock.now
        with pytest.raises(SourceUnavailable, match="failed 3 times"):
            read(client, "/users")

    assert clock.now - first < 5


def test_limited_requests_are_no_failed_attempts_and_use_fewer_connections() -> None:
    clock = Ticks()
    in_window: list[float] = []
    limited: list[int] = []

    def answer(request: Request) -> Reply:
        in_window[:] = [at for at in in_window if at > clock.now - 1]
        if len(in_window) >= 3:
            limited.append(request.page)
            return Reply(429, headers={"Retry-After": "1"})
        in_window.append(clock.now)
        return page_reply([{"id": number} for number in range(100)], request.page, size=2)

    with ScriptedServer(answer) as server:
        client = make_client(server.url, connections=8, attempts=2, sleep=clock.sleep, clock=clock)
        rows, reading = read(client)

    assert [row["id"] for row in rows] == list(range(100))
    assert dict(reading.errors) == {"http_429": len(limited)}
    # Without the limit nearly every page would be requested in vain by each of the eight connections.
    assert len(limited) < reading.requests / 2


def test_a_422_says_that_page_or_size_were_rejected() -> None:
    with ScriptedServer([Reply(422)]) as server, pytest.raises(SourceContractBroken) as caught:
        read(make_client(server.url))

    # Python 3.13 changed the phrase of status 422.
    assert caught.value.reason.startswith("answered 422 Unprocessable ")
    assert caught.value.reason.endswith("; it rejects the page number or the page size")


def test_attempts_wait_longer_each_time() -> None:
    slept: list[float] = []
    with ScriptedServer([Reply(500), Reply(502), Reply(503), GOOD]) as server:
        read(make_client(server.url, sleep=slept.append))

    assert slept == [0.5, 1.0, 2.0]


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_respected(status: int) -> None:
    slept: list[float] = []
    with ScriptedServer([Reply(status, headers={"Retry-After": "7"}), GOOD]) as server:
        read(make_client(server.url, sleep=slept.append))

    assert slept[0] == 7.5


def test_retry_after_may_be_a_date_and_is_at_most_two_minutes() -> None:
    slept: list[float] = []
    reply = Reply(429, headers={"Retry-After": "Fri, 01 Jan 2100 00:00:00 GMT"})
    with ScriptedServer([reply, GOOD]) as server:
        read(make_client(server.url, sleep=slept.append))

    assert slept[0] == 120.5


def test_retry_after_on_one_connection_pauses_all_of_them() -> None:
    clock = Ticks()
    seen: list[float] = []

    def answer(request: Request) -> Reply:
        seen.append(clock.now)
        if len(seen) == 3:
            return Reply(429, headers={"Retry-After": "7"})
        return page_reply([{"id": n} for n in range(20)], request.page, size=2)

    with ScriptedServer(answer) as server:
        client = make_client(
            server.url, connections=1, sleep=clock.sleep, clock=clock, max_requests_per_second=2
        )
        read(client)
        read(client)

    assert seen[:5] == [0.0, 0.5, 1.0, 8.5, 9.0]
    assert min(later - earlier for earlier, later in pairwise(seen)) == 0.5


class Ticks:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_a_source_that_never_answers_times_out() -> None:
    with ScriptedServer([Reply(raw=[], hang=True)]) as server, pytest.raises(SourceUnavailable) as caught:
        read(make_client(server.url, attempts=2, read_timeout=0.05))

    assert caught.value.kind == "timeout"
    assert caught.value.attempts == 2


def test_a_body_that_stops_arriving_times_out() -> None:
    half = Reply(raw=[b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n{"], hang=True)
    with ScriptedServer([half]) as server, pytest.raises(SourceUnavailable) as caught:
        read(make_client(server.url, attempts=2, read_timeout=0.05))

    assert caught.value.kind == "timeout"


@pytest.mark.parametrize(
    "head", [b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n", b"HTTP/1.1 200 OK\r\nX: "]
)
def test_an_answer_that_arrives_byte_by_byte_meets_its_deadline(head: bytes) -> None:
    def drip() -> Iterator[bytes]:
        yield head
        while not server.closing.wait(0.02):
            yield b"x"

    with ScriptedServer(lambda _: Reply(raw=drip(), close=True)) as server:
        # Below a second, a busy machine could meet the read timeout first, which is another fault. The
        # deadline's clock runs 20 times as fast, so that the test need not wait for it.
        client = make_client(
            server.url, attempts=1, connect_timeout=0.1, read_timeout=1.2, clock=lambda: 20 * time.monotonic()
        )
        with pytest.raises(SourceUnavailable, match=r"no complete answer within 4\.9 s") as caught:
            read(client)

    assert caught.value.kind == "timeout"


def test_a_body_that_is_too_large_is_rejected() -> None:
    with (
        ScriptedServer([Reply(body=b"[" + b" " * 5000)]) as server,
        pytest.raises(SourceContractBroken) as caught,
    ):
        read(make_client(server.url, max_response_bytes=5000))

    assert caught.value.reason == "answered more than 5000 bytes; SOURCE_MAX_RESPONSE_MB is the limit"
    assert len(server.requests) == 1


def test_the_size_limit_counts_decompressed_bytes() -> None:
    packed = gzip.compress(b"[" + b" " * 5_000_000)
    reply = Reply(body=packed, headers={"Content-Encoding": "gzip"})
    with ScriptedServer([reply]) as server, pytest.raises(SourceContractBroken) as caught:
        read(make_client(server.url, max_response_bytes=100_000))

    assert caught.value.kind == "too_large"


def test_a_compressed_answer_is_decompressed() -> None:
    reply = Reply(body=gzip.compress(GOOD.body), headers={"Content-Encoding": "gzip"})
    with ScriptedServer([reply]) as server:
        rows, reading = read(make_client(server.url))

    assert rows == ROWS
    assert reading.bytes == len(GOOD.body)


def test_a_compressed_answer_that_cannot_be_decompressed_is_retried() -> None:
    reply = Reply(body=b"no gzip", headers={"Content-Encoding": "gzip"})
    with ScriptedServer([reply, GOOD]) as server:
        rows, reading = read(make_client(server.url))

    assert rows == ROWS
    assert dict(reading.errors) == {"truncated": 1}


@pytest.mark.parametrize("odd", [b'"\\ud800"', b"NaN", b'"\xff"', b"1" * 30, b"1" * 5000])
def test_a_row_that_is_not_strict_json_does_not_spoil_its_page(odd: bytes) -> None:
    body = b'{"items":[{"id":1,"name":%s},{"id":2}],"total":2,"page":1,"size":100,"pages":1}' % odd
    with ScriptedServer([Reply(body=body)]) as server:
        rows, reading = read(make_client(server.url))

    assert [row["id"] for row in rows] == [1, 2]
    assert reading.retries == 0


@pytest.mark.parametrize(
    ("encoded", "declared"),
    [
        ("iso-8859-1", "ISO-8859-1"),
        ("windows-1252", "windows-1252"),
        ("utf-16", "utf-16"),
        ("utf-8", "iso-8859-1"),
        ("utf-8", "x-unknown"),
        ("utf-8", "us-ascii"),
        ("utf-8-sig", "utf-8"),
    ],
)
def test_a_body_is_read_in_its_declared_charset_unless_it_is_utf_8(encoded: str, declared: str) -> None:
    body = (
        page_reply([])
        .body.replace(b"[]", b'[{"id": 1, "name": "NAME"}]')
        .decode()
        .replace("NAME", "Émile ÀÉ")
    )
    headers = {"Content-Type": f"application/json; charset={declared}"}

    with ScriptedServer([Reply(body=body.encode(encoded), headers=headers)]) as server:
        rows, _ = read(make_client(server.url))

    assert rows == [{"id": 1, "name": "Émile ÀÉ"}]


def test_the_token_is_sent_and_never_shown(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with ScriptedServer([Reply(500), Reply(401)]) as server:
        client = make_client(f"{server.url}?key=hidden", token=f" {TOKEN}\n")
        with pytest.raises(SourceContractBroken) as caught:
            read(client)

    assert [request.headers["authorization"] for request in server.requests] == [f"Bearer {TOKEN}"] * 4
    assert TOKEN not in f"{client!r} {caught.value!r} {caught.value}" + caplog.text
    assert "hidden" not in f"{client!r} {caught.value!r} {caught.value}"
    assert caught.value.__cause__ is None


def test_a_user_and_password_in_the_address_are_sent_and_never_shown() -> None:
    with ScriptedServer([Reply(401)]) as server:
        client = make_client(server.url.replace("//", "//ann:p%40ss@"))
        with pytest.raises(SourceContractBroken) as caught:
            read(client)

    assert server.requests[0].headers["authorization"] == "Basic YW5uOnBAc3M="
    assert "p%40ss" not in f"{client!r} {caught.value!r} {caught.value}"


def test_without_a_token_no_credentials_are_sent() -> None:
    with ScriptedServer([GOOD]) as server:
        read(make_client(server.url))

    assert "authorization" not in server.requests[0].headers


@pytest.mark.parametrize(
    "make_target",
    [
        lambda other: f"{other.url}/tracks?page=1",
        lambda other: other.url.replace("http:", "").replace("//", "//ann:secret@"),
        lambda other: other.url.replace("127.0.0.1", "localhost"),
        lambda other: other.url.replace("http:", "https:"),
    ],
)
def test_a_redirect_to_another_host_is_not_followed_with_the_token(
    make_target: Callable[[ScriptedServer], str],
) -> None:
    with ScriptedServer([GOOD]) as other, ScriptedServer([]) as server:
        server._answer = lambda _: Reply(302, headers={"Location": make_target(other)})
        with pytest.raises(SourceContractBroken, match="redirected to another host") as caught:
            read(make_client(server.url, token=TOKEN))

    assert other.requests == []
    assert "secret" not in str(caught.value)
    assert len(server.requests) == 1


def test_a_redirect_on_the_same_host_is_followed_with_the_token() -> None:
    def answer(request: Request) -> Reply:
        if request.path == "/tracks":
            return Reply(307, headers={"Location": "/v2/tracks/?page=1&size=100"})
        return GOOD

    with ScriptedServer(answer) as server:
        rows, reading = read(make_client(server.url, token=TOKEN))

    assert rows == ROWS
    assert [request.path for request in server.requests] == ["/tracks", "/v2/tracks/"]
    assert server.requests[1].headers["authorization"] == f"Bearer {TOKEN}"
    assert (reading.requests, reading.retries) == (2, 0)


def test_endless_redirects_are_rejected() -> None:
    endless = Reply(302, headers={"Location": "/tracks"})
    with (
        ScriptedServer([endless]) as server,
        pytest.raises(SourceContractBroken, match="redirected more than 3 times"),
    ):
        read(make_client(server.url))

    assert len(server.requests) == 4


def test_a_proxy_in_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with ScriptedServer([GOOD]) as server:
        rows, _ = read(make_client(server.url))

    assert rows == ROWS


def test_the_address_keeps_its_path_and_query_and_the_size_is_always_a_hundred() -> None:
    with ScriptedServer([GOOD]) as server:
        read(make_client(f"{server.url}/api/?key=1"), "/tracks?order=id")

    assert server.requests[0].path == "/api/tracks"
    assert server.requests[0].query == {"key": "1", "order": "id", "page": "1", "size": "100"}


@pytest.mark.parametrize(
    "url", ["", "source:8001", "ftp://source", "http://", "http://source:port", "http://[x"]
)
def test_an_address_without_http_scheme_or_host_is_rejected_at_once(url: str) -> None:
    with pytest.raises(ValueError, match="address must be http"):
        SourceClient(url)


def test_an_invalid_address_is_rejected_without_showing_its_password() -> None:
    with pytest.raises(ValueError, match="not source") as caught:
        SourceClient("ann:secret@source")

    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "options", [{"connections": 0}, {"attempts": 0}, {"token": "a\nb"}, {"token": "clé"}]
)
def test_invalid_options_are_rejected_at_once(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"at least 1|no HTTP header"):
        SourceClient("http://source", **options)


def test_a_source_behind_a_proxy_is_read_through_it() -> None:
    with ScriptedServer([GOOD]) as proxy:
        rows, _ = read(make_client("http://source.internal", proxy=proxy.url.replace("//", "//ann:s3cret@")))

    assert rows == ROWS
    assert proxy.requests[0].headers["host"] == "source.internal"
    assert proxy.requests[0].headers["proxy-authorization"] == "Basic YW5uOnMzY3JldA=="


def test_a_proxy_that_is_down_is_named_without_its_password() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

    with pytest.raises(SourceUnavailable, match="no connection through the proxy") as caught:
        read(make_client("http://source.internal", proxy=f"http://ann:s3cret@127.0.0.1:{port}", attempts=1))

    assert caught.value.kind == "proxy"
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("proxy", ["socks5://ann:s3cret@127.0.0.1:1", "ftp://127.0.0.1:1", "http://"])
def test_a_proxy_that_cannot_be_used_ends_the_reading_at_once(proxy: str) -> None:
    with pytest.raises(SourceContractBroken, match=r"HTTPS_PROXY, HTTP_PROXY or ALL_PROXY") as caught:
        read(make_client("http://source.internal", proxy=proxy))

    assert caught.value.kind == "proxy"
    assert "s3cret" not in str(caught.value)

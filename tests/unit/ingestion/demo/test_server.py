"""The demo server: connections, tokens, and how it stops."""

import contextlib
import http.client
import socket
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest
import requests

from ingestion.demo.bulk import BulkSource
from ingestion.demo.faults.spec import parse_faults
from ingestion.demo.server import DemoServer


def small() -> BulkSource:
    return BulkSource(songs=250, users=20, histories=30)


def test_pages_asked_for_are_noted_in_order() -> None:
    with DemoServer(small()) as server:
        requests.get(f"{server.url}/tracks?page=2&size=50", timeout=120)
        requests.get(f"{server.url}/users", timeout=120)

    assert list(server.requests) == [("tracks", 2, 50), ("users", 1, 100)]
    assert server.answer_counts == Counter({"200": 2})


def test_one_connection_serves_many_requests() -> None:
    with DemoServer(small()) as server:
        connection = http.client.HTTPConnection("127.0.0.1", int(server.url.rpartition(":")[2]), timeout=120)
        connection.connect()
        opened = connection.sock
        for page in (1, 2, 3):
            connection.request("GET", f"/tracks?page={page}")
            assert connection.getresponse().read().startswith(b'{"items":[{"id":')

        assert connection.sock is opened
        connection.close()


def test_an_old_client_is_answered_and_hung_up_on() -> None:
    with DemoServer(small()) as server, socket.create_connection(("127.0.0.1", port(server)), 5) as client:
        client.sendall(b"GET /users?size=1 HTTP/1.0\r\n\r\n")
        received = b"".join(iter(lambda: client.recv(4096), b""))

    assert b"connection: close" in received
    assert received.endswith(b'"total":20,"page":1,"size":1,"pages":20}')


def test_what_is_no_http_is_refused() -> None:
    with DemoServer(small()) as server, socket.create_connection(("127.0.0.1", port(server)), 5) as client:
        client.sendall(b"\x16\x03\x01 hello\r\n")
        received = client.recv(4096)

    assert received.startswith(b"HTTP/1.1 400 Bad Request\r\n")


def test_a_closed_server_leaves_no_thread_and_no_open_port() -> None:
    before = set(threading.enumerate())
    server = DemoServer(small())
    server.start()
    address = ("127.0.0.1", port(server))
    idle = socket.create_connection(address, 5)
    requests.get(server.url, timeout=120)

    server.close()
    server.close()

    assert set(threading.enumerate()) == before
    assert idle.recv(1) == b""
    idle.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address, 5)


@pytest.mark.parametrize("fault", ["hang", "slow"])
def test_an_answer_that_is_held_back_does_not_keep_the_server_from_closing(fault: str) -> None:
    faults = replace(parse_faults(f"{fault}:1"), slow_seconds=600)
    with DemoServer(small(), faults=faults) as server:
        client = socket.create_connection(("127.0.0.1", port(server)), 5)
        client.sendall(b"GET /tracks HTTP/1.1\r\nhost: x\r\n\r\n")
        wait_until(lambda: server.answer_counts[fault] == 1)

    with contextlib.suppress(ConnectionResetError):
        while client.recv(65_536):
            pass
    client.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("demo-")]


def test_several_servers_live_in_one_process() -> None:
    with DemoServer(BulkSource(songs=1)) as one, DemoServer(BulkSource(songs=2)) as two:
        totals = [requests.get(f"{each.url}/tracks", timeout=120).json()["total"] for each in (one, two)]

    assert totals == [1, 2]


@pytest.mark.parametrize("given", [None, "Bearer wrong", "Basic secret"])
def test_without_the_right_token_nothing_is_told(given: str | None) -> None:
    with DemoServer(small(), token="secret") as server:
        headers = {} if given is None else {"Authorization": given}
        response = requests.get(f"{server.url}/tracks", headers=headers, timeout=120)

    assert (response.status_code, response.content) == (401, b'{"detail":"Not authenticated"}')
    assert list(server.requests) == []


def test_the_right_token_opens_the_door() -> None:
    with DemoServer(small(), token="secret") as server:
        response = requests.get(
            f"{server.url}/tracks", headers={"Authorization": "Bearer secret"}, timeout=120
        )

    assert response.status_code == 200


def test_the_front_page_says_what_this_is() -> None:
    with DemoServer(small()) as server:
        body = requests.get(server.url, timeout=120).json()

    assert body == {"name": "MoovitaMix demo source", "resources": ["/tracks", "/users", "/listen_history"]}


def test_a_changed_source_is_served_at_once() -> None:
    source = small()
    with DemoServer(source) as server:
        before = requests.get(f"{server.url}/tracks", timeout=120).json()["items"]
        source.changed_share = 0.1
        after = requests.get(f"{server.url}/tracks", timeout=120).json()["items"]

    changed = [new["id"] for old, new in zip(before, after, strict=True) if old != new]
    assert 2 <= len(changed) <= 20
    assert [row["id"] for row in before] == [row["id"] for row in after]


def port(server: DemoServer) -> int:
    return int(server.url.rpartition(":")[2])


def wait_until(happened: Callable[[], bool]) -> None:
    """Look every 5 ms, for 10 s at most."""
    assert any(happened() or threading.Event().wait(0.005) for _ in range(2000))

"""nginx with the shipped configuration in front of our server: slow clients occupy the proxy, and not us."""

import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import requests

from moovitamix.management.processes import wait_for_url
from tests.support.project import ROOT, Project
from tests.support.servers.ports import free_port
from tests.support.servers.proxy import NGINX, run_nginx

# More than the server has threads, and fewer than the proxy accepts from one address.
SLOW_CLIENTS = 30
HALF_REQUEST = (
    b"POST /api/v1/feedback/ HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    b"Content-Length: 1000\r\n\r\n[{"
)


@pytest.fixture
def web_port(sqlite_project: Project) -> int:
    port = free_port()
    web = sqlite_project.start(sys.executable, str(ROOT / "manage.py"), "serve", f"--port={port}")
    # It says that it listens before its workers do.
    wait_for_url(f"http://127.0.0.1:{port}/health/live/", web, Path("the server's output"))
    return port


@pytest.fixture
def proxy(web_port: int, tmp_path: Path) -> Iterator[str]:
    if NGINX is None:
        pytest.skip("nginx is not installed (Debian: apt install nginx-light)")
    with run_nginx(web_port, tmp_path) as url:
        yield url


@pytest.mark.slow
def test_half_sent_requests_do_not_stop_the_site(proxy: str) -> None:
    host, port = proxy.removeprefix("http://").split(":")
    with ExitStack() as slow:
        for _ in range(SLOW_CLIENTS):
            client = slow.enter_context(socket.create_connection((host, int(port))))
            client.sendall(HALF_REQUEST)

        answer = requests.get(f"{proxy}/health/live/", headers={"Host": "localhost"}, timeout=60)

    assert answer.json() == {"status": "ok"}


@pytest.mark.slow
def test_our_own_server_refuses_headers_of_absurd_length(web_port: int) -> None:
    url = f"http://127.0.0.1:{web_port}/health/live/"

    usual = requests.get(url, headers={"X-Long": "a" * 30_000}, timeout=60)
    absurd = requests.get(url, headers={"X-Long": "a" * 100_000}, timeout=60)

    assert (usual.status_code, absurd.status_code) == (200, 431)

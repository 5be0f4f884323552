"""nginx with the shipped configuration in front of our server: slow clients occupy the proxy, and not us."""

import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import requests

from moovitamix.management.processes import wait_for_url
from tests.support.project import ROOT, Project, wait_for_line

NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
# More than the server has threads, and fewer than the proxy accepts from one address.
SLOW_CLIENTS = 30
HALF_REQUEST = (
    b"POST /api/v1/feedback/ HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    b"Content-Length: 1000\r\n\r\n[{"
)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    return port


@pytest.fixture
def web_port(sqlite_project: Project) -> int:
    port = free_port()
    web = sqlite_project.start(sys.executable, str(ROOT / "manage.py"), "serve", f"--port={port}")
    # It says that it listens before its workers do.
    wait_for_url(f"http://127.0.0.1:{port}/health/live/", web, Path("the server's output"))
    return port


@pytest.fixture
def proxy(web_port: int, tmp_path: Path) -> Iterator[str]:
    """The address of nginx with our configuration, without TLS."""
    if NGINX is None:
        pytest.skip("nginx is not installed (Debian: apt install nginx-light)")
    port = free_port()
    shipped = (ROOT / "deploy" / "nginx.conf").read_text()
    shipped = re.sub(r"    ssl_.*\n", "", shipped.replace("listen 443 ssl http2", f"listen 127.0.0.1:{port}"))
    shipped = shipped.replace("listen 80", f"listen 127.0.0.1:{free_port()}")
    shipped = shipped.replace("server 127.0.0.1:8000", f"server 127.0.0.1:{web_port}")
    shipped = shipped.replace("server_name music.example.org", "server_name localhost")
    folders = "".join(
        f"{name}_temp_path {tmp_path}/{name};\n"
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    config = tmp_path / "nginx.conf"
    config.write_text(
        f"daemon off;\npid {tmp_path}/pid;\nerror_log stderr notice;\nuser root;\nworker_processes 1;\n"
        f"events {{}}\nhttp {{\naccess_log off;\n{folders}{shipped}\n}}\n"
    )
    with subprocess.Popen(
        [NGINX, "-c", str(config), "-p", str(tmp_path)],
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:
        wait_for_line(process, "start worker process ")
        yield f"http://127.0.0.1:{port}"
        process.terminate()
        process.communicate(timeout=60)


@pytest.mark.slow
def test_half_sent_requests_do_not_stop_the_site(proxy: str) -> None:
    host, port = proxy.removeprefix("http://").split(":")
    with ExitStack() as slow:
        for _ in range(SLOW_CLIENTS):
            client = slow.enter_context(socket.create_connection((host, int(port))))
            client.sendall(HALF_REQUEST)

        answer = requests.get(f"{proxy}/health/live/", headers={"Host": "localhost"}, timeout=60)

    assert answer.json() == {"status": "ok"}

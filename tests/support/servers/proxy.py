"""nginx with the shipped configuration, without TLS, in front of a test server."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.support.project import ROOT, wait_for_line
from tests.support.servers.ports import free_port

NGINX: Final = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")


@contextmanager
def run_nginx(web_port: int, folder: Path) -> Iterator[str]:
    """The address of nginx, which passes requests on to this port. `NGINX` must be found."""
    assert NGINX is not None
    port = free_port()
    shipped = (ROOT / "deploy" / "nginx.conf").read_text()
    shipped = re.sub(r"    ssl_.*\n", "", shipped.replace("listen 443 ssl http2", f"listen 127.0.0.1:{port}"))
    shipped = shipped.replace("listen 80", f"listen 127.0.0.1:{free_port()}")
    shipped = shipped.replace("server 127.0.0.1:8000", f"server 127.0.0.1:{web_port}")
    shipped = shipped.replace("server_name music.example.org", "server_name localhost")
    folders = "".join(
        f"{name}_temp_path {folder}/{name};\n"
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    config = folder / "nginx.conf"
    config.write_text(
        f"daemon off;\npid {folder}/pid;\nerror_log stderr notice;\nuser root;\nworker_processes 1;\n"
        f"events {{}}\nhttp {{\naccess_log off;\n{folders}{shipped}\n}}\n"
    )
    with subprocess.Popen(
        [NGINX, "-c", str(config), "-p", str(folder)],
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:
        wait_for_line(process, "start worker process ")
        yield f"http://127.0.0.1:{port}"
        process.terminate()
        process.communicate(timeout=60)

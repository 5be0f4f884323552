"""The process of `run_s3`: moto's server for S3 on a free port, and the faults that a test asks for."""

import os
import signal
from collections.abc import Callable, Iterable, Iterator
from threading import Event
from typing import Any, Final

import orjson
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

FAULTS_PATH: Final = "/-/faults"
REFUSAL: Final = "<?xml version='1.0'?><Error><Code>{code}</Code><Message>refused</Message></Error>"
TRICKLE_SECONDS: Final = 0.01  # between the bytes of an answer
StartResponse = Callable[[str, list[tuple[str, str]]], Any]


class FaultyServer:
    """Refuses requests, sends answers slowly or not to their end, or kills a client that sends files."""

    def __init__(self, application: Any) -> None:
        self._application = application
        self._faults: dict[str, Any] = {}
        self._faults_changed = Event()

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] == FAULTS_PATH:
            self._faults = orjson.loads(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
            self._faults_changed.set()
            self._faults_changed = Event()
            start_response("200 OK", [("Content-Length", "0")])
            return []
        if environ["REQUEST_METHOD"] == "PUT" and "kill_after_files" in self._faults:
            self._faults["kill_after_files"] -= 1
            if self._faults["kill_after_files"] < 0:
                os.kill(self._faults["client"], signal.SIGKILL)
        if "code" in self._faults and environ["PATH_INFO"].endswith(self._faults.get("only", "")):
            body = REFUSAL.format(code=self._faults["code"]).encode()
            headers = [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))]
            start_response(f"{self._faults['status']} Refused", headers)
            return [body]
        answer: Iterable[bytes] = self._application(environ, start_response)
        if environ["REQUEST_METHOD"] == "GET" and "silent_after_bytes" in self._faults:
            return self._fall_silent(b"".join(answer), self._faults["silent_after_bytes"])
        if environ["REQUEST_METHOD"] == "GET" and self._breaks(environ["PATH_INFO"]):
            return self._break_connection(b"".join(answer))
        if environ["REQUEST_METHOD"] == "GET" and environ["PATH_INFO"].endswith(
            self._faults.get("trickle", "\0")
        ):
            return self._trickle(b"".join(answer))
        return answer

    def _breaks(self, path: str) -> bool:
        if not path.endswith(self._faults.get("break", "\0")):
            return False
        self._faults["times"] -= 1
        return bool(self._faults["times"] >= 0)

    def _break_connection(self, body: bytes) -> Iterator[bytes]:
        yield body[: len(body) // 2]
        raise ConnectionResetError

    def _trickle(self, body: bytes) -> Iterator[bytes]:
        changed = self._faults_changed
        for place in range(len(body) - 1):
            changed.wait(TRICKLE_SECONDS)
            yield body[place : place + 1]
        changed.wait()
        yield body[-1:]

    def _fall_silent(self, body: bytes, size: int) -> Iterator[bytes]:
        changed = self._faults_changed
        yield body[:size]
        changed.wait()
        yield body[size:]


def main() -> None:
    application = FaultyServer(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, application, threaded=True)
    print(f"listening on {server.server_port}", flush=True)  # noqa: T201
    server.serve_forever()


if __name__ == "__main__":
    main()

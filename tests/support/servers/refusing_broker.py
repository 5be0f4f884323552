"""A broker that closes each connection at once, as seen by a client of a Redis that is away."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread

import pytest
from celery import current_app
from django.core.cache import cache


@contextmanager
def refusing_broker(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Tasks can't be sent; yields the ports that have tried to connect."""
    seen: list[int] = []
    server = socket.create_server(("127.0.0.1", 0))

    def refuse() -> None:
        while True:
            try:
                client, address = server.accept()
            except OSError:
                return
            seen.append(address[1])
            client.close()

    thread = Thread(target=refuse)
    thread.start()
    address = f"redis://127.0.0.1:{server.getsockname()[1]}/0"
    monkeypatch.setattr(current_app.conf, "broker_write_url", address)
    monkeypatch.setattr(current_app.amqp, "_producer_pool", None)
    cache.clear()
    try:
        yield seen
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join()
        cache.clear()

"""Requests to renew a candidate list while Celery's broker is away."""

import socket
from collections.abc import Iterator
from threading import Thread

import pytest
from celery import current_app
from django.core.cache import cache

from recommender import services


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The ports that connected to a broker that closes each connection at once."""
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
    yield seen
    server.shutdown(socket.SHUT_RDWR)
    server.close()
    thread.join()
    cache.clear()


def test_requests_do_not_wait_for_a_broker_that_is_away(connections: list[int]) -> None:
    first = services.request_renewal(470)
    tried = len(connections)
    # Another listener's request and the next one of the same listener renew their lists themselves.
    others = [services.request_renewal(471), services.request_renewal(470)]

    assert (first, *others) == (False, False, False)
    # By default, kombu tries for six seconds.
    assert tried == 2
    assert len(connections) == tried

"""Requests to renew a candidate list while Celery's broker is away."""

import pytest

from recommender import services
from tests.support.servers.refusing_broker import refusing_broker


def test_requests_do_not_wait_for_a_broker_that_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    with refusing_broker(monkeypatch) as connections:
        first = services.request_renewal(470)
        tried = len(connections)
        # Another listener's request and the next one of the same listener renew their lists themselves.
        others = [services.request_renewal(471), services.request_renewal(470)]

    assert (first, *others) == (False, False, False)
    # By default, kombu tries for six seconds.
    assert tried == 2
    assert len(connections) == tried

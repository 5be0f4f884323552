"""Sources to read from, and the broker."""

import os
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from ingestion.demo.faults.spec import parse_faults
from ingestion.demo.server import DemoServer
from ingestion.demo.world.world import World
from tests.support.servers.alert_receivers import AlertRecipients

Serve = Callable[[str], DemoServer]


@pytest.fixture(scope="session")
def redis_url() -> str:
    """The session's own server, which the settings of the tests name."""
    return os.environ["REDIS_URL"]


@pytest.fixture(scope="module")
def world() -> World:
    return World(songs=450, listeners=60, days=12)


@pytest.fixture
def serve(world: World) -> Iterator[Serve]:
    """Serves the world with faults named as on the command line."""
    servers: list[DemoServer] = []

    def start(faults: str = "") -> DemoServer:
        quick = replace(parse_faults(faults, seed=3), slow_seconds=0.2)
        servers.append(DemoServer(world, faults=quick).__enter__())
        return servers[-1]

    yield start
    for server in servers:
        server.__exit__(None, None, None)


@pytest.fixture
def people() -> Iterator[AlertRecipients]:
    """Those who are told, by a mail server and by an endpoint that stands for Slack."""
    with AlertRecipients() as people:
        yield people

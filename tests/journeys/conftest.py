"""Fixtures of the journeys: sources to read from, the broker, and recipients of alerts."""

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
    """URL of the session's own server."""
    return os.environ["REDIS_URL"]


@pytest.fixture(scope="module")
def world() -> World:
    return World(songs=450, listeners=60, days=12)


@pytest.fixture
def serve(world: World) -> Iterator[Serve]:
    """A function that serves the world with faults, named as on the command line."""
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
    """The recipients of alerts: a mail server, and an endpoint that acts as Slack."""
    with AlertRecipients() as people:
        yield people

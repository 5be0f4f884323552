"""A source whose every row a test decides, and a pipeline that reads it over HTTP."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest

from ingestion.demo.faults.spec import FaultSpec, parse_faults
from ingestion.demo.server import DemoServer
from ingestion.models import IngestionRun
from ingestion.pipeline.ingest import IngestionOptions, IngestionProgress, ingest
from ingestion.source.client import SourceClient
from tests.support.servers.list_source import ListSource

Serve = Callable[..., str]


class Run(Protocol):
    def __call__(
        self, url: str = ..., callback: IngestionProgress | None = ..., **wanted: Any
    ) -> IngestionRun: ...


def client_of(url: str, **arguments: Any) -> SourceClient:
    """A client that does not wait between attempts."""
    wanted: dict[str, Any] = {"attempts": 4, "read_timeout": 5.0, "sleep": lambda _: None} | arguments
    return SourceClient(url, **wanted)


@pytest.fixture
def source() -> ListSource:
    return ListSource()


@pytest.fixture
def serve(source: ListSource) -> Iterator[Serve]:
    """Serves a source, the test's own by default, with faults named as on the command line."""
    servers: list[DemoServer] = []

    def start(faults: str = "", of: Any = None) -> str:
        parsed = parse_faults(faults) if faults else FaultSpec()
        server = DemoServer(of or source, faults=parsed)
        servers.append(server.__enter__())
        return server.url

    yield start
    for server in servers:
        server.__exit__(None, None, None)


@pytest.fixture
def run(db: None, serve: Serve, tmp_path: Path) -> Run:
    """Runs the pipeline once; everything else is as in production."""
    default_url: list[str] = []

    def once(url: str = "", callback: IngestionProgress | None = None, **wanted: Any) -> IngestionRun:
        if not url:
            default_url[:] = default_url or [serve()]
            url = default_url[0]
        return ingest(client_of(url), IngestionOptions(staging=tmp_path / "staging", **wanted), callback)

    return once

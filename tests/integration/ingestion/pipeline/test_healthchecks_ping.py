"""A service such as healthchecks.io receives a ping at each run's start and end, over real HTTP."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from ingestion import services
from ingestion.models import Webhook
from ingestion.pipeline.healthchecks_ping import send_ping
from ingestion.pipeline.run_lifecycle import AlreadyRunning, start_run
from ingestion.services import ingest_now
from tests.integration.ingestion.conftest import Serve
from tests.support.builders.source_rows import make_track
from tests.support.servers.list_source import ListSource
from tests.support.servers.scripted_server import Reply, ScriptedServer

pytestmark = pytest.mark.django_db


@dataclass
class Ears:
    """The received pings: path and body."""

    url: str = ""
    heard: list[tuple[str, str]] = field(default_factory=list)

    @property
    def paths(self) -> list[str]:
        return [path for path, _ in self.heard]


@pytest.fixture
def ears() -> Iterator[Ears]:
    ears = Ears()

    class Listening(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            words = self.rfile.read(int(self.headers["Content-Length"])).decode()
            ears.heard.append((self.path, words))
            self.send_response(200)
            self.end_headers()

        def log_request(self, *_: Any) -> None:
            """Write no log."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Listening) as server:
        ears.url = f"http://127.0.0.1:{server.server_port}/ping/secret-uuid"
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        yield ears
        server.shutdown()


@pytest.fixture
def ready(settings: Any, serve: Serve, ears: Ears, tmp_path: Path) -> Any:
    settings.BASE_URL = serve()
    settings.STAGING_DIR = tmp_path
    settings.SOURCE_ATTEMPTS = 1
    settings.HEALTHCHECKS_URL = ears.url
    return settings


def test_a_success_is_told_from_its_start_to_its_end_before_webhooks_are_sent(ready: Any, ears: Ears) -> None:
    Webhook.objects.create(url=f"{ears.url}/webhook", events=["run.finished"])

    run = ingest_now()

    assert ears.paths == ["/ping/secret-uuid/start", "/ping/secret-uuid", "/ping/secret-uuid/webhook"]
    assert ears.heard[1][1].startswith(f"Run {run.pk} succeeded. 30 songs: 30 new")


def test_a_partial_run_is_no_failure(ready: Any, ears: Ears, source: ListSource) -> None:
    source.tracks[:10] = [make_track(pk, artist=None) for pk in range(1, 11)]

    run = ingest_now()

    assert run.status == "partial"
    assert ears.paths == ["/ping/secret-uuid/start", "/ping/secret-uuid"]


def test_a_run_whose_source_is_down_is_a_failure(ready: Any, ears: Ears) -> None:
    ready.BASE_URL = "http://127.0.0.1:9"

    run = ingest_now()

    assert run.status == "failed"
    assert ears.paths == ["/ping/secret-uuid/start", "/ping/secret-uuid/fail"]


def test_a_run_that_breaks_is_told_without_its_words(
    ready: Any, ears: Ears, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> Any:
        raise RuntimeError("ada@example.org")

    monkeypatch.setattr(services, "source_client", broken)

    with pytest.raises(RuntimeError):
        ingest_now()

    assert ears.heard == [("/ping/secret-uuid/fail", "RuntimeError")]


def test_a_trial_run_and_one_that_finds_the_lock_taken_tell_nothing(ready: Any, ears: Ears) -> None:
    ingest_now(dry_run=True)
    start_run(trigger="command")

    with pytest.raises(AlreadyRunning):
        ingest_now()

    assert ears.heard == []


@pytest.mark.parametrize(
    "reply",
    [
        Reply(status=404),
        Reply(status=500),
        Reply(status=302, headers={"Location": "/elsewhere"}),
        Reply(raw=[b"nonsense\r\n\r\n"]),
        Reply(raw=[], close=True),
    ],
)
def test_whatever_the_monitoring_answers_the_run_succeeds_and_no_log_names_its_address(
    ready: Any, reply: Reply, caplog: pytest.LogCaptureFixture
) -> None:
    with ScriptedServer([reply]) as server, caplog.at_level(logging.DEBUG, "ingestion"):
        ready.HEALTHCHECKS_URL = f"{server.url}/ping/secret-uuid"
        run = ingest_now()

    assert run.status == "succeeded"
    assert "ping_failed event=success" in caplog.text
    assert "secret-uuid" not in caplog.text


def test_a_monitoring_that_is_not_there_harms_no_run(ready: Any, caplog: pytest.LogCaptureFixture) -> None:
    ready.HEALTHCHECKS_URL = "http://127.0.0.1:9/ping/secret-uuid"

    run = ingest_now()

    assert run.status == "succeeded"
    assert "ping_failed event=start reason=ConnectionError" in caplog.text


def test_an_address_may_end_with_a_slash(ears: Ears) -> None:
    assert send_ping(f"{ears.url}/", "fail", "x" * 5000)

    assert ears.heard == [("/ping/secret-uuid/fail", "x" * 2000)]


def test_without_an_address_nothing_is_told() -> None:
    assert send_ping("", "start") is False

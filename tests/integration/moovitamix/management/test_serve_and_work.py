"""`serve` and `work`: safe options by default, and refusals that say what to do."""

import os
import socket
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from moovitamix.management.commands import serve, work
from tests.support.servers.ports import free_port


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands that would have replaced this process."""
    commands: list[list[str]] = []
    for module in (serve, work):
        monkeypatch.setattr(module, "replace_process", commands.append)
    return commands


def test_the_web_server_has_few_threads_and_replaces_processes_that_die(
    started: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MALLOC_ARENA_MAX", "")  # restored after the test
    monkeypatch.delenv("MALLOC_ARENA_MAX")
    call_command("serve", port=free_port(), workers=3)

    (command,) = started
    assert "--http1-buffer-size=32768" in command
    assert {"--blocking-threads=8", "--workers=3", "--respawn-failed-workers", "--host=127.0.0.1"} <= set(
        command
    )
    # Otherwise the C library keeps a heap for each thread.
    assert os.environ["MALLOC_ARENA_MAX"] == "2"


@pytest.mark.parametrize("shared", [False, True])
def test_a_port_on_which_somebody_listens_is_refused(started: list[list[str]], shared: bool) -> None:
    with socket.socket() as other:
        # Servers that share a port, as granian's workers do, would let a second server in.
        if shared:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]

        with pytest.raises(CommandError, match=rf"Port {port} .* can't be used: .* --port NUMBER"):
            call_command("serve", port=port)

    assert started == []


def test_of_two_servers_that_start_at_once_the_second_is_refused(started: list[list[str]]) -> None:
    port = free_port()
    call_command("serve", port=port)

    # The first one does not listen yet.
    with pytest.raises(CommandError, match=rf"Port {port} .* can't be used"):
        call_command("serve", port=port)

    assert len(started) == 1
    # As granian does.
    with socket.create_server(("127.0.0.1", port), reuse_port=True) as server:
        socket.create_connection(("127.0.0.1", port)).close()
        server.accept()[0].close()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threads": 4}, "--threads is from 8 to 16"),
        ({"threads": 17}, "--threads is from 8 to 16"),
        ({"workers": 0}, "--workers is from 1 to 64"),
        ({"host": "nowhere.invalid"}, "can't be resolved"),
    ],
)
def test_unsafe_options_of_the_web_server_are_refused(
    started: list[list[str]], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(CommandError, match=message):
        call_command("serve", **options)

    assert started == []


def test_a_worker_has_room_for_an_import_a_training_and_others(started: list[list[str]]) -> None:
    call_command("work")
    call_command("work", no_beat=True, queues="training")

    first, second = started
    assert {"--concurrency=4", "--beat"} <= set(first)
    assert "--beat" not in second
    assert "--queues=training" in second


def test_a_queue_that_does_not_exist_is_refused(started: list[list[str]]) -> None:
    with pytest.raises(
        CommandError, match=r"There is no queue trainings\. Choose from default, ingestion, training"
    ):
        call_command("work", queues="trainings")

    assert started == []

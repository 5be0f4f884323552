"""`runingest --json` prints one object, whatever happens."""

import json
from io import StringIO
from threading import Thread
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError

from ingestion.models import IngestionRun

pytestmark = pytest.mark.django_db


def run_as_json() -> tuple[int, dict[str, Any]]:
    """The exit code and the printed object."""
    printed = StringIO()
    with pytest.raises(SystemExit) as end:
        call_command("runingest", "--json", stdout=printed)
    facts: dict[str, Any] = json.loads(printed.getvalue())
    return int(str(end.value.code)), facts


def test_no_threads_left(serve: Any, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.BASE_URL = serve()

    def refuse(_: Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(Thread, "start", refuse)
        code, facts = run_as_json()

    assert code == 1
    assert (facts["status"], facts["error_kind"]) == ("failed", "RuntimeError")
    assert facts["run"] == IngestionRun.objects.get(status="failed").pk
    assert "can't start new thread" in facts["error"]


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OperationalError("connection failed"), "OperationalError: connection failed"),
        (CommandError("The database lacks 2 migrations."), "The database lacks 2 migrations."),
        (MemoryError(), "MemoryError"),
    ],
)
def test_an_error_before_the_run(monkeypatch: pytest.MonkeyPatch, error: Exception, message: str) -> None:
    def fail() -> None:
        raise error

    monkeypatch.setattr("ingestion.management.commands.runingest.require_migrations", fail)

    code, facts = run_as_json()

    assert code == 1
    assert facts == {
        "run": None, "status": "failed", "exit_code": 1, "error": message,
        "error_kind": type(error).__name__, "resources": {},
    }  # fmt: skip


def test_ctrl_c_before_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ingestion.management.commands.runingest.require_migrations", interrupt)

    code, facts = run_as_json()

    assert (code, facts["status"]) == (5, "stopped")

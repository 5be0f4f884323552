"""Log lines name their work, are one line each, and hold no row of the database."""

import json
import logging
import sys
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from django.db import IntegrityError
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory

from ingestion.jobs.lock import add_log_context
from moovitamix.reporting.logs import JsonFormatter, LineFormatter, request_id_middleware, strip_row_details

POSTGRES_SAYS = (
    'null value in column "email" of relation "users" violates not-null constraint\n'
    "DETAIL:  Failing row contains (7, Ada\nLovelace, ada@example.org).\n"
    'CONTEXT:  COPY users, line 1, column email: "ada@example.org"'
)
RULE = 'null value in column "email" of relation "users" violates not-null constraint'


def make_record(message: str, *args: object, error: BaseException | None = None) -> logging.LogRecord:
    trace = (type(error), error, error.__traceback__) if error else None
    return logging.LogRecord("ingestion.pipeline.upsert", logging.ERROR, "upsert.py", 7, message, args, trace)


def as_json(record: logging.LogRecord) -> dict[str, Any]:
    return dict(json.loads(JsonFormatter().format(record)))


def caught(work: Callable[[], object]) -> BaseException:
    try:
        work()
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")


def refuse() -> None:
    try:
        raise psycopg.errors.NotNullViolation(POSTGRES_SAYS)
    except psycopg.Error as error:
        raise IntegrityError(*error.args) from error


@pytest.mark.parametrize("formatter", [LineFormatter(), JsonFormatter()])
def test_a_refused_row_is_in_neither_message_nor_traceback(formatter: logging.Formatter) -> None:
    error = caught(refuse)

    said = formatter.format(make_record("write_failed reason=%s also=%r", error, str(error), error=error))

    assert "ada@example.org" not in said
    assert "Lovelace" not in said
    assert said.count("violates not-null constraint") == 3
    assert "in refuse" in said


def test_an_error_that_quotes_the_databases_error_is_cut_too() -> None:
    error = caught(lambda: int("x"))
    quoting = RuntimeError(f"The run failed: {POSTGRES_SAYS}")
    quoting.__context__ = error

    said = as_json(make_record("run_raised", error=quoting))["trace"]

    assert said.endswith(f"And while that was handled:\n\nRuntimeError: The run failed: {RULE}")
    assert said.startswith("Traceback (most recent call last):")
    assert "ValueError: invalid literal for int() with base 10: 'x'" in said


def test_rows_in_the_databases_own_language_are_cut() -> None:
    french = (
        "la valeur d'une clé dupliquée rompt la contrainte\nDÉTAIL : La clé (email)=(ada@example.org) existe."
    )

    assert strip_row_details(french) == "la valeur d'une clé dupliquée rompt la contrainte"
    assert strip_row_details(repr(french)) == "\"la valeur d'une clé dupliquée rompt la contrainte"
    assert strip_row_details("bad value\nLINE 1: INSERT INTO users VALUES ('ada')\n      ^") == "bad value"


def test_a_text_of_several_lines_without_a_row_stays() -> None:
    assert strip_row_details("Two things:\n  one\n  Two: yes") == "Two things:\n  one\n  Two: yes"


def test_errors_of_a_group_are_named_without_their_rows() -> None:
    group = ExceptionGroup("two broke", [IntegrityError(POSTGRES_SAYS), ValueError("odd")])

    said = as_json(make_record("broke", error=group))["trace"]

    assert f"of which: django.db.utils.IntegrityError: {RULE}" in said
    assert "of which: ValueError: odd" in said
    assert "ada@example.org" not in said


def test_a_line_of_json_names_its_work() -> None:
    with add_log_context(run=7), add_log_context(task="ab-12"):
        told = as_json(make_record("stage_began name=%s", "reading"))

    assert told.pop("at").endswith("+00:00")
    assert told.pop("process") > 0
    assert told == {
        "level": "ERROR", "logger": "ingestion.pipeline.upsert", "message": "stage_began name=reading",
        "thread": "MainThread", "run": "7", "task": "ab-12",
    }  # fmt: skip


def test_a_line_for_a_person_ends_with_its_work_and_without_work_with_its_message() -> None:
    with add_log_context(run=7):
        at_work = LineFormatter().format(make_record("stage_began name=reading"))
    idle = LineFormatter().format(make_record("stage_began name=reading"))

    assert at_work[19:] == " ERROR ingestion.pipeline.upsert stage_began name=reading [run=7]"
    assert idle[19:] == " ERROR ingestion.pipeline.upsert stage_began name=reading"


@pytest.mark.parametrize("formatter", [LineFormatter(), JsonFormatter()])
def test_who_sends_line_ends_writes_no_line_of_their_own(formatter: logging.Formatter) -> None:
    said = formatter.format(make_record("Not Found: %s", "/x\n2026-01-01 ERROR all is lost\r\x1b[2J"))

    assert "\n" not in said
    assert "\r" not in said
    assert "\x1b" not in said


def test_half_a_surrogate_pair_is_written() -> None:
    assert as_json(make_record("odd %s", "\ud83d"))["message"] == "odd \ud83d"


def test_celerys_own_lines_name_their_task() -> None:
    record = make_record("Task received")
    record.data = {"id": "ab-12", "args": "('ada@example.org',)"}

    told = as_json(record)

    assert told["task"] == "ab-12"
    assert "ada@example.org" not in json.dumps(told)


@pytest.mark.parametrize(
    ("sent", "kept"), [("proxy-1234", True), ("x", False), ("a b c d e f g", False), ("a" * 65, False)]
)
def test_a_request_keeps_a_harmless_id_and_gets_one_otherwise(sent: str, kept: bool) -> None:
    lines: list[dict[str, Any]] = []

    def view(request: HttpRequest) -> HttpResponse:
        lines.append(as_json(make_record("at work")))
        return HttpResponse()

    request = RequestFactory().get("/", headers={"X-Request-ID": sent})
    answer = request_id_middleware(view)(request)
    record = make_record("Not Found: /")
    record.request = request

    name = answer.headers["X-Request-ID"]
    assert (name == sent) is kept
    assert len(name) >= 8
    assert lines[0]["request"] == name
    # Django writes of answers when the middleware is done.
    assert as_json(record)["request"] == name
    assert "request" not in as_json(make_record("later"))


def test_an_error_that_is_its_own_cause_ends() -> None:
    error = ValueError("odd")
    error.__cause__ = KeyError("first")
    error.__cause__.__cause__ = error

    said = as_json(make_record("broke", error=error))["trace"]

    assert said == "KeyError: 'first'\n\nWhich caused:\n\nValueError: odd"


def test_no_error_at_work_leaves_no_trace() -> None:
    record = logging.LogRecord("x", logging.INFO, "x.py", 1, "said", (), sys.exc_info())

    assert "trace" not in as_json(record)

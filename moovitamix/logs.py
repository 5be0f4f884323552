"""How log lines look: which run, training, task or request they belong to, and no row of the database."""

import json
import logging
import re
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from traceback import format_tb
from typing import Any, Final

from django.db import Error as DjangoDatabaseError
from django.http import HttpRequest, HttpResponse

from ingestion.jobs.lock import LOG_CONTEXT, add_log_context

# PostgreSQL says after its first line which row it refused, in these labelled lines (DETAIL, CONTEXT,
# HINT, QUERY, LINE 1 ...) and in the language of its client library. Also as `repr` writes line ends.
_ROW_DETAILS: Final = re.compile(r"(?:[\r\n]|\\n)[ \t]*[A-ZÀ-ÖØ-ÞА-Я]{4,}(?: \d+)?[ \u00a0]?:.*", re.DOTALL)
# What a proxy calls its requests is kept, where it can do no harm in a line.
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{8,64}")
REQUEST_ID_HEADER: Final = "X-Request-ID"
MAX_CHAINED_ERRORS: Final = 20  # errors of one line; each names the one before it
_LINE_ENDS: Final = str.maketrans({"\n": "\\n", "\r": "\\r", "\x1b": "\\x1b"})


class LineFormatter(logging.Formatter):
    """A line for a person: time, level, logger, message, and in brackets what it belongs to."""

    def format(self, record: logging.LogRecord) -> str:
        at = f"{datetime.fromtimestamp(record.created, UTC):%Y-%m-%d %H:%M:%S}"
        # One line a message: whoever sends us a line end must not write lines of their own.
        said = record_message(record).translate(_LINE_ENDS)
        work = " ".join(f"{name}={value}" for name, value in record_context(record).items())
        line = f"{at} {record.levelname} {record.name} {said}" + (f" [{work}]" if work else "")
        trace = record_traceback(record)
        return f"{line}\n{trace}" if trace else line


class JsonFormatter(logging.Formatter):
    """One object a line: at, level, logger, message, process, thread; run, training, task, request; trace."""

    def format(self, record: logging.LogRecord) -> str:
        told: dict[str, Any] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record_message(record),
            "process": record.process,
            "thread": record.threadName,
            **record_context(record),
        }
        trace = record_traceback(record)
        if trace:
            told["trace"] = trace
        # In ASCII: half a surrogate pair, which a source may send, is no UTF-8.
        return json.dumps(told, default=str)


def record_message(record: logging.LogRecord) -> str:
    return strip_row_details(record.getMessage())


def record_context(record: logging.LogRecord) -> dict[str, str]:
    """The run, training, task and request that a line belongs to, as far as there is one."""
    work = {name: str(value) for name, value in LOG_CONTEXT.get().items()}
    # Celery's own lines come before and after the task; Django's of an answer after the request.
    task = getattr(record, "data", None)
    if "task" not in work and isinstance(task, dict) and task.get("id"):
        work["task"] = str(task["id"])
    request = getattr(getattr(record, "request", None), "log_id", None)
    if "request" not in work and request:
        work["request"] = str(request)
    return work


def record_traceback(record: logging.LogRecord) -> str:
    """The traceback of the line's error and of those that caused it, first cause first; empty where none."""
    error = record.exc_info[1] if record.exc_info else None
    parts = ["".join(reversed(list(_chained_tracebacks(error))))] if error is not None else []
    if record.stack_info:
        parts.append(record.stack_info)
    return "\n".join(parts).rstrip()


def strip_row_details(text: str) -> str:
    """A text without what PostgreSQL says of the row that it refused, which may hold a person's data."""
    return _ROW_DETAILS.sub("", text)


def describe_error(error: BaseException) -> str:
    """An error's type and what it says, without any row."""
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    said = strip_row_details(str(error))
    if _is_database_error(error):
        # In whatever language: the first line is the rule that was broken, the others are the row.
        said = said.partition("\n")[0]
    return f"{name}: {said}" if said else name


def request_id_middleware(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[..., HttpResponse]:
    """Middleware: each request has an id, the proxy's or a new one, in its log lines and in its answer."""

    def answer(request: HttpRequest) -> HttpResponse:
        sent = request.headers.get(REQUEST_ID_HEADER, "")
        name = sent if _REQUEST_ID.fullmatch(sent) else uuid.uuid4().hex
        request.log_id = name  # type: ignore[attr-defined]
        with add_log_context(request=name):
            response = get_response(request)
        response.headers[REQUEST_ID_HEADER] = name
        return response

    return answer


def _chained_tracebacks(error: BaseException) -> Iterator[str]:
    """This error's traceback, then that of what it came from, and so on."""
    seen: set[int] = set()
    link = ""
    at: BaseException | None = error
    while at is not None and id(at) not in seen and len(seen) < MAX_CHAINED_ERRORS:
        seen.add(id(at))
        yield _format_traceback(at) + link
        link = "\nWhich caused:\n\n" if at.__cause__ else "\nAnd while that was handled:\n\n"
        at = at.__cause__ or (None if at.__suppress_context__ else at.__context__)


def _format_traceback(error: BaseException) -> str:
    # Not the traceback module's own: it writes all that the error says.
    frames = "".join(format_tb(error.__traceback__))
    head = f"Traceback (most recent call last):\n{frames}" if frames else ""
    inner = "".join(
        f"  of which: {describe_error(one)}\n"
        for one in getattr(error, "exceptions", ())[:MAX_CHAINED_ERRORS]
    )
    return f"{head}{describe_error(error)}\n{inner}"


def _is_database_error(error: BaseException) -> bool:
    # psycopg is only there with PostgreSQL; its errors are told by where they come from.
    return isinstance(error, DjangoDatabaseError) or type(error).__module__.partition(".")[0] == "psycopg"

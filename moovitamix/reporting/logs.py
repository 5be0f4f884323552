"""Log formatters (lines or JSON); they add the run, task or request, and remove rows from database errors."""

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

# After the first line, PostgreSQL names the rejected row in labelled lines (DETAIL, CONTEXT, HINT, QUERY,
# LINE 1 ...), in the client's language. The pattern also matches line ends as `repr` writes them.
_ROW_DETAILS: Final = re.compile(r"(?:[\r\n]|\\n)[ \t]*[A-ZÀ-ÖØ-ÞА-Я]{4,}(?: \d+)?[ \u00a0]?:.*", re.DOTALL)
# A request id from a proxy is kept if it has only harmless characters.
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{8,64}")
REQUEST_ID_HEADER: Final = "X-Request-ID"
MAX_CHAINED_ERRORS: Final = 20  # causes that one log entry shows
_LINE_ENDS: Final = str.maketrans({"\n": "\\n", "\r": "\\r", "\x1b": "\\x1b"})


class LineFormatter(logging.Formatter):
    """Lines for people: time, level, logger, message and, in brackets, the context."""

    def format(self, record: logging.LogRecord) -> str:
        at = f"{datetime.fromtimestamp(record.created, UTC):%Y-%m-%d %H:%M:%S}"
        # Otherwise line ends in data could forge a log line.
        message = record_message(record).translate(_LINE_ENDS)
        context = " ".join(f"{name}={value}" for name, value in record_context(record).items())
        line = f"{at} {record.levelname} {record.name} {message}" + (f" [{context}]" if context else "")
        trace = record_traceback(record)
        return f"{line}\n{trace}" if trace else line


class JsonFormatter(logging.Formatter):
    """One JSON object per line: at, level, logger, message, process, thread, the context, and trace."""

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, Any] = {
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
            entry["trace"] = trace
        # As ASCII: a lone surrogate, which a source may send, can't be encoded as UTF-8.
        return json.dumps(entry, default=str)


def record_message(record: logging.LogRecord) -> str:
    return strip_row_details(record.getMessage())


def record_context(record: logging.LogRecord) -> dict[str, str]:
    """The run, training, task and request of a log entry, if known."""
    context = {name: str(value) for name, value in LOG_CONTEXT.get().items()}
    # Celery logs before and after the task's own context; Django logs responses after the request's.
    task = getattr(record, "data", None)
    if "task" not in context and isinstance(task, dict) and task.get("id"):
        context["task"] = str(task["id"])
    request = getattr(getattr(record, "request", None), "log_id", None)
    if "request" not in context and request:
        context["request"] = str(request)
    return context


def record_traceback(record: logging.LogRecord) -> str:
    """Tracebacks of the error and its causes, first cause first; empty without an error."""
    error = record.exc_info[1] if record.exc_info else None
    parts = ["".join(reversed(list(_chained_tracebacks(error))))] if error is not None else []
    if record.stack_info:
        parts.append(record.stack_info)
    return "\n".join(parts).rstrip()


def strip_row_details(text: str) -> str:
    """Remove PostgreSQL's details about a rejected row, which may be personal data."""
    return _ROW_DETAILS.sub("", text)


def describe_error(error: BaseException) -> str:
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    message = strip_row_details(str(error))
    if _is_database_error(error):
        # In every language, the first line names the violated constraint and the others the row.
        message = message.partition("\n")[0]
    return f"{name}: {message}" if message else name


def request_id_middleware(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[..., HttpResponse]:
    """Add a request id, the proxy's or a new one, to log entries and the response."""

    def respond(request: HttpRequest) -> HttpResponse:
        sent = request.headers.get(REQUEST_ID_HEADER, "")
        request_id = sent if _REQUEST_ID.fullmatch(sent) else uuid.uuid4().hex
        request.log_id = request_id  # type: ignore[attr-defined]
        with add_log_context(request=request_id):
            response = get_response(request)
        response.headers[REQUEST_ID_HEADER] = request_id
        return response

    return respond


def _chained_tracebacks(error: BaseException) -> Iterator[str]:
    seen: set[int] = set()
    link = ""
    current: BaseException | None = error
    while current is not None and id(current) not in seen and len(seen) < MAX_CHAINED_ERRORS:
        seen.add(id(current))
        yield _format_traceback(current) + link
        link = "\nWhich caused:\n\n" if current.__cause__ else "\nAnd while that was handled:\n\n"
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)


def _format_traceback(error: BaseException) -> str:
    # Not `traceback.format_exception`, which prints the whole error message.
    frames = "".join(format_tb(error.__traceback__))
    head = f"Traceback (most recent call last):\n{frames}" if frames else ""
    inner = "".join(
        f"  of which: {describe_error(one)}\n"
        for one in getattr(error, "exceptions", ())[:MAX_CHAINED_ERRORS]
    )
    return f"{head}{describe_error(error)}\n{inner}"


def _is_database_error(error: BaseException) -> bool:
    # By module name, because psycopg is only installed with PostgreSQL.
    return isinstance(error, DjangoDatabaseError) or type(error).__module__.partition(".")[0] == "psycopg"

"""Error responses of the API, all in one format.

Every error is `{"error": {"code": ..., "message": ..., "fields": {...}}}`; `fields` holds validation errors
by field name and is empty for other errors.
"""

import logging
import sys
from collections.abc import Mapping
from typing import Any, Final

import orjson
from django.core.exceptions import RequestDataTooBig, SuspiciousOperation, TooManyFieldsSent
from django.db import DatabaseError, InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, HttpResponsePermanentRedirect
from django.template.loader import render_to_string
from django.urls import Resolver404, resolve, reverse
from django.utils import translation
from django.views.decorators.csrf import csrf_exempt
from rest_framework import exceptions
from rest_framework.response import Response
from rest_framework.views import exception_handler

from ingestion.jobs.database_patience import is_unwritable
from moovitamix.api.rendering import API_PREFIX

logger = logging.getLogger(__name__)

HOW_TO_AUTHENTICATE: Final = (
    "Send a key with the request, as `Authorization: Bearer KEY`. "
    "A key is made in the admin, or with: python manage.py apikey NAME --user USER"
)
TOO_MANY_PARAMETERS: Final = "The request has too many parameters; at most 1000 are read."
INTERNAL_ERROR_MESSAGE: Final = "An internal error occurred and was logged. Try again later."


class PayloadTooLarge(exceptions.APIException):
    status_code = 413
    default_detail = "The body is too large; send it in parts."
    default_code = "payload_too_large"


class Unavailable(exceptions.APIException):
    """The database does not answer, can't be written, or waits too long for another writer."""

    status_code = 503
    default_detail = "The database does not answer or can't be written. Try again later."
    default_code = "unavailable"
    wait = 5  # seconds, as Retry-After


def _is_database_away(error: BaseException | None) -> bool:
    """Whether the database is away, restarted, full or, after a failover, read-only."""
    if isinstance(error, OperationalError | InterfaceError):
        return True
    return isinstance(error, DatabaseError) and is_unwritable(error)


def answer_error(error: Exception, context: Mapping[str, Any]) -> Response:
    if isinstance(error, RequestDataTooBig):
        error = PayloadTooLarge()
    elif isinstance(error, SuspiciousOperation):
        # Too many parameters, or a session that was forged: Django's pages answer 400 as well.
        error = exceptions.ParseError(TOO_MANY_PARAMETERS if isinstance(error, TooManyFieldsSent) else None)
    elif _is_database_away(error):
        request = context["request"]
        logger.error("database_unavailable method=%s path=%s", request.method, request.path, exc_info=error)
        error = Unavailable()
    answer = exception_handler(error, context)
    if answer is None:
        request = context["request"]
        logger.error("api_request_failed method=%s path=%s", request.method, request.path, exc_info=error)
        return Response(error_body("internal_error", INTERNAL_ERROR_MESSAGE), status=500)
    if isinstance(error, exceptions.NotAuthenticated):
        answer.data = error_body(error.default_code, HOW_TO_AUTHENTICATE)
    elif isinstance(error, exceptions.ValidationError):
        answer.data = error_body("invalid", *_validation_message(error))
    elif isinstance(error, exceptions.APIException):
        answer.data = error_body(error.default_code, str(error.detail))
    else:
        is_missing = isinstance(error, Http404)
        answer.data = error_body(
            "not_found" if is_missing else "permission_denied",
            str(error) or ("Not found." if is_missing else "Permission denied."),
        )
    return answer


def error_body(code: str, message: str, fields: Mapping[str, Any] | None = None) -> dict[str, Any]:
    return {"error": {"code": code, "message": message, "fields": dict(fields or {})}}


def bad_request_page(request: HttpRequest, exception: Exception) -> HttpResponse:
    """The response to a request that Django rejects before any view."""
    return _error_page(request, 400, "bad_request", "This request is malformed.")


def permission_denied_page(
    request: HttpRequest, exception: Exception | None = None, reason: str = ""
) -> HttpResponse:
    """The 403 response, also for forms without a valid CSRF token, which come with a `reason`."""
    return _error_page(request, 403, "permission_denied", "Permission denied.")


def not_found_page(request: HttpRequest, exception: Exception) -> HttpResponse:
    return _error_page(request, 404, "not_found", f"{request.path} does not exist.")


def server_error_page(request: HttpRequest) -> HttpResponse:
    """The response to an exception outside the API's views; Django has logged it."""
    if not _is_database_away(sys.exception()):
        return _error_page(request, 500, "internal_error", INTERNAL_ERROR_MESSAGE)
    answer = _error_page(request, 503, Unavailable.default_code, Unavailable.default_detail)
    answer["Retry-After"] = str(Unavailable.wait)
    return answer


@csrf_exempt
def unknown_route(request: HttpRequest) -> HttpResponseBase:
    """Redirect `songs` to `songs/`; any other unknown path under /api/ gets a 404 in the API's format."""
    slashed = _path_with_slash(request)
    if slashed and request.method in {"GET", "HEAD"}:
        query = request.META.get("QUERY_STRING", "")
        return HttpResponsePermanentRedirect(f"{slashed}?{query}" if query else slashed)
    hint = f"Did you mean {slashed}?" if slashed else f"The documentation is at {reverse('api-docs')}."
    return _json_error(404, "not_found", f"{request.path} does not exist. {hint}")


def _error_page(request: HttpRequest, code: int, name: str, message: str) -> HttpResponse:
    if not request.path_info.startswith(API_PREFIX):
        # Without a request context: its processors read the user, and the database may be away.
        context = {"code": code, "request_id": getattr(request, "log_id", "")}
        with translation.override(translation.get_language_from_request(request)):
            return HttpResponse(render_to_string("error.html", context), status=code)
    return HttpResponse(orjson.dumps(error_body(name, message)), status=code, content_type="application/json")


def _json_error(status: int, code: str, message: str) -> HttpResponse:
    body = orjson.dumps(error_body(code, message))
    return HttpResponse(body, status=status, content_type="application/json")


def _validation_message(error: exceptions.ValidationError) -> tuple[str, dict[str, list[str]]]:
    """A message, and the errors by field, such as `2.kind` for `kind` of the third event."""
    fields: dict[str, list[str]] = {}
    _flatten(error.detail, "", fields)
    shown = "; ".join(f"{name}: {' '.join(texts)}" for name, texts in list(fields.items())[:5])
    return f"Invalid request. {shown}", fields


def _flatten(detail: Any, name: str, into: dict[str, list[str]]) -> None:
    if isinstance(detail, Mapping):
        pairs = list(detail.items())
    elif isinstance(detail, list) and any(isinstance(part, Mapping | list) for part in detail):
        pairs = list(enumerate(detail))
    else:
        texts = detail if isinstance(detail, list) else [detail]
        into.setdefault(name or "body", []).extend(str(text) for text in texts)
        return
    for key, part in pairs:
        if part:
            inner = name if key == "non_field_errors" else f"{name}.{key}" if name else str(key)
            _flatten(part, inner, into)


def _path_with_slash(request: HttpRequest) -> str:
    path: str = request.path_info
    if path.endswith("/"):
        return ""
    try:
        found = resolve(f"{path}/")
    except Resolver404:
        return ""
    return "" if found.url_name == "api-unknown" else f"{request.path}/"

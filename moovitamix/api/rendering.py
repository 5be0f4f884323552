"""How the API takes and gives what it speaks of: JSON, pages by cursor, in UTC, for one caller alone."""

import json
from collections.abc import Callable
from datetime import UTC
from typing import Any, Final

import orjson
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.cache import patch_vary_headers
from rest_framework import exceptions
from rest_framework.parsers import JSONParser
from rest_framework.renderers import JSONRenderer

API_PREFIX: Final = "/api/"


class OrjsonRenderer(JSONRenderer):
    """JSON by orjson, which took 1/6 of json's time for a list of 20 recommendations."""

    def render(self, data: Any, accepted_media_type: Any = None, renderer_context: Any = None) -> bytes:
        if data is None:
            return b""
        try:
            # The pages that staff browse ask for it.
            indented = orjson.OPT_INDENT_2 if (renderer_context or {}).get("indent") else 0
            return orjson.dumps(data, default=_serialize_unknown, option=indented)
        except orjson.JSONEncodeError:
            # Whole numbers beyond 64 bits and halves of surrogate pairs, which a client may have sent us.
            return json.dumps(data, default=_serialize_unknown).encode()


class OrjsonParser(JSONParser):
    """JSON by orjson, which refuses what json breaks at or lets by: 100 000 brackets, NaN."""

    def parse(self, stream: Any, media_type: Any = None, parser_context: Any = None) -> Any:
        try:
            return orjson.loads(stream.read())
        except orjson.JSONDecodeError as error:
            raise exceptions.ParseError(f"This is no JSON: {error}.") from None


def api_response_middleware(
    get_response: Callable[[HttpRequest], HttpResponse],
) -> Callable[..., HttpResponse]:
    """Middleware: the API's times are in UTC, and no cache may hand one caller's answer to another."""

    def answer(request: HttpRequest) -> HttpResponse:
        if not request.path_info.startswith(API_PREFIX):
            return get_response(request)
        # TIME_ZONE is the schedule's, and the admin's.
        with timezone.override(UTC):
            response = get_response(request)
        response.headers.setdefault("Cache-Control", "private, no-store")
        patch_vary_headers(response, ("Authorization", "Cookie"))
        return response

    return answer


def _serialize_unknown(value: Any) -> Any:
    """What orjson does not know: lazy texts, decimals, durations."""
    return str(value)

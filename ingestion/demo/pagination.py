"""Pages of JSON, with the parameters and errors of the real source."""

from collections import OrderedDict
from collections.abc import Hashable, Sequence
from threading import Lock
from typing import Annotated, Any, Final, NamedTuple
from urllib.parse import parse_qsl

import orjson
from pydantic import Field, TypeAdapter, ValidationError

from ingestion.demo.http import Response, json_response
from ingestion.demo.source import RESOURCES

DEFAULT_PAGE_SIZE: Final = 100
MAX_PAGE_SIZE: Final = 100
# About 30 KB each, so the cache takes at most 120 MB and can serve a repeated read.
MAX_CACHED_PAGES: Final = 4096
# The real source's framework validates with the same library, so the error texts are the same.
QUERY_PARAMETERS: Final[dict[str, TypeAdapter[int]]] = {
    "page": TypeAdapter(Annotated[int, Field(ge=1)]),
    "size": TypeAdapter(Annotated[int, Field(ge=1, le=MAX_PAGE_SIZE)]),
}
PARAMETER_DEFAULTS: Final = {"page": 1, "size": DEFAULT_PAGE_SIZE}


class PageQuery(NamedTuple):
    resource: str
    page: int
    size: int


def parse_target(target: str, host: str) -> PageQuery | Response:
    """The requested page, or a 404, 422 or (for a trailing slash) 307 response."""
    path, _, query = target.partition("?")
    resource = path[1:]
    if resource in RESOURCES:
        return _validate_query(resource, dict(parse_qsl(query, keep_blank_values=True)))
    if path.endswith("/") and path[1:-1] in RESOURCES:
        goal = f"http://{host}{path[:-1]}{'?' if query else ''}{query}"
        return Response(307, b"", "text/plain", (("location", goal),))
    return json_response(404, {"detail": "Not Found"})


def render_page(rows: Sequence[Any], query: PageQuery, total: int) -> bytes:
    first = (query.page - 1) * query.size
    items = orjson.dumps(rows[first : first + query.size])
    # Not orjson: it cannot write a page number of more than 64 bits.
    numbers = (total, query.page, query.size, -(-total // query.size))
    return b'{"items":%b,"total":%d,"page":%d,"size":%d,"pages":%d}' % (items, *numbers)


class PageCache:
    def __init__(self, max_pages: int = MAX_CACHED_PAGES) -> None:
        self._bodies: OrderedDict[Hashable, bytes] = OrderedDict()
        self._most = max_pages
        self._lock = Lock()

    def get(self, key: Hashable) -> bytes | None:
        return self._bodies.get(key)

    def put(self, key: Hashable, body: bytes) -> None:
        with self._lock:
            self._bodies[key] = body
            if len(self._bodies) > self._most:
                self._bodies.popitem(last=False)


def _validate_query(resource: str, given: dict[str, str]) -> PageQuery | Response:
    values, complaints = dict(PARAMETER_DEFAULTS), []
    for name, adapter in QUERY_PARAMETERS.items():
        if name in given:
            try:
                values[name] = adapter.validate_python(given[name])
            except ValidationError as error:
                complaints += [
                    {"type": one["type"], "loc": ["query", name], **_error_details(one)}
                    for one in error.errors(include_url=False)
                ]
    if complaints:
        return json_response(422, {"detail": complaints})
    return PageQuery(resource, values["page"], values["size"])


def _error_details(error: Any) -> dict[str, Any]:
    return {name: error[name] for name in ("msg", "input", "ctx") if name in error}

"""From an address to the bytes of a page, as the source answers it."""

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
# Some 30 KB each: what a reader asks again is there, and a million rows do not stay in memory.
MAX_CACHED_PAGES: Final = 4096
# The source's framework checks its parameters with the same library, so the same texts come out.
QUERY_PARAMETERS: Final[dict[str, TypeAdapter[int]]] = {
    "page": TypeAdapter(Annotated[int, Field(ge=1)]),
    "size": TypeAdapter(Annotated[int, Field(ge=1, le=MAX_PAGE_SIZE)]),
}
PARAMETER_DEFAULTS: Final = {"page": 1, "size": DEFAULT_PAGE_SIZE}


class PageQuery(NamedTuple):
    """One page that was asked for."""

    resource: str
    page: int
    size: int


def parse_target(target: str, host: str) -> PageQuery | Response:
    """The page that an address names, or the refusal: 404, 422, or 307 for a slash too many."""
    path, _, query = target.partition("?")
    resource = path[1:]
    if resource in RESOURCES:
        return _validate_query(resource, dict(parse_qsl(query, keep_blank_values=True)))
    if path.endswith("/") and path[1:-1] in RESOURCES:
        goal = f"http://{host}{path[:-1]}{'?' if query else ''}{query}"
        return Response(307, b"", "text/plain", (("location", goal),))
    return json_response(404, {"detail": "Not Found"})


def render_page(rows: Sequence[Any], query: PageQuery, total: int) -> bytes:
    """A page as JSON, its keys in the source's order."""
    first = (query.page - 1) * query.size
    items = orjson.dumps(rows[first : first + query.size])
    # By hand, for a page number may have more digits than orjson writes.
    numbers = (total, query.page, query.size, -(-total // query.size))
    return b'{"items":%b,"total":%d,"page":%d,"size":%d,"pages":%d}' % (items, *numbers)


class PageCache:
    """The last bodies served, by page and version of the rows."""

    def __init__(self, max_pages: int = MAX_CACHED_PAGES) -> None:
        self._bodies: OrderedDict[Hashable, bytes] = OrderedDict()
        self._most = max_pages
        self._lock = Lock()

    def get(self, key: Hashable) -> bytes | None:
        """The body, if it is still there."""
        return self._bodies.get(key)

    def put(self, key: Hashable, body: bytes) -> None:
        """Keep a body, and drop the oldest one if there are too many."""
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

"""JSON bodies, read fast; and read all the same where one row of a page is not quite JSON."""

import json
from dataclasses import dataclass
from typing import Any

import orjson

from ingestion.source.errors import AttemptFailed


def parse_json(body: bytes) -> Any:
    """The value a body holds.

    Lone surrogates, NaN and bytes that are no UTF-8 spoil their row, which validation refuses by itself, and
    not the ninety-nine beside it: orjson refuses the whole page, the standard library does not.

    Raises:
        ValueError: not JSON.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        pass
    try:
        return json.loads(body.decode("utf-8-sig", "surrogateescape"))
    except RecursionError as error:
        raise ValueError("nested too deep") from error


def dump_json(value: Any) -> str:
    """A value as ASCII JSON, with whatever `parse` took in escaped."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


# What giving up on these means: the source answers, but never in the promised shape.
ENVELOPE_ERROR = "envelope"


@dataclass(frozen=True, slots=True)
class PageResponse:
    """One page as the source sent it; `pages` is at least 1, for an empty list is one empty page."""

    number: int
    rows: list[Any]
    total: int
    size: int
    pages: int
    body: bytes


def parse_page(body: bytes, content_type: str, number: int) -> PageResponse:
    """The page with this number.

    Raises:
        AttemptFailed: no JSON, or not the promised envelope.
    """
    document = _parse_document(body, content_type)
    wrong = _envelope_error(document, number)
    if wrong:
        raise AttemptFailed(ENVELOPE_ERROR, f"the envelope is broken: {wrong}")
    pages = max(1, document["pages"])
    return PageResponse(number, document["items"], document["total"], document["size"], pages, body)


def _parse_document(body: bytes, content_type: str) -> Any:
    try:
        return parse_json(body)
    except ValueError:
        pass
    if "html" in content_type.lower() or body.lstrip()[:1] == b"<":
        raise AttemptFailed("not_json", "answered a web page instead of JSON")
    raise AttemptFailed("bad_json", f"answered {len(body)} bytes that are no JSON")


def _envelope_error(document: Any, number: int) -> str | None:
    if not isinstance(document, dict):
        return f"it is a {type(document).__name__}, not an object"
    if not isinstance(document.get("items"), list):
        return "items is missing or no list"
    for name, least in (("total", 0), ("page", 1), ("size", 1), ("pages", 0)):
        value = document.get(name)
        # A bool is an int to Python, not to the contract.
        if type(value) is not int or value < least:
            return f"{name} is missing or no whole number from {least}"
    if document["page"] != number:
        return f"page {document['page']} came for page {number}"
    if document["pages"] > max(1, document["total"]):
        return f"{document['pages']} pages for {document['total']} rows"
    return None

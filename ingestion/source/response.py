"""Parses the source's responses: JSON, and the envelope around a page of rows."""

import codecs
import json
from dataclasses import dataclass
from email.message import Message
from typing import Any, Final

import orjson

from ingestion.source.errors import AttemptFailed

MAX_DIGITS: Final = 1_000


def parse_json(body: bytes) -> Any:
    """Parse JSON that may have lone surrogates, NaN or invalid UTF-8 inside strings.

    orjson would reject the whole page; here the validation rejects only the rows with bad values.

    Raises:
        ValueError: the body is not JSON.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        pass
    try:
        return json.loads(body.decode("utf-8-sig", "surrogateescape"), parse_int=_read_integer)
    except RecursionError as error:
        raise ValueError("nested too deep") from error


def _read_integer(digits: str) -> int | float:
    # Python cannot read longer integers. No field has such values, and one of them must not lose the page.
    return int(digits) if len(digits) <= MAX_DIGITS else float(digits)


def to_utf8(body: bytes, content_type: str) -> bytes:
    """The body in UTF-8, decoded with the charset that the response declares.

    The charset is ignored if it is unknown or does not fit the body, because JSON is UTF-8 by its standard.
    It is also ignored if the body is valid UTF-8, because many servers add ISO-8859-1 to all responses.
    """
    header = Message()
    header["Content-Type"] = content_type
    charset = header.get_content_charset("utf-8")
    try:
        if codecs.lookup(charset).name == "utf-8" or _is_utf8(body):
            return body
        return body.decode(charset).encode()
    except (LookupError, UnicodeError, ValueError):
        return body


def _is_utf8(body: bytes) -> bool:
    """Whether the body is UTF-8 with non-ASCII letters, which are not valid in another charset."""
    # Text with NUL is UTF-16, because JSON has none.
    if body.isascii() or b"\0" in body:
        return False
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


def dump_json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


# Kind of failed attempt that breaks the source's contract if no attempt succeeds.
ENVELOPE_ERROR = "envelope"


@dataclass(frozen=True, slots=True)
class PageResponse:
    """A page as the source sent it; `pages` is at least 1, also for an empty list."""

    number: int
    rows: list[Any]
    total: int
    size: int
    pages: int
    body: bytes


def parse_page(body: bytes, content_type: str, number: int) -> PageResponse:
    """Parse a response; raises `AttemptFailed` if it is not JSON or has no valid envelope."""
    body = to_utf8(body, content_type)
    document = _parse_document(body, content_type)
    problem = _envelope_error(document, number)
    if problem:
        raise AttemptFailed(ENVELOPE_ERROR, f"the envelope is not valid: {problem}")
    pages = max(1, document["pages"])
    return PageResponse(number, document["items"], document["total"], document["size"], pages, body)


def _parse_document(body: bytes, content_type: str) -> Any:
    try:
        return parse_json(body)
    except ValueError:
        pass
    if "html" in content_type.lower() or body.lstrip()[:1] == b"<":
        raise AttemptFailed("not_json", "answered a web page instead of JSON")
    raise AttemptFailed("bad_json", f"answered {len(body)} bytes that are not JSON")


def _envelope_error(document: Any, number: int) -> str | None:
    if not isinstance(document, dict):
        return f"it is a {type(document).__name__}, not an object"
    if not isinstance(document.get("items"), list):
        return "items is missing or not a list"
    for name, least in (("total", 0), ("page", 1), ("size", 1), ("pages", 0)):
        value = document.get(name)
        # Not isinstance: a bool is an int in Python.
        if type(value) is not int or value < least:
            return f"{name} is missing or not a whole number of at least {least}"
    if document["page"] != number:
        return f"page {document['page']} came for page {number}"
    if document["pages"] > max(1, document["total"]):
        return f"{document['pages']} pages for {document['total']} rows"
    return None

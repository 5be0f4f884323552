"""JSON bodies, read fast; and read all the same where one row of a page is not quite JSON."""

import json
from typing import Any

import orjson


def parse(body: bytes) -> Any:
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


def dump(value: Any) -> str:
    """A value as ASCII JSON, with whatever `parse` took in escaped."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))

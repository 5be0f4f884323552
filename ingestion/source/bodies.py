"""JSON bodies, read fast; and read all the same where one row of a page is not quite JSON."""

import json
from typing import Any

import orjson


def parse(body: bytes) -> Any:
    """The value a body holds.

    orjson refuses a whole page for half a surrogate pair or a NaN in one row; the standard library
    takes them, and the row is refused later on its own.

    Raises:
        ValueError: not JSON.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return json.loads(body)


def dump(value: Any) -> str:
    """A value as ASCII JSON, with whatever `parse` took in escaped."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))

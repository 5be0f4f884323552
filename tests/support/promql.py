"""Parses Prometheus expressions, as far as our own rules and dashboard need it."""

import re
from dataclasses import dataclass
from typing import Final

GROUPING: Final = re.compile(r"\b(?:by|on|ignoring|without|group_left|group_right)\s*\(([^)]*)\)")
RANGE: Final = re.compile(r"\[(?:\d+[smhd]|\$__range)\]")
SELECTOR: Final = re.compile(r"\b([a-zA-Z_]\w*)\b(?!\s*\()\s*(?:\{([^}]*)\})?")
MATCHER: Final = re.compile(r'\s*(\w+)(=~|!~|!=|=)"([^"]*)"\s*')
REST: Final = re.compile(r"(?:\s|[-+*/<>=!()]|\d+(?:\.\d+)?|\b(?:and|or|unless)\b)*")
FUNCTIONS: Final = ("absent", "avg", "avg_over_time", "changes", "delta", "max", "min", "sum", "time")


@dataclass(frozen=True)
class ParsedExpression:
    """The metrics of an expression, each with its conditions (label, operator, value), and other labels."""

    metrics: tuple[tuple[str, tuple[tuple[str, str, str], ...]], ...]
    grouped_by: frozenset[str]

    @property
    def names(self) -> set[str]:
        return {name for name, _ in self.metrics}


def parse_expression(expression: str) -> ParsedExpression:
    """Parse an expression.

    Raises:
        ValueError: a part of it is not understood.
    """
    bare = RANGE.sub("", GROUPING.sub(" ", expression))
    found = [one for one in SELECTOR.finditer(bare) if one[1] not in ("and", "or", "unless")]
    rest = SELECTOR.sub(lambda one: one[0] if one[1] in ("and", "or", "unless") else "", bare)
    for function in FUNCTIONS:
        rest = re.sub(rf"\b{function}\s*\(", "(", rest)
    if not REST.fullmatch(rest) or rest.count("(") != rest.count(")"):
        raise ValueError(f"not understood: {rest!r} of {expression!r}")
    labels = {name.strip() for inner in GROUPING.findall(expression) for name in inner.split(",")} - {""}
    return ParsedExpression(tuple((one[1], _conditions(one[2])) for one in found), frozenset(labels))


def _conditions(text: str | None) -> tuple[tuple[str, str, str], ...]:
    parts = [part for part in (text or "").split(",") if part.strip()]
    matched = [MATCHER.fullmatch(part) for part in parts]
    if None in matched:
        raise ValueError(f"conditions not understood: {text!r}")
    return tuple((one[1], one[2], one[3]) for one in matched if one)

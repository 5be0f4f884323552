"""Formats numbers for the recommender's pages."""

from typing import Final

THIN_SPACE: Final = "\N{NARROW NO-BREAK SPACE}"
NOT_MEASURED: Final = "not measured"


def format_count(count: int) -> str:
    return f"{count:,}".replace(",", THIN_SPACE)


def format_decimal(value: float | None, digits: int) -> str:
    return NOT_MEASURED if value is None else f"{value:.{digits}f}"


def format_percent(share: float) -> str:
    """A share as a percentage: 0.125 gives "12.5 %"."""
    return f"{100 * share:.1f}".removesuffix(".0") + f"{THIN_SPACE}%"


def format_ratio(ratio: float | None) -> str:
    return NOT_MEASURED if ratio is None else f"{ratio:.2f}{THIN_SPACE}\N{MULTIPLICATION SIGN}"

"""The parts of every chart on the models and experiment pages: colours, series, captions, table."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any, Final

from django.utils.safestring import SafeString
from django.utils.text import slugify

PRIMARY_COLOUR, SECONDARY_COLOUR, TERTIARY_COLOUR, LIMIT_COLOUR = (
    "var(--color-primary-600)",
    "#94a3b8",
    "#0d9488",
    "#d97706",
)
# As many as a chart has lines at most: versions that served within 90 days, kinds of drift.
SERIES_COLOURS: Final = (
    PRIMARY_COLOUR,
    SECONDARY_COLOUR,
    TERTIARY_COLOUR,
    LIMIT_COLOUR,
    "#be185d",
    "#2563eb",
    "#65a30d",
    "#7c2d12",
)


@dataclass(frozen=True)
class Plot:
    """A chart with its explanation; `recommender/plot.html` renders it.

    Attributes:
        kind: Chart.js type: line, bar or bubble.
        data: what Chart.js draws, as JSON; empty: nothing to draw yet, and the page shows `empty`.
        caption: one plain sentence or two: what the chart shows and what is good.
        formula: the exact definition, shown behind "How is this computed?".
        window, sample: the time span and the sample size, each a full sentence.
        rows: the same numbers as a table; the first row holds the headings.
        empty: what makes the chart appear.
        scale: y axis of `models.js`: from zero, a logarithmic ratio, or a share around one half.
    """

    title: str
    kind: str
    data: str
    caption: str
    formula: str = ""
    window: str = ""
    sample: str = ""
    rows: list[list[str]] = field(default_factory=list)
    empty: str = ""
    scale: str = "zero"

    @property
    def id(self) -> str:
        """HTML id of the chart's card."""
        return f"plot-{slugify(self.title)}"

    @property
    def table(self) -> SafeString:
        """The rows as HTML; template loops over them took a third of the page's rendering time."""
        lines = []
        for place, row in enumerate(self.rows):
            first, *rest = map(escape, row)
            scope, cell = ("row", "td") if place else ("col", 'th scope="col"')
            cells = "".join(f"<{cell}>{text}</{cell[:2]}>" for text in rest)
            lines.append(f'<tr><th scope="{scope}">{first}</th>{cells}</tr>')
        return SafeString("".join(lines))


def chart_series(label: str, values: Sequence[float | None], colour: str, **style: Any) -> dict[str, Any]:
    """One series of a chart; None leaves out a point, and the line continues across it."""
    data = [None if value is None else round(value, 4) for value in values]
    return {
        "label": label,
        "data": data,
        "borderColor": colour,
        "backgroundColor": colour,
        "spanGaps": True,
        **style,
    }


def limit_series(label: str, limit: float, length: int) -> dict[str, Any]:
    """A dashed horizontal line."""
    return chart_series(label, [limit] * length, LIMIT_COLOUR, borderDash=[6, 4], pointRadius=0)


def chart_json(labels: Sequence[str], series: Sequence[Mapping[str, Any]]) -> str:
    return json.dumps({"labels": list(labels), "datasets": list(series)})

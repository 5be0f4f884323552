"""Parts of all charts of models and experiments."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from django.utils.html import conditional_escape
from django.utils.safestring import SafeString
from django.utils.text import slugify
from django.utils.translation import gettext as _

PRIMARY_COLOUR, SECONDARY_COLOUR, TERTIARY_COLOUR, LIMIT_COLOUR = (
    "var(--color-primary-600)",
    "#94a3b8",
    "#0d9488",
    "#d97706",
)
# One colour per line. The most lines are versions that served within 90 days, or kinds of drift.
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
    title: str  # in English, since it names the element; pages show `heading`
    kind: str  # Chart.js type: line, bar or bubble
    data: str  # data of Chart.js as JSON; "" if there is nothing to draw yet, so that the page shows `empty`
    caption: str  # one or two sentences: what the chart shows, and which values are good
    formula: str = ""  # the exact definition, shown behind "How is this computed?"
    window: str = ""  # the time span in a full sentence; `sample`: the sample size in a full sentence
    sample: str = ""
    # The same numbers as a table; the first row holds the headings.
    rows: list[list[str]] = field(default_factory=list)
    empty: str = ""  # says what must happen before the chart appears
    scale: str = "zero"  # y axis of `models.js`: from zero, a logarithmic ratio, or a share around one half

    @property
    def heading(self) -> str:
        return _(self.title)

    @property
    def id(self) -> str:
        return f"plot-{slugify(self.title)}"

    @property
    def table(self) -> SafeString:
        """The rows as HTML, built in Python: template loops took a third of the page's time."""
        lines = []
        for place, row in enumerate(self.rows):
            first, *rest = map(conditional_escape, row)
            scope, cell = ("row", "td") if place else ("col", 'th scope="col"')
            cells = "".join(f"<{cell}>{text}</{cell[:2]}>" for text in rest)
            lines.append(f'<tr><th scope="{scope}">{first}</th>{cells}</tr>')
        return SafeString("".join(lines))


def chart_series(label: str, values: Sequence[float | None], colour: str, **style: Any) -> dict[str, Any]:
    """One line or bar series for Chart.js; None leaves out a point, and the line continues."""
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
    return chart_series(label, [limit] * length, LIMIT_COLOUR, borderDash=[6, 4], pointRadius=0)


def chart_json(labels: Sequence[str], series: Sequence[Mapping[str, Any]]) -> str:
    return json.dumps({"labels": list(labels), "datasets": list(series)})

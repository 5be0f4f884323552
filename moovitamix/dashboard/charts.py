"""Charts of measures over runs: what is drawn, how it is counted, and the same as a table."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from html import escape
from typing import Any, Final, NamedTuple

from django.urls import reverse
from django.utils.safestring import SafeString

from ingestion.models import AnomalyCheck
from ingestion.monitoring.run_metrics import METRICS, WHOLE_RUN, RunMetrics
from moovitamix.dashboard.formatting import (
    NOT_MEASURED,
    capitalize_first,
    format_clock,
    format_count,
    format_datetimes,
    format_measure,
    format_number,
)
from moovitamix.dashboard.queries import AnomalyCheckRow, ChecksByMeasure

RESOURCE_NAMES: Final = {
    "songs": "Songs",
    "users": "Listeners",
    "listening_history": "Sessions",
    WHOLE_RUN: "Whole run",
}
# Where a chart starts at nothing, a small part of a large number looks like what it is.
ZERO_BASED_UNITS: Final = {"share", "seconds"}
VERDICT_LABELS: Final = {
    AnomalyCheck.Verdict.LEARNING: "still learning what is usual",
    AnomalyCheck.Verdict.USUAL: "usual",
    AnomalyCheck.Verdict.LOW: "lower than usual",
    AnomalyCheck.Verdict.HIGH: "higher than usual",
}


@dataclass(frozen=True)
class ChartLine:
    """One line of a chart: a measure of the run as a whole or of one resource."""

    name: str
    measure: str
    resource: str = WHOLE_RUN

    def value_of(self, account: RunMetrics) -> float | None:
        return account.values.get((self.measure, self.resource))


@dataclass(frozen=True)
class ChartPanel:
    """A number with its chart.

    Attributes:
        shown: the newest value, and `url` the page of the rows behind it.
        usual: its band in words; empty where there is none.
        verdict: usual, low, high or learning; empty where nobody judged it.
        chart: what the page's script draws.
        said: the chart in a sentence, for those who do not see it.
    """

    key: str
    title: str
    shown: str
    url: str
    usual: str
    verdict: str
    chart: dict[str, Any]
    said: str


class ChartTableRow(NamedTuple):
    """One run in a chart's table."""

    run: int
    url: str
    at: str
    cells: list[str]


class ChartTable(NamedTuple):
    """A chart for readers; newest run first."""

    headings: list[str]
    rows: list[ChartTableRow]

    @property
    def body(self) -> SafeString:
        """The rows as HTML: Django's templates take fifteen times as long, and a page has a thousand rows."""
        return SafeString("".join(map(_row_html, self.rows)))


def build_panel(
    key: str, title: str, lines: Sequence[ChartLine], runs: Sequence[RunMetrics], bands: ChecksByMeasure
) -> ChartPanel:
    """A chart of one measure, or of two in the same unit, over the runs that measured the first.

    The band is the first line's; the number shown is the first line's in the newest run.
    """
    first = lines[0]
    measured = [account for account in runs if first.value_of(account) is not None]
    unit = METRICS[first.measure].unit
    last = measured[-1] if measured else None
    check = bands.get((last.run, first.measure, first.resource)) if last else None
    return ChartPanel(
        key,
        title,
        shown=format_measure(first.value_of(last), unit) if last else NOT_MEASURED,
        url=run_url(last.run) if last else "",
        usual=describe_expected_range(check, unit),
        verdict=check.verdict if check else "",
        chart=_chart_data(lines, measured, bands, unit),
        said=_describe_chart(
            title, [one for account in measured if (one := first.value_of(account)) is not None], unit
        ),
    )


def build_table(lines: Sequence[ChartLine], runs: Sequence[RunMetrics]) -> ChartTable:
    """The same numbers to be read, newest run first."""
    units = [METRICS[line.measure].unit for line in lines]
    cells = (
        [format_measure(line.value_of(account), unit) for line, unit in zip(lines, units, strict=True)]
        for account in reversed(runs)
    )
    return _chart_table([line.name for line in lines], runs, cells)


def build_status_panel(runs: Sequence[RunMetrics], url: str) -> ChartPanel:
    """How each run ended, one bar a run."""
    good = sum(account.status == "succeeded" for account in runs)
    chart = _run_axis(runs) | {"kind": "status", "statuses": [account.status for account in runs]}
    said = f"{good} of {format_count(len(runs), 'run')} succeeded."
    shown = f"{format_number(good)} of {format_number(len(runs))}" if runs else NOT_MEASURED
    return ChartPanel("status", "Runs that succeeded", shown, url, _other_outcomes(runs), "", chart, said)


def build_status_table(runs: Sequence[RunMetrics]) -> ChartTable:
    return _chart_table(["Status"], runs, ([account.status] for account in reversed(runs)))


def describe_expected_range(check: AnomalyCheckRow | None, unit: str) -> str:
    """A band in words."""
    if check is None:
        return ""
    if check.low is None or check.high is None:
        return f"learning, {format_count(check.n, 'run')} so far"
    return f"usual: {format_measure(check.low, unit)} to {format_measure(check.high, unit)}"


def describe_formulas(measures: Sequence[str]) -> str:
    """How each measure comes about, for a person who looks at its chart."""
    told = [one for name, one in METRICS.items() if name in measures]
    return capitalize_first("; ".join(f"{one.label}: {one.formula}" for one in told))


def describe_basis(runs: Sequence[RunMetrics], window: str, now: datetime) -> str:
    """Over which window a chart is, how many runs it rests on, and when it was last added to."""
    if not runs:
        return f"{window}, no run yet"
    last = runs[-1]
    count = format_count(len(runs), "run")
    return f"{window}, {count}, last one {format_clock(last.started_at, now)} (run {last.run})"


def _row_html(row: ChartTableRow) -> str:
    cells = "".join(f'<td class="mm-number">{escape(cell)}</td>' for cell in row.cells)
    return (
        f'<tr><th scope="row"><a class="mm-link" href="{row.url}">{row.run}</a></th>'
        f'<td class="mm-nowrap">{row.at}</td>{cells}</tr>'
    )


def run_url(run: int) -> str:
    before, after = _run_path()
    return f"{before}{run}{after}"


@lru_cache(maxsize=1)
def _run_path() -> tuple[str, str]:
    """What stands around a run's number: one address is made, not one for each of a page's thousand rows."""
    before, after = reverse("run", args=[0]).split("0")
    return before, after


def _chart_data(
    lines: Sequence[ChartLine], runs: Sequence[RunMetrics], bands: ChecksByMeasure, unit: str
) -> dict[str, Any]:
    first = lines[0]
    checks = [bands.get((account.run, first.measure, first.resource)) for account in runs]
    chart = _run_axis(runs) | {
        "kind": "line",
        "unit": unit,
        "zero": unit in ZERO_BASED_UNITS,
        "lines": [
            {"name": line.name, "values": [line.value_of(account) for account in runs]} for line in lines
        ],
    }
    if any(check is not None and check.low is not None for check in checks):
        chart["low"] = [check.low if check else None for check in checks]
        chart["high"] = [check.high if check else None for check in checks]
    return chart


def _run_axis(runs: Sequence[RunMetrics]) -> dict[str, Any]:
    return {
        "labels": format_datetimes(account.started_at for account in runs),
        "runs": [account.run for account in runs],
        "urls": run_url(0),
    }


def _describe_chart(title: str, values: Sequence[float], unit: str) -> str:
    if not values:
        return f"{title}: no run has measured it yet."
    low, high, last = (format_measure(value, unit) for value in (min(values), max(values), values[-1]))
    return f"{title} over {format_count(len(values), 'run')}: from {low} to {high}, last {last}."


def _chart_table(headings: list[str], runs: Sequence[RunMetrics], cells: Iterable[list[str]]) -> ChartTable:
    began = format_datetimes(account.started_at for account in reversed(runs))
    rows = [
        ChartTableRow(account.run, run_url(account.run), at, row)
        for account, at, row in zip(reversed(runs), began, cells, strict=True)
    ]
    return ChartTable(headings, rows)


def _other_outcomes(runs: Sequence[RunMetrics]) -> str:
    """How many ended otherwise, worst first."""
    counted = [
        (status, sum(account.status == status for account in runs))
        for status in ("failed", "refused", "abandoned", "partial")
    ]
    return ", ".join(f"{n} {status}" for status, n in counted if n)

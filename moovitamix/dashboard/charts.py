"""Charts of run metrics: data for Chart.js, a text description, and a table of the same numbers."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from html import escape
from typing import Any, Final, NamedTuple

from django.urls import reverse
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from ingestion.models import IngestionRun
from ingestion.monitoring.anomaly_detection import MIN_RUNS
from ingestion.monitoring.run_metrics import METRICS, WHOLE_RUN, RunMetrics
from moovitamix.dashboard.formatting import (
    NOT_MEASURED,
    capitalize_first,
    count_runs,
    format_clock,
    format_datetimes,
    format_measure,
    format_number,
)
from moovitamix.dashboard.queries import AnomalyCheckRow, ChecksByMeasure

Status = IngestionRun.Status
RESOURCE_NAMES: Final = {
    "songs": gettext_noop("Songs"),
    "users": gettext_noop("Listeners"),
    "listening_history": gettext_noop("Listening sessions"),
    WHOLE_RUN: gettext_noop("Whole run"),
}
# Axes of these units start at zero, so that small changes do not look large.
ZERO_BASED_UNITS: Final = {"share", "seconds"}
# Titles of the charts' vertical axes.
UNIT_TITLES: Final = {
    "rows": gettext_noop("rows"),
    "requests": gettext_noop("requests"),
    "rows/s": gettext_noop("rows per second"),
    "bytes": gettext_noop("bytes"),
    "share": gettext_noop("percent"),
    "seconds": gettext_noop("time"),
}
# Units of whole numbers; their expected range is shown in whole numbers.
COUNT_UNITS: Final = {"rows", "requests"}


@dataclass(frozen=True)
class ChartLine:
    name: str
    measure: str
    resource: str = WHOLE_RUN

    def value_of(self, run: RunMetrics) -> float | None:
        return run.values.get((self.measure, self.resource))


@dataclass(frozen=True)
class ChartPanel:
    key: str
    title: str
    value: str  # with its unit; `url` leads to its run
    url: str
    expected_range: str  # empty if the metric was not checked
    verdict: str  # result of the anomaly check: usual, low, high or learning; empty if not checked
    chart: dict[str, Any]  # the data that operations.js draws
    description: str  # the chart in one sentence, for screen readers
    legend: str  # what a point, a line and an area of the chart are, in words


class ChartTableRow(NamedTuple):
    run: int
    url: str
    started_at: str
    cells: list[str]


class ChartTable(NamedTuple):
    headings: list[str]
    rows: list[ChartTableRow]

    @property
    def body(self) -> SafeString:
        """The rows as HTML; a template takes fifteen times as long for a page's thousand rows."""
        return SafeString("".join(map(_row_html, self.rows)))


def build_panel(
    key: str, title: str, lines: Sequence[ChartLine], runs: Sequence[RunMetrics], checks: ChecksByMeasure
) -> ChartPanel:
    """A chart of one metric, or of several with the same unit, over the runs that measured it.

    The panel's value and expected range are those of the first line.
    """
    first = lines[0]
    measured = [run for run in runs if first.value_of(run) is not None]
    unit = METRICS[first.measure].unit
    last = measured[-1] if measured else None
    check = checks.get((last.run, first.measure, first.resource)) if last else None
    return ChartPanel(
        key,
        title,
        value=format_measure(first.value_of(last), unit) if last else _(NOT_MEASURED),
        url=run_url(last.run) if last else "",
        expected_range=describe_expected_range(check, unit),
        verdict=check.verdict if check else "",
        chart=_chart_data(lines, measured, checks, unit),
        description=_describe_chart(
            title, [value for run in measured if (value := first.value_of(run)) is not None], unit
        ),
        legend=_describe_marks(lines, measured, checks, unit),
    )


def build_table(lines: Sequence[ChartLine], runs: Sequence[RunMetrics]) -> ChartTable:
    units = [METRICS[line.measure].unit for line in lines]
    cells = (
        [format_measure(line.value_of(run), unit) for line, unit in zip(lines, units, strict=True)]
        for run in reversed(runs)
    )
    return _chart_table([line.name for line in lines], runs, cells)


def build_status_panel(runs: Sequence[RunMetrics], url: str) -> ChartPanel:
    succeeded = sum(run.status == "succeeded" for run in runs)
    chart = _run_axis(runs) | {
        "kind": "status",
        "statuses": [run.status for run in runs],
        "status_names": {str(one.value): status_name(one.value) for one in Status},
    }
    description = _("{succeeded} of {runs} succeeded.").format(
        succeeded=format_number(succeeded), runs=count_runs(len(runs))
    )
    value = _(NOT_MEASURED)
    if runs:
        value = _("{succeeded} of {runs}").format(
            succeeded=format_number(succeeded), runs=format_number(len(runs))
        )
    return ChartPanel(
        "status", _("Succeeded runs"), value, url, _other_outcomes(runs), "", chart, description,
        _("One bar per run."),
    )  # fmt: skip


def build_status_table(runs: Sequence[RunMetrics]) -> ChartTable:
    return _chart_table([_("Status")], runs, ([status_name(run.status)] for run in reversed(runs)))


def status_name(status: str) -> str:
    return _(str(Status(status).label)).lower()


def describe_expected_range(check: AnomalyCheckRow | None, unit: str) -> str:
    if check is None:
        return ""
    if check.low is None or check.high is None:
        return _("expected range known after {needed} runs ({n} so far)").format(needed=MIN_RUNS, n=check.n)
    low, high = check.low, check.high
    if unit in COUNT_UNITS:
        low, high = math.ceil(low), math.floor(high)
    return _("expected: {low} to {high}").format(
        low=format_measure(low, unit), high=format_measure(high, unit)
    )


def describe_formulas(measures: Sequence[str]) -> str:
    metrics = [metric for name, metric in METRICS.items() if name in measures]
    return capitalize_first("; ".join(f"{_(metric.label)}: {_(metric.formula)}" for metric in metrics))


def describe_basis(runs: Sequence[RunMetrics], window: str, now: datetime) -> str:
    if not runs:
        return _("{window}, no runs yet").format(window=window)
    last = runs[-1]
    count = count_runs(len(runs))
    return _("{window}, {count}, newest {started_at} (run {run})").format(
        window=window, count=count, started_at=format_clock(last.started_at, now), run=last.run
    )


def _row_html(row: ChartTableRow) -> str:
    cells = "".join(f'<td class="mm-number">{escape(cell)}</td>' for cell in row.cells)
    return (
        f'<tr><th scope="row"><a class="mm-link" href="{row.url}">{row.run}</a></th>'
        f'<td class="mm-nowrap">{row.started_at}</td>{cells}</tr>'
    )


def run_url(run: int) -> str:
    before, after = _run_path()
    return f"{before}{run}{after}"


@lru_cache(maxsize=1)
def _run_path() -> tuple[str, str]:
    before, after = reverse("run", args=[0]).split("0")
    return before, after


def _chart_data(
    lines: Sequence[ChartLine], runs: Sequence[RunMetrics], checks: ChecksByMeasure, unit: str
) -> dict[str, Any]:
    first = lines[0]
    line_checks = [checks.get((run.run, first.measure, first.resource)) for run in runs]
    chart = _run_axis(runs) | {
        "kind": "line",
        "unit": unit,
        "unit_title": _(UNIT_TITLES.get(unit, unit)),
        "zero": unit in ZERO_BASED_UNITS,
        "lines": [{"name": line.name, "values": [line.value_of(run) for run in runs]} for line in lines],
    }
    if any(check is not None and check.low is not None for check in line_checks):
        chart["low"] = [check.low if check else None for check in line_checks]
        chart["high"] = [check.high if check else None for check in line_checks]
    return chart


def _describe_marks(
    lines: Sequence[ChartLine], runs: Sequence[RunMetrics], checks: ChecksByMeasure, unit: str
) -> str:
    first = lines[0]
    parts = [_("One point per run; vertical axis: {unit}").format(unit=_(UNIT_TITLES.get(unit, unit)))]
    if len(lines) > 1:
        parts.append(
            _("solid: {solid}, dashed: {dashed}").format(
                solid=first.name.lower(), dashed=lines[1].name.lower()
            )
        )
    found = [checks.get((run.run, first.measure, first.resource)) for run in runs]
    if any(check is not None and check.low is not None for check in found):
        parts.append(_("shaded: expected range, red point: outside of it"))
    return f"{'; '.join(parts)}."


def _run_axis(runs: Sequence[RunMetrics]) -> dict[str, Any]:
    return {
        "labels": format_datetimes(run.started_at for run in runs),
        "runs": [run.run for run in runs],
        "urls": run_url(0),
    }


def _describe_chart(title: str, values: Sequence[float], unit: str) -> str:
    if not values:
        return _("{title}: not measured yet.").format(title=title)
    low, high, last = (format_measure(value, unit) for value in (min(values), max(values), values[-1]))
    return _("{title} over {values}: from {low} to {high}, last {last}.").format(
        title=title, values=count_runs(len(values)), low=low, high=high, last=last
    )


def _chart_table(headings: list[str], runs: Sequence[RunMetrics], cells: Iterable[list[str]]) -> ChartTable:
    started = format_datetimes(run.started_at for run in reversed(runs))
    rows = [
        ChartTableRow(run.run, run_url(run.run), started_at, row)
        for run, started_at, row in zip(reversed(runs), started, cells, strict=True)
    ]
    return ChartTable(headings, rows)


def _other_outcomes(runs: Sequence[RunMetrics]) -> str:
    counted = [
        (status, sum(run.status == status for run in runs))
        for status in (Status.FAILED, Status.REFUSED, Status.ABANDONED, Status.STOPPED, Status.PARTIAL)
    ]
    text = _("{n} {status}")
    return ", ".join(text.format(n=n, status=status_name(status)) for status, n in counted if n)

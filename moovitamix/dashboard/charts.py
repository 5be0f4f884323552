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
from ingestion.monitoring.run_metrics import MEASURES, WHOLE, Account
from moovitamix.dashboard.formatting import NOT_MEASURED, clock, count, figure, number, sentence, stamps
from moovitamix.dashboard.queries import Bands, Check

NAMES: Final = {"songs": "Songs", "users": "Listeners", "listening_history": "Sessions", WHOLE: "Whole run"}
# Where a chart starts at nothing, a small part of a large number looks like what it is.
FROM_ZERO: Final = {"share", "seconds"}
VERDICTS: Final = {
    AnomalyCheck.Verdict.LEARNING: "still learning what is usual",
    AnomalyCheck.Verdict.USUAL: "usual",
    AnomalyCheck.Verdict.LOW: "lower than usual",
    AnomalyCheck.Verdict.HIGH: "higher than usual",
}


@dataclass(frozen=True)
class Line:
    """One line of a chart: a measure of the run as a whole or of one resource."""

    name: str
    measure: str
    resource: str = WHOLE

    def value(self, account: Account) -> float | None:
        return account.values.get((self.measure, self.resource))


@dataclass(frozen=True)
class Panel:
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


class Row(NamedTuple):
    """One run in a chart's table."""

    run: int
    url: str
    at: str
    cells: list[str]


class Table(NamedTuple):
    """A chart for readers; newest run first."""

    headings: list[str]
    rows: list[Row]

    @property
    def body(self) -> SafeString:
        """The rows as HTML: Django's templates take fifteen times as long, and a page has a thousand rows."""
        return SafeString("".join(map(_row_html, self.rows)))


def panel(key: str, title: str, lines: Sequence[Line], runs: Sequence[Account], bands: Bands) -> Panel:
    """A chart of one measure, or of two in the same unit, over the runs that measured the first.

    The band is the first line's; the number shown is the first line's in the newest run.
    """
    first = lines[0]
    measured = [account for account in runs if first.value(account) is not None]
    unit = MEASURES[first.measure].unit
    last = measured[-1] if measured else None
    check = bands.get((last.run, first.measure, first.resource)) if last else None
    return Panel(
        key, title,
        shown=figure(first.value(last), unit) if last else NOT_MEASURED,
        url=run_url(last.run) if last else "",
        usual=usual(check, unit), verdict=check.verdict if check else "",
        chart=_chart(lines, measured, bands, unit),
        said=_said(title, [one for account in measured if (one := first.value(account)) is not None], unit),
    )  # fmt: skip


def table(lines: Sequence[Line], runs: Sequence[Account]) -> Table:
    """The same numbers to be read, newest run first."""
    units = [MEASURES[line.measure].unit for line in lines]
    cells = (
        [figure(line.value(account), unit) for line, unit in zip(lines, units, strict=True)]
        for account in reversed(runs)
    )
    return _table([line.name for line in lines], runs, cells)


def status_panel(runs: Sequence[Account], url: str) -> Panel:
    """How each run ended, one bar a run."""
    good = sum(account.status == "succeeded" for account in runs)
    chart = _axis(runs) | {"kind": "status", "statuses": [account.status for account in runs]}
    said = f"{good} of {count(len(runs), 'run')} succeeded."
    shown = f"{number(good)} of {number(len(runs))}" if runs else NOT_MEASURED
    return Panel("status", "Runs that succeeded", shown, url, _others(runs), "", chart, said)


def status_table(runs: Sequence[Account]) -> Table:
    return _table(["Status"], runs, ([account.status] for account in reversed(runs)))


def usual(check: Check | None, unit: str) -> str:
    """A band in words."""
    if check is None:
        return ""
    if check.low is None or check.high is None:
        return f"learning, {count(check.n, 'run')} so far"
    return f"usual: {figure(check.low, unit)} to {figure(check.high, unit)}"


def formulas(measures: Sequence[str]) -> str:
    """How each measure comes about, for a person who looks at its chart."""
    told = [one for name, one in MEASURES.items() if name in measures]
    return sentence("; ".join(f"{one.label}: {one.formula}" for one in told))


def basis(runs: Sequence[Account], window: str, now: datetime) -> str:
    """Over which window a chart is, how many runs it rests on, and when it was last added to."""
    if not runs:
        return f"{window}, no run yet"
    last = runs[-1]
    return f"{window}, {count(len(runs), 'run')}, last one {clock(last.started_at, now)} (run {last.run})"


def _row_html(row: Row) -> str:
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


def _chart(lines: Sequence[Line], runs: Sequence[Account], bands: Bands, unit: str) -> dict[str, Any]:
    first = lines[0]
    checks = [bands.get((account.run, first.measure, first.resource)) for account in runs]
    chart = _axis(runs) | {
        "kind": "line",
        "unit": unit,
        "zero": unit in FROM_ZERO,
        "lines": [{"name": line.name, "values": [line.value(account) for account in runs]} for line in lines],
    }
    if any(check is not None and check.low is not None for check in checks):
        chart["low"] = [check.low if check else None for check in checks]
        chart["high"] = [check.high if check else None for check in checks]
    return chart


def _axis(runs: Sequence[Account]) -> dict[str, Any]:
    return {
        "labels": stamps(account.started_at for account in runs),
        "runs": [account.run for account in runs],
        "urls": run_url(0),
    }


def _said(title: str, values: Sequence[float], unit: str) -> str:
    if not values:
        return f"{title}: no run has measured it yet."
    low, high, last = (figure(value, unit) for value in (min(values), max(values), values[-1]))
    return f"{title} over {count(len(values), 'run')}: from {low} to {high}, last {last}."


def _table(headings: list[str], runs: Sequence[Account], cells: Iterable[list[str]]) -> Table:
    began = stamps(account.started_at for account in reversed(runs))
    rows = [
        Row(account.run, run_url(account.run), at, row)
        for account, at, row in zip(reversed(runs), began, cells, strict=True)
    ]
    return Table(headings, rows)


def _others(runs: Sequence[Account]) -> str:
    """How many ended otherwise, worst first."""
    counted = [
        (status, sum(account.status == status for account in runs))
        for status in ("failed", "refused", "abandoned", "partial")
    ]
    return ", ".join(f"{n} {status}" for status, n in counted if n)

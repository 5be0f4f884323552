"""The six metric cards of the operations page: status, duration, volume, resource use, errors, latency."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, NamedTuple
from urllib.parse import urlencode

from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop as _n
from django.utils.translation import ngettext

from ingestion.monitoring.run_metrics import WHOLE_RUN, RunMetrics
from moovitamix.dashboard.charts import (
    ChartLine,
    ChartPanel,
    ChartTable,
    build_panel,
    build_status_panel,
    build_status_table,
    build_table,
    describe_basis,
    describe_formulas,
)
from moovitamix.dashboard.formatting import count_runs, format_number
from moovitamix.dashboard.queries import MAX_CHART_RUNS, RunWindow

RUNS_CHANGELIST: Final = "admin:ingestion_ingestionrun_changelist"


class CardFact(NamedTuple):
    text: str
    url: str


@dataclass(frozen=True)
class MetricCard:
    key: str
    title: str
    caption: str  # what the card shows, in one sentence
    panels: list[ChartPanel]
    facts: list[CardFact]
    formula: str  # how its numbers are computed
    basis: str  # time window, number of runs and time of the newest one
    table: ChartTable


class CardSpec(NamedTuple):
    """A card's chart titles with their lines; `table_only` lines appear in no chart."""

    key: str
    title: str
    caption: str
    panels: tuple[tuple[str, tuple[ChartLine, ...]], ...]
    table_only: tuple[ChartLine, ...] = ()

    @property
    def lines(self) -> list[ChartLine]:
        return [*(line for _, lines in self.panels for line in lines), *self.table_only]


CARD_SPECS: Final = (
    CardSpec(
        "duration", _n("Duration"),
        _n("Time from the start to the end of each run that updated the catalogue."),
        ((_n("Whole run"), (ChartLine(_n("Duration"), "duration"),)),),
    ),
    CardSpec(
        "volume", _n("Data volume"), _n("Rows that the source sent in each run."),
        tuple((title, (ChartLine(title, "received", name),)) for name, title in (
            ("songs", _n("Songs received")),
            ("users", _n("Listeners received")),
            ("listening_history", _n("Listening sessions received")))),
        (ChartLine(_n("New songs"), "new", "songs"),
         ChartLine(_n("New listeners"), "new", "users"),
         ChartLine(_n("New listening sessions"), "new", "listening_history")),
    ),
    CardSpec(
        "cost", _n("Resource use"), _n("CPU time, memory and network traffic of each run."),
        ((_n("CPU time"), (ChartLine(_n("CPU time"), "cpu_seconds"),)),
         (_n("Peak memory"), (ChartLine(_n("Peak memory"), "peak_memory"),)),
         (_n("Bytes received"), (ChartLine(_n("Bytes received"), "bytes"),))),
    ),
    CardSpec(
        "errors", _n("Errors"),
        _n("Share of rows that failed validation, and share of requests that failed."),
        ((_n("Rejected rows"), (ChartLine(_n("Rejected rows"), "rejected_share"),)),
         (_n("Failed requests"), (ChartLine(_n("Failed requests"), "error_share"),))),
    ),
    CardSpec(
        "latency", _n("Data latency"),
        _n("Time from a row's last change at the source until it is in the catalogue."),
        ((_n("Latency"), (ChartLine(_n("95th percentile"), "latency_p95"),
                           ChartLine(_n("Median"), "latency_p50"))),),
        (ChartLine(_n("Longest"), "latency_max"),),
    ),
)  # fmt: skip


def build_cards(window: RunWindow, now: datetime) -> list[MetricCard]:
    """The cards with at least one measured run; a card shows only the metrics that a run has measured."""
    window_text = _("Last {days} days").format(days=window.days)
    if len(window.runs) == MAX_CHART_RUNS:
        window_text = _("Last {days} days, newest {n} runs").format(days=window.days, n=MAX_CHART_RUNS)
    facts = {"volume": _volume_facts(window), "errors": _error_facts(window)}
    cards = [
        _status_card(window, window_text, now),
        *(_metric_card(spec, window, window_text, facts.get(spec.key, []), now) for spec in CARD_SPECS),
    ]
    return [card for card in cards if card.panels]


def _metric_card(
    spec: CardSpec, window: RunWindow, window_text: str, facts: list[CardFact], now: datetime
) -> MetricCard:
    # Failed runs have failed requests too; volumes and durations are comparable only among complete runs.
    runs: Sequence[RunMetrics] = window.runs if spec.key == "errors" else window.applied
    measures = list(dict.fromkeys(line.measure for line in spec.lines))
    panels = [
        build_panel(f"{spec.key}-{n}", _(title), _translated(lines), runs, window.checks)
        for n, (title, lines) in enumerate(spec.panels)
        if any(lines[0].value_of(run) is not None for run in runs)
    ]
    return MetricCard(
        spec.key, _(spec.title), _(spec.caption), panels, facts, describe_formulas(measures),
        describe_basis(runs, window_text, now), build_table(_translated(spec.lines), runs),
    )  # fmt: skip


def _translated(lines: Sequence[ChartLine]) -> list[ChartLine]:
    return [replace(line, name=_(line.name)) for line in lines]


def _status_card(window: RunWindow, window_text: str, now: datetime) -> MetricCard:
    url = runs_url(window.since)
    kinds = Counter(run.error_kind for run in window.with_errors)
    facts = [
        CardFact(
            _("{runs} with error: {kind}").format(runs=count_runs(n), kind=kind.replace("_", " ")),
            runs_url(window.since, error_kind=kind),
        )
        for kind, n in kinds.most_common(4)
    ]
    formula = _("Succeeded runs / finished runs; dry runs and imports of a legacy database are left out")
    return MetricCard(
        "status",
        _("Status"),
        _("How each run ended: green succeeded, amber partial, red failed."),
        [build_status_panel(window.runs, url)] if window.runs else [],
        facts,
        formula,
        describe_basis(window.runs, window_text, now),
        build_status_table(window.runs),
    )


def _volume_facts(window: RunWindow) -> list[CardFact]:
    last = window.applied[-1] if window.applied else None
    if last is None:
        return []
    url = f"{reverse('run', args=[last.run])}#resources"
    texts = {
        "new": _("{rows} new rows in run {run}"),
        "changed": _("{rows} changed rows in run {run}"),
        "missing": _("{rows} missing rows in run {run}"),
    }
    return [
        CardFact(text.format(rows=format_number(last.values.get((name, WHOLE_RUN), 0)), run=last.run), url)
        for name, text in texts.items()
    ]


def _error_facts(window: RunWindow) -> list[CardFact]:
    last = window.runs[-1] if window.runs else None
    if last is None:
        return []
    rejected = int(last.values.get(("rejected", WHOLE_RUN), 0))
    url = f"{reverse('run', args=[last.run])}#rejections"
    return [
        CardFact(
            ngettext(
                "{rows} row rejected in run {run}", "{rows} rows rejected in run {run}", rejected
            ).format(rows=format_number(rejected), run=last.run),
            url,
        ),
        CardFact(_("failed requests by kind of error"), f"{reverse('run', args=[last.run])}#resources"),
    ]


def runs_url(since: datetime, **filters: str) -> str:
    day = timezone.localdate(since).isoformat()
    return f"{reverse(RUNS_CHANGELIST)}?{urlencode({'started_at__gte': day, **filters})}"

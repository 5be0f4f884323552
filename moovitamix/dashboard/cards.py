"""The six metric cards of the operations page: status, duration, volume, resource use, errors, latency."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple
from urllib.parse import urlencode

from django.urls import reverse
from django.utils import timezone

from ingestion.models import RESOURCES
from ingestion.monitoring.run_metrics import WHOLE_RUN, RunMetrics
from moovitamix.dashboard.charts import (
    RESOURCE_NAMES,
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
from moovitamix.dashboard.formatting import format_count, format_number
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
        "duration", "Duration", "Time from the start to the end of each run that updated the catalogue.",
        (("Whole run", (ChartLine("Duration", "duration"),)),),
    ),
    CardSpec(
        "volume", "Data volume", "Rows that the source sent in each run.",
        tuple((title := f"{RESOURCE_NAMES[name]} received", (ChartLine(title, "received", name),))
              for name, _ in RESOURCES),
        tuple(ChartLine(f"New {RESOURCE_NAMES[name].lower()}", "new", name) for name, _ in RESOURCES),
    ),
    CardSpec(
        "cost", "Resource use", "CPU time, memory and network traffic of each run.",
        (("CPU time", (ChartLine("CPU time", "cpu_seconds"),)),
         ("Peak memory", (ChartLine("Peak memory", "peak_memory"),)),
         ("Bytes received", (ChartLine("Bytes received", "bytes"),))),
    ),
    CardSpec(
        "errors", "Errors", "Share of rows that failed validation, and share of requests that failed.",
        (("Rejected rows", (ChartLine("Rejected rows", "rejected_share"),)),
         ("Failed requests", (ChartLine("Failed requests", "error_share"),))),
    ),
    CardSpec(
        "latency", "Data latency",
        "Time from a row's last change at the source until it is in the catalogue.",
        (("95th percentile (dashed: median)", (ChartLine("95th percentile", "latency_p95"),
                                               ChartLine("Median", "latency_p50"))),),
        (ChartLine("Longest", "latency_max"),),
    ),
)  # fmt: skip


def build_cards(window: RunWindow, now: datetime) -> list[MetricCard]:
    window_text = f"Last {window.days} days" + (
        f", newest {MAX_CHART_RUNS}" if len(window.runs) == MAX_CHART_RUNS else ""
    )
    facts = {"volume": _volume_facts(window), "errors": _error_facts(window)}
    return [
        _status_card(window, window_text, now),
        *(_metric_card(spec, window, window_text, facts.get(spec.key, []), now) for spec in CARD_SPECS),
    ]


def _metric_card(
    spec: CardSpec, window: RunWindow, window_text: str, facts: list[CardFact], now: datetime
) -> MetricCard:
    # Failed runs have failed requests too; volumes and durations are comparable only among complete runs.
    runs: Sequence[RunMetrics] = window.runs if spec.key == "errors" else window.applied
    measures = list(dict.fromkeys(line.measure for line in spec.lines))
    panels = [
        build_panel(f"{spec.key}-{n}", title, lines, runs, window.checks)
        for n, (title, lines) in enumerate(spec.panels)
    ]
    return MetricCard(
        spec.key, spec.title, spec.caption, panels, facts, describe_formulas(measures),
        describe_basis(runs, window_text, now), build_table(spec.lines, runs),
    )  # fmt: skip


def _status_card(window: RunWindow, window_text: str, now: datetime) -> MetricCard:
    url = runs_url(window.since)
    kinds = Counter(run.error_kind for run in window.with_errors)
    facts = [
        CardFact(
            f"{format_count(n, 'run')} with error: {kind.replace('_', ' ')}",
            runs_url(window.since, error_kind=kind),
        )
        for kind, n in kinds.most_common(4)
    ]
    formula = "Succeeded runs / finished runs; dry runs and imports of a legacy database are left out"
    return MetricCard(
        "status",
        "Status",
        "How each run ended: green succeeded, amber partial, red failed.",
        [build_status_panel(window.runs, url)],
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
    return [
        CardFact(f"{format_number(last.values.get((name, WHOLE_RUN), 0))} {name} rows in run {last.run}", url)
        for name in ("new", "changed", "missing")
    ]


def _error_facts(window: RunWindow) -> list[CardFact]:
    last = window.runs[-1] if window.runs else None
    if last is None:
        return []
    rejected = int(last.values.get(("rejected", WHOLE_RUN), 0))
    url = f"{reverse('run', args=[last.run])}#rejections"
    return [
        CardFact(f"{format_count(rejected, 'row')} rejected in run {last.run}", url),
        CardFact("failed requests by kind of error", f"{reverse('run', args=[last.run])}#resources"),
    ]


def runs_url(since: datetime, **filters: str) -> str:
    day = timezone.localdate(since).isoformat()
    return f"{reverse(RUNS_CHANGELIST)}?{urlencode({'started_at__gte': day, **filters})}"

"""The six cards of the operations page: ends of runs, time, volume, errors, latency, cost."""

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
    """A number beside the charts, with the page of the rows behind it."""

    text: str
    url: str


@dataclass(frozen=True)
class MetricCard:
    """One of the user's six metrics.

    Attributes:
        formula: how its numbers come about.
        basis: window, sample size and last update.
    """

    key: str
    title: str
    panels: list[ChartPanel]
    facts: list[CardFact]
    formula: str
    basis: str
    table: ChartTable


class CardSpec(NamedTuple):
    """What a card of measured values shows: its panels' titles with their lines."""

    key: str
    title: str
    panels: tuple[tuple[str, tuple[ChartLine, ...]], ...]
    table_only: tuple[ChartLine, ...] = ()  # only in the table

    @property
    def lines(self) -> list[ChartLine]:
        return [*(line for _, lines in self.panels for line in lines), *self.table_only]


CARD_SPECS: Final = (
    CardSpec("duration", "Duration", (("Whole run", (ChartLine("Duration", "duration"),)),)),
    CardSpec(
        "volume", "Data volume",
        tuple((f"{RESOURCE_NAMES[name]} read", (ChartLine(f"{RESOURCE_NAMES[name]} read", "received", name),))
              for name, _ in RESOURCES),
        tuple(ChartLine(f"New {RESOURCE_NAMES[name].lower()}", "new", name) for name, _ in RESOURCES),
    ),
    CardSpec(
        "cost", "Resource use",
        (("CPU time", (ChartLine("CPU time", "cpu_seconds"),)),
         ("Peak memory", (ChartLine("Peak memory", "peak_memory"),)),
         ("Bytes received", (ChartLine("Bytes received", "bytes"),))),
    ),
    CardSpec(
        "errors", "Errors",
        (("Refused rows", (ChartLine("Refused rows", "rejected_share"),)),
         ("Failed attempts", (ChartLine("Failed attempts", "error_share"),))),
    ),
    CardSpec(
        "latency", "Data latency",
        (("95 % of rows faster than (dashed: 50 %)", (ChartLine("95th percentile", "latency_p95"),
                                       ChartLine("Median", "latency_p50"))),),
        (ChartLine("Longest", "latency_max"),),
    ),
)  # fmt: skip


def build_cards(past: RunWindow, now: datetime) -> list[MetricCard]:
    """All six, over the window that was asked for."""
    window = f"Last {past.days} days" + (
        f", newest {MAX_CHART_RUNS}" if len(past.runs) == MAX_CHART_RUNS else ""
    )
    facts = {"volume": _volume_facts(past), "errors": _error_facts(past)}
    return [
        _status_card(past, window, now),
        *(_metric_card(plan, past, window, facts.get(plan.key, []), now) for plan in CARD_SPECS),
    ]


def _metric_card(
    plan: CardSpec, past: RunWindow, window: str, facts: list[CardFact], now: datetime
) -> MetricCard:
    # Failed attempts are those of failed runs too; volumes and times only compare where all was read.
    runs: Sequence[RunMetrics] = past.runs if plan.key == "errors" else past.applied
    measures = list(dict.fromkeys(line.measure for line in plan.lines))
    panels = [
        build_panel(f"{plan.key}-{n}", title, lines, runs, past.checks)
        for n, (title, lines) in enumerate(plan.panels)
    ]
    return MetricCard(
        plan.key, plan.title, panels, facts, describe_formulas(measures), describe_basis(runs, window, now),
        build_table(plan.lines, runs),
    )  # fmt: skip


def _status_card(past: RunWindow, window: str, now: datetime) -> MetricCard:
    url = runs_url(past.since)
    kinds = Counter(run.error_kind for run in past.with_errors)
    facts = [
        CardFact(f"{kind.replace('_', ' ')} ({format_number(n)})", runs_url(past.since, error_kind=kind))
        for kind, n in kinds.most_common(4)
    ]
    formula = "Runs that succeeded of all runs that ended; dry runs and imports do not count"
    return MetricCard(
        "status",
        "Status",
        [build_status_panel(past.runs, url)],
        facts,
        formula,
        describe_basis(past.runs, window, now),
        build_status_table(past.runs),
    )


def _volume_facts(past: RunWindow) -> list[CardFact]:
    last = past.applied[-1] if past.applied else None
    if last is None:
        return []
    url = f"{reverse('run', args=[last.run])}#resources"
    found = (("new", "new"), ("changed", "changed"), ("missing", "missing"))
    return [
        CardFact(f"{format_number(last.values.get((name, WHOLE_RUN), 0))} {word}", url)
        for name, word in found
    ]


def _error_facts(past: RunWindow) -> list[CardFact]:
    last = past.runs[-1] if past.runs else None
    if last is None:
        return []
    refused = int(last.values.get(("rejected", WHOLE_RUN), 0))
    url = f"{reverse('run', args=[last.run])}#refused"
    return [
        CardFact(f"{format_count(refused, 'row')} refused in run {last.run}", url),
        CardFact("attempts by kind of error", f"{reverse('run', args=[last.run])}#resources"),
    ]


def runs_url(since: datetime, **filters: str) -> str:
    """The list of the runs since then."""
    day = timezone.localdate(since).isoformat()
    return f"{reverse(RUNS_CHANGELIST)}?{urlencode({'started_at__gte': day, **filters})}"

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
from ingestion.monitoring.run_metrics import WHOLE, Account
from moovitamix.dashboard.charts import (
    NAMES,
    Line,
    Panel,
    Table,
    basis,
    formulas,
    panel,
    status_panel,
    status_table,
    table,
)
from moovitamix.dashboard.formatting import count, number
from moovitamix.dashboard.queries import MOST_RUNS, Past

RUNS: Final = "admin:ingestion_ingestionrun_changelist"


class Fact(NamedTuple):
    """A number beside the charts, with the page of the rows behind it."""

    text: str
    url: str


@dataclass(frozen=True)
class Card:
    """One of the user's six metrics.

    Attributes:
        formula: how its numbers come about.
        basis: window, sample size and last update.
    """

    key: str
    title: str
    panels: list[Panel]
    facts: list[Fact]
    formula: str
    basis: str
    table: Table


class Plan(NamedTuple):
    """What a card of measured values shows: its panels' titles with their lines."""

    key: str
    title: str
    panels: tuple[tuple[str, tuple[Line, ...]], ...]
    also: tuple[Line, ...] = ()  # only in the table

    @property
    def lines(self) -> list[Line]:
        return [*(line for _, lines in self.panels for line in lines), *self.also]


PLANS: Final = (
    Plan("duration", "Duration", (("Whole run", (Line("Duration", "duration"),)),)),
    Plan(
        "volume", "Data volume",
        tuple((f"{NAMES[name]} read", (Line(f"{NAMES[name]} read", "received", name),))
              for name, _ in RESOURCES),
        tuple(Line(f"New {NAMES[name].lower()}", "new", name) for name, _ in RESOURCES),
    ),
    Plan(
        "cost", "Resource use",
        (("CPU time", (Line("CPU time", "cpu_seconds"),)),
         ("Peak memory", (Line("Peak memory", "peak_memory"),)),
         ("Bytes received", (Line("Bytes received", "bytes"),))),
    ),
    Plan(
        "errors", "Errors",
        (("Refused rows", (Line("Refused rows", "rejected_share"),)),
         ("Failed attempts", (Line("Failed attempts", "error_share"),))),
    ),
    Plan(
        "latency", "Data latency",
        (("95 % of rows faster than (dashed: 50 %)", (Line("95th percentile", "latency_p95"),
                                       Line("Median", "latency_p50"))),),
        (Line("Longest", "latency_max"),),
    ),
)  # fmt: skip


def cards(past: Past, now: datetime) -> list[Card]:
    """All six, over the window that was asked for."""
    window = f"Last {past.days} days" + (f", newest {MOST_RUNS}" if len(past.runs) == MOST_RUNS else "")
    facts = {"volume": _volumes(past), "errors": _errors(past)}
    return [
        _status_card(past, window, now),
        *(_card(plan, past, window, facts.get(plan.key, []), now) for plan in PLANS),
    ]


def _card(plan: Plan, past: Past, window: str, facts: list[Fact], now: datetime) -> Card:
    # Failed attempts are those of failed runs too; volumes and times only compare where all was read.
    runs: Sequence[Account] = past.runs if plan.key == "errors" else past.applied
    measures = list(dict.fromkeys(line.measure for line in plan.lines))
    panels = [
        panel(f"{plan.key}-{n}", title, lines, runs, past.bands)
        for n, (title, lines) in enumerate(plan.panels)
    ]
    return Card(
        plan.key, plan.title, panels, facts, formulas(measures), basis(runs, window, now),
        table(plan.lines, runs),
    )  # fmt: skip


def _status_card(past: Past, window: str, now: datetime) -> Card:
    url = runs_url(past.since)
    kinds = Counter(run.error_kind for run in past.troubled)
    facts = [
        Fact(f"{kind.replace('_', ' ')} ({number(n)})", runs_url(past.since, error_kind=kind))
        for kind, n in kinds.most_common(4)
    ]
    formula = "Runs that succeeded of all runs that ended; dry runs and imports do not count"
    return Card(
        "status", "Status", [status_panel(past.runs, url)], facts, formula, basis(past.runs, window, now),
        status_table(past.runs),
    )  # fmt: skip


def _volumes(past: Past) -> list[Fact]:
    last = past.applied[-1] if past.applied else None
    if last is None:
        return []
    url = f"{reverse('run', args=[last.run])}#resources"
    found = (("new", "new"), ("changed", "changed"), ("missing", "missing"))
    return [Fact(f"{number(last.values.get((name, WHOLE), 0))} {word}", url) for name, word in found]


def _errors(past: Past) -> list[Fact]:
    last = past.runs[-1] if past.runs else None
    if last is None:
        return []
    refused = int(last.values.get(("rejected", WHOLE), 0))
    url = f"{reverse('run', args=[last.run])}#refused"
    return [
        Fact(f"{count(refused, 'row')} refused in run {last.run}", url),
        Fact("attempts by kind of error", f"{reverse('run', args=[last.run])}#resources"),
    ]


def runs_url(since: datetime, **filters: str) -> str:
    """The list of the runs since then."""
    day = timezone.localdate(since).isoformat()
    return f"{reverse(RUNS)}?{urlencode({'started_at__gte': day, **filters})}"

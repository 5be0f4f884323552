"""What the runs measured, one after the other: read by the bands, the dashboard and the metrics."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, NamedTuple

from django.db.models import QuerySet

from ingestion.models import IngestionRun, ResourceReport

Status = IngestionRun.Status
# These changed the catalogue; the others left it as it was.
APPLIED_STATUSES: Final = (Status.SUCCEEDED, Status.PARTIAL)
WHOLE_RUN: Final = ""  # stands where a resource's name stands: the run as a whole


@dataclass(frozen=True)
class MetricDefinition:
    """A number that runs have.

    Attributes:
        unit: rows, seconds, bytes, share (0 to 1), rows/s or empty.
        formula: how it comes about, for a person who looks at its chart.
        of: "both", or only a "run" as a whole, or only a "resource" of it.
    """

    name: str
    label: str
    unit: str
    formula: str
    scope: str = "both"


METRICS: Final = {
    one.name: one
    for one in (
        MetricDefinition("received", "rows read", "rows", "rows that the source sent"),
        MetricDefinition("new", "new rows", "rows", "rows whose key the catalogue did not hold"),
        MetricDefinition("changed", "changed rows", "rows", "known rows of which a field differed"),
        MetricDefinition("missing", "missing rows", "rows", "available rows that the source did not send"),
        MetricDefinition("rejected", "refused rows", "rows", "rows that broke a rule"),
        MetricDefinition("rejected_share", "share of refused rows", "share", "refused rows / rows read"),
        MetricDefinition("requests", "requests", "requests", "first attempts and repeated ones"),
        MetricDefinition("error_share", "share of failed attempts", "share", "failed attempts / requests"),
        MetricDefinition("bytes", "bytes received", "bytes", "bodies of all answers"),
        MetricDefinition(
            "duration", "duration", "seconds", "a run: end - start; a resource: its reading and writing"
        ),
        MetricDefinition(
            "latency_p50",
            "median latency",
            "seconds",
            "commit - max(created_at, updated_at) of new and changed rows; of a run: its slowest resource",
        ),
        MetricDefinition(
            "latency_p95", "95th percentile of latency", "seconds", "as the median; 95 % were faster"
        ),
        MetricDefinition(
            "latency_max", "longest latency", "seconds", "as the median; the row that waited longest"
        ),
        MetricDefinition(
            "cpu_seconds", "CPU time", "seconds", "user + system of the process and its threads", "run"
        ),
        MetricDefinition(
            "peak_memory", "peak memory", "bytes", "largest resident size that was sampled", "run"
        ),
        MetricDefinition("rows_per_second", "rows a second", "rows/s", "rows read / duration", "run"),
    )
}
SUMMED_FIELDS: Final = ("received", "new", "changed", "missing", "rejected", "requests", "bytes")
LATENCY_FIELDS: Final = ("latency_p50", "latency_p95", "latency_max")
RUN_FIELDS: Final = (
    "received",
    "new",
    "changed",
    "missing",
    "rejected",
    "bytes",
    "cpu_seconds",
    "peak_memory",
    "rows_per_second",
)


class MetricPoint(NamedTuple):
    """A measure's value in one run."""

    run: int
    at: datetime
    value: float


@dataclass
class RunMetrics:
    """One run's numbers.

    Attributes:
        values: by measure and resource; what was not measured is not there.
        gap: seconds since the run before it that changed the catalogue began; None for the first one.
        resumed: it read pages that a dead run had left, so its time says nothing.
    """

    run: int
    status: str
    started_at: datetime
    dry_run: bool
    accept_reset: bool
    trigger: str
    values: dict[tuple[str, str], float] = field(default_factory=dict)
    gap_seconds: float | None = None
    resumed: bool = False

    @property
    def is_comparable(self) -> bool:
        """Whether others may be held against it: a whole run against the source."""
        is_real = not self.dry_run and self.trigger != IngestionRun.Trigger.LEGACY
        return is_real and self.status == Status.SUCCEEDED

    def point(self, measure: str, resource: str = WHOLE_RUN) -> MetricPoint | None:
        value = self.values.get((measure, resource))
        return None if value is None else MetricPoint(self.run, self.started_at, value)


def load_run_metrics(
    *,
    until_run: int | None = None,
    since: datetime | None = None,
    n: int | None = None,
    statuses: Sequence[str] = APPLIED_STATUSES,
) -> list[RunMetrics]:
    """The last runs' numbers, oldest first, in two queries.

    Runs that only tried, and imports, are left out: they say nothing of the source's days.

    Args:
        until_run: the newest run wanted, itself included.
        since: runs that began earlier are left out.
        n: at most so many, the newest ones.
    """
    runs = IngestionRun.objects.filter(status__in=statuses, dry_run=False, finished_at__isnull=False)
    runs = runs.exclude(trigger=IngestionRun.Trigger.LEGACY)
    if until_run is not None:
        runs = runs.filter(pk__lte=until_run)
    if since is not None:
        runs = runs.filter(started_at__gte=since)
    return _load_metrics(runs.order_by("-pk")[:n])


def account_of(run: IngestionRun) -> RunMetrics:
    """One run's numbers, whatever became of it; its gap is not known."""
    return _load_metrics(IngestionRun.objects.filter(pk=run.pk))[0]


def series(
    measure: str,
    resource: str = WHOLE_RUN,
    *,
    until_run: int | None = None,
    n: int | None = None,
    since: datetime | None = None,
    statuses: Sequence[str] = (Status.SUCCEEDED,),
) -> list[MetricPoint]:
    """A measure over the last runs, oldest first; runs that did not measure it are left out.

    Who needs several measures asks `accounts` once and takes the points from there.
    """
    return metric_points(
        load_run_metrics(until_run=until_run, since=since, n=n, statuses=statuses), measure, resource
    )


def metric_points(runs: Iterable[RunMetrics], measure: str, resource: str = WHOLE_RUN) -> list[MetricPoint]:
    """A measure out of accounts that were read already."""
    found = (account.point(measure, resource) for account in runs)
    return [point for point in found if point is not None]


def _load_metrics(runs: "QuerySet[IngestionRun]") -> list[RunMetrics]:
    """The accounts of these runs, oldest first."""
    names = {*RUN_FIELDS, "pk", "status", "started_at", "finished_at", "dry_run", "accept_reset", "trigger"}
    rows = sorted(runs.values(*names), key=lambda row: int(row["pk"]))
    made = {row["pk"]: _run_metrics(row) for row in rows}
    if made:
        # By range: so many numbers in a list are more than some databases take.
        reports = ResourceReport.objects.filter(run_id__gte=rows[0]["pk"], run_id__lte=rows[-1]["pk"])
        _add_reports(made, reports)
    _add_gaps(list(made.values()))
    return list(made.values())


def _run_metrics(row: dict[str, Any]) -> RunMetrics:
    account = RunMetrics(
        row["pk"], row["status"], row["started_at"], row["dry_run"], row["accept_reset"], row["trigger"]
    )
    account.values = {(name, WHOLE_RUN): float(row[name]) for name in RUN_FIELDS}
    if row["finished_at"] is not None:
        account.values["duration", WHOLE_RUN] = (row["finished_at"] - row["started_at"]).total_seconds()
    return account


def _add_reports(accounts: dict[int, RunMetrics], reports: "QuerySet[ResourceReport]") -> None:
    names = {*SUMMED_FIELDS, *LATENCY_FIELDS, "run_id", "resource", "seconds", "errors", "resumed"}
    failed: dict[int, list[float]] = {}
    for row in reports.values(*names):
        account = accounts.get(row["run_id"])
        if account is None:
            continue
        failures = float(sum(row["errors"].values()))
        _add_resource(account, row, failures)
        sums = failed.setdefault(account.run, [0.0, 0.0])
        sums[0] += failures
        sums[1] += row["requests"]
    for run, (failures, requests) in failed.items():
        values = accounts[run].values
        values["requests", WHOLE_RUN] = requests
        _set_share(values, "error_share", WHOLE_RUN, failures, requests)
        _set_share(
            values, "rejected_share", WHOLE_RUN, values["rejected", WHOLE_RUN], values["received", WHOLE_RUN]
        )


def _add_resource(account: RunMetrics, row: dict[str, Any], failures: float) -> None:
    resource, values = row["resource"], account.values
    values.update({(name, resource): float(row[name]) for name in SUMMED_FIELDS})
    _set_share(values, "rejected_share", resource, row["rejected"], row["received"])
    _set_share(values, "error_share", resource, failures, row["requests"])
    account.resumed = account.resumed or row["resumed"]
    if row["seconds"] is not None:
        values["duration", resource] = row["seconds"]
    for name in LATENCY_FIELDS:
        if row[name] is not None:
            values[name, resource] = row[name]
            values[name, WHOLE_RUN] = max(values.get((name, WHOLE_RUN), row[name]), row[name])


def _set_share(
    values: dict[tuple[str, str], float], name: str, resource: str, part: float, whole: float
) -> None:
    if whole:
        values[name, resource] = part / whole


def _add_gaps(accounts: Sequence[RunMetrics]) -> None:
    """How long each run's news had been piling up, since the run before it that took the news in."""
    before: RunMetrics | None = None
    for account in accounts:
        if before is not None:
            account.gap_seconds = (account.started_at - before.started_at).total_seconds()
        if account.status in APPLIED_STATUSES:
            before = account

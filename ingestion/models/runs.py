"""Ingestion runs with their reports, rejected rows and anomaly checks."""

from typing import ClassVar, Self

from django.db import models
from django.db.models import F, Q
from django.utils.translation import gettext as _

from ingestion.models.catalogue import RESOURCES
from ingestion.models.jobs import JobRun, job_constraints

# Kind of a partial run in which a list could not be read.
SOURCE_INCOMPLETE = "source_incomplete"


class IngestionRunQuerySet(models.QuerySet["IngestionRun"]):
    def succeeded(self) -> Self:
        """Runs that imported everything, without dry runs."""
        return self.filter(status=IngestionRun.Status.SUCCEEDED, dry_run=False)

    def applied(self) -> Self:
        """Runs that wrote the catalogue, succeeded or partial, without dry runs."""
        return self.filter(
            status__in=(IngestionRun.Status.SUCCEEDED, IngestionRun.Status.PARTIAL), dry_run=False
        )


class IngestionRun(JobRun):
    """One ingestion run; the row is created when the run acquires the lock."""

    class Trigger(models.TextChoices):
        COMMAND = "command"
        SCHEDULE = "schedule"
        ADMIN = "admin"
        DEMO = "demo"
        LEGACY = "legacy", "import of a legacy database"

    class Status(models.TextChoices):
        RUNNING = "running"
        SUCCEEDED = "succeeded"
        PARTIAL = "partial"
        FAILED = "failed"
        REFUSED = "refused"
        ABANDONED = "abandoned"
        STOPPED = "stopped"

    trigger = models.CharField(max_length=8, choices=Trigger.choices)
    slot = models.CharField(
        max_length=40,
        blank=True,
        help_text="Due time of the schedule, such as 2026-11-23 02:00 UTC; empty for a run started by hand.",
    )
    status = models.CharField(max_length=9, choices=Status.choices, default=Status.RUNNING)
    stage = models.CharField(max_length=40, blank=True, help_text="Current stage of a run in progress.")
    stage_done = models.PositiveBigIntegerField(default=0, help_text="Rows processed in the current stage.")
    stage_total = models.PositiveBigIntegerField(
        default=0, help_text="Rows expected in the current stage; 0 if unknown."
    )
    stages = models.JSONField(
        default=list, blank=True, help_text="Name, start and duration in seconds of each stage, in order."
    )
    dry_run = models.BooleanField(default=False)
    accept_reset = models.BooleanField(default=False)
    new_catalogue = models.BooleanField(
        default=False, help_text="The source sent another catalogue and an operator accepted it."
    )
    received = models.PositiveBigIntegerField(default=0)
    new = models.PositiveBigIntegerField(default=0)
    changed = models.PositiveBigIntegerField(default=0)
    unchanged = models.PositiveBigIntegerField(default=0)
    rejected = models.PositiveBigIntegerField(default=0)
    missing = models.PositiveBigIntegerField(default=0)
    bytes = models.PositiveBigIntegerField("bytes received", default=0)
    rows_per_second = models.FloatField(default=0.0)
    summary = models.TextField(blank=True, help_text="What this run did, in one sentence.")
    followed_up_at = models.DateTimeField(
        null=True, blank=True, editable=False,
        help_text="When the finished run was checked for anomalies and its incidents were updated.",
    )  # fmt: skip

    objects = IngestionRunQuerySet.as_manager()

    class Meta:
        ordering: ClassVar = ["-id"]
        indexes: ClassVar = [
            models.Index(fields=["id"], name="ingestion_run_new_catalogue", condition=Q(new_catalogue=True)),
            models.Index(
                fields=["id"],
                name="ingestion_run_to_follow_up",
                condition=Q(followed_up_at=None) & ~Q(status="running"),
            ),
        ]
        constraints: ClassVar = [
            *job_constraints("ingestion_run"),
            # A schedule may fire twice for one slot; a slot may run again only after a crash or a failure.
            models.UniqueConstraint(
                name="ingestion_run_slot_once",
                fields=["slot"],
                condition=~Q(slot="") & Q(status__in=("running", "succeeded", "refused")),
            ),
        ]

    def __str__(self) -> str:
        return _("Run {run} ({status})").format(run=self.pk, status=self.get_status_display().lower())

    @property
    def may_be_repeated(self) -> bool:
        """Whether a scheduled run with this result is retried: it failed, or a list could not be read."""
        is_incomplete = self.status == self.Status.PARTIAL and self.error_kind == SOURCE_INCOMPLETE
        return self.status == self.Status.FAILED or is_incomplete


class ResourceReport(models.Model):
    run = models.ForeignKey(IngestionRun, models.CASCADE, related_name="reports")
    resource = models.CharField(max_length=17, choices=RESOURCES)
    total = models.PositiveBigIntegerField("total reported by the source", default=0)
    pages = models.PositiveIntegerField(default=0)
    requests = models.PositiveIntegerField(default=0)
    retries = models.PositiveIntegerField(default=0)
    bytes = models.PositiveBigIntegerField(default=0)
    received = models.PositiveBigIntegerField(default=0)
    new = models.PositiveBigIntegerField(default=0)
    changed = models.PositiveBigIntegerField(default=0)
    unchanged = models.PositiveBigIntegerField(default=0)
    rejected = models.PositiveBigIntegerField(default=0)
    duplicates = models.PositiveBigIntegerField(default=0)
    missing = models.PositiveBigIntegerField(
        default=0, help_text="Available rows that the source did not send."
    )
    returned = models.PositiveBigIntegerField(default=0, help_text="Missing rows that the source sent again.")
    written = models.PositiveBigIntegerField(default=0)
    shifts = models.PositiveIntegerField(
        default=0, help_text="Times that rows moved between pages during reading."
    )
    stable = models.BooleanField(default=True, help_text="No row moved during the last pass over the pages.")
    resumed = models.BooleanField(
        default=False, help_text="Used the pages that a crashed run of the same slot had just read."
    )
    read_at = models.DateTimeField(
        "read until", null=True, blank=True,
        help_text="When the last page arrived: the rows show the source's state up to then.",
    )  # fmt: skip
    incoherent_times = models.PositiveBigIntegerField(
        default=0, help_text="Rows whose updated_at is before created_at."
    )
    unknown_songs = models.PositiveBigIntegerField(
        default=0, help_text="Song IDs in listening sessions that match no song."
    )
    same_key = models.PositiveBigIntegerField(
        "sessions of the same time", default=0, db_default=0,
        help_text="Different sessions kept although they share their listener and time with another.",
    )  # fmt: skip
    expired = models.PositiveBigIntegerField(
        "expired at the source", default=0, db_default=0,
        help_text="Sessions that the source no longer keeps; they stay in use.",
    )  # fmt: skip
    future_times = models.PositiveBigIntegerField(
        default=0, db_default=0, help_text="Rows with a time after the run."
    )
    corrections = models.JSONField(
        default=dict, db_default=models.Value({}, models.JSONField()), blank=True,
        help_text="Values that were read in another form or left empty, with the number of rows.",
    )  # fmt: skip
    rejection_reasons = models.JSONField(
        default=list, db_default=models.Value([], models.JSONField()), blank=True,
        help_text="Most frequent reasons of rejection: field, reason, rows.",
    )  # fmt: skip
    unknown_fields = models.JSONField(
        default=dict, blank=True, help_text="Unknown field names with the number of rows that have them."
    )
    is_backfill = models.BooleanField(
        "first load", default=False, db_default=False,
        help_text="Rows as old as the source: their latency says nothing about the service.",
    )  # fmt: skip
    latency_p50 = models.FloatField("median latency in seconds", null=True, blank=True)
    latency_p95 = models.FloatField("95th percentile of latency in seconds", null=True, blank=True)
    latency_max = models.FloatField("longest latency in seconds", null=True, blank=True)
    seconds = models.FloatField("seconds spent reading and writing", null=True, blank=True)
    sample = models.JSONField(
        default=list, blank=True, help_text="Sample of the changed fields: key, field, old value, new value."
    )
    errors = models.JSONField(
        default=dict, blank=True, help_text="Number of failed attempts by kind of error."
    )

    class Meta:
        ordering: ClassVar = ["run", "id"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["run", "resource"], name="resource_report_once_a_run"),
            models.CheckConstraint(
                name="resource_report_adds_up",
                condition=Q(
                    received=F("new") + F("changed") + F("unchanged") + F("rejected") + F("duplicates")
                ),
            ),
        ]

    def __str__(self) -> str:
        return _("{resource} of run {run}").format(resource=self.get_resource_display(), run=self.run_id)


class RunLogLine(models.Model):
    run = models.ForeignKey(IngestionRun, models.CASCADE, related_name="log_lines")
    at = models.DateTimeField()
    level = models.CharField(max_length=8)
    text = models.TextField()

    class Meta:
        ordering: ClassVar = ["id"]

    def __str__(self) -> str:
        return f"{self.level} of run {self.run_id}"


class Rejection(models.Model):
    """A row that failed validation, stored with the reason so that it can be replayed.

    One open rejection per distinct row; `run` is the first run that rejected it, `last_run` the last one.
    """

    run = models.ForeignKey(
        IngestionRun, models.CASCADE, verbose_name="first rejected in", related_name="rejections"
    )
    last_run = models.ForeignKey(
        IngestionRun, models.CASCADE, verbose_name="last rejected in", related_name="+"
    )
    resource = models.CharField(max_length=17, choices=RESOURCES)
    # Text, because jsonb cannot store NUL characters and lone surrogates, which rejected rows may contain.
    payload = models.TextField(help_text="The row as JSON.")
    fingerprint = models.CharField(max_length=32, editable=False, help_text="BLAKE2b hash of the payload.")
    field = models.CharField(max_length=100, blank=True)
    reason = models.CharField(max_length=255)
    resolved_at = models.DateTimeField(null=True, blank=True)
    resolution = models.CharField(max_length=255, blank=True)

    class Meta:
        ordering: ClassVar = ["-id"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["resource", "fingerprint"], name="rejection_open_once", condition=Q(resolved_at=None)
            )
        ]

    def __str__(self) -> str:
        return _("{resource}: {problem}").format(
            resource=self.get_resource_display(), problem=f"{self.field} {self.reason}"
        )


class AnomalyCheck(models.Model):
    """One metric of one run, compared with its expected range from earlier runs."""

    class Verdict(models.TextChoices):
        LEARNING = "learning", "too few runs to judge"
        USUAL = "usual", "in the expected range"
        LOW = "low", "below the expected range"
        HIGH = "high", "above the expected range"

    run = models.ForeignKey(IngestionRun, models.CASCADE, related_name="anomaly_checks")
    measure = models.CharField("metric", max_length=40, help_text="Such as received or duration.")
    resource = models.CharField(
        max_length=17, choices=RESOURCES, blank=True, help_text="Empty for a metric of the whole run."
    )
    value = models.FloatField()
    median = models.FloatField(null=True, blank=True)
    mad = models.FloatField("median absolute deviation", null=True, blank=True)
    low = models.FloatField("expected minimum", null=True, blank=True)
    high = models.FloatField("expected maximum", null=True, blank=True)
    n = models.PositiveIntegerField("runs compared", default=0)
    verdict = models.CharField(max_length=8, choices=Verdict.choices)

    class Meta:
        db_table = "ingestion_bandcheck"
        ordering: ClassVar = ["run", "id"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["run", "measure", "resource"], name="band_check_measure_once_a_run"
            )
        ]
        indexes: ClassVar = [
            models.Index(fields=["measure", "resource", "-run"], name="band_check_history"),
        ]

    def __str__(self) -> str:
        return _("{measure} of run {run}: {verdict}").format(
            measure=f"{self.measure} {self.resource}", run=self.run_id, verdict=self.get_verdict_display()
        )


class BaselineReset(models.Model):
    """An operator's decision to compute a metric's expected range only from the run `since` on."""

    measure = models.CharField("metric", max_length=40)
    resource = models.CharField(max_length=17, choices=RESOURCES, blank=True)
    since = models.ForeignKey(
        IngestionRun,
        models.CASCADE,
        related_name="+",
        help_text="First run from which the expected range is learned.",
    )
    at = models.DateTimeField()
    by = models.CharField(max_length=150)
    reason = models.TextField(blank=True)

    class Meta:
        db_table = "ingestion_bandreset"
        ordering: ClassVar = ["-id"]

    def __str__(self) -> str:
        return _("{measure}: expected range learned from run {run}").format(
            measure=f"{self.measure} {self.resource}".rstrip(), run=self.since_id
        )

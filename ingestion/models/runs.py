"""How each run went, and what it refused."""

from typing import ClassVar

from django.db import models
from django.db.models import F, Q

from ingestion.models.catalogue import RESOURCES


class IngestionRun(models.Model):
    """One run of the ingestion, from the moment it takes the lock."""

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

    trigger = models.CharField(max_length=8, choices=Trigger.choices)
    slot = models.CharField(
        max_length=40, blank=True, help_text="The schedule and the day it was due; empty for a run by hand."
    )
    status = models.CharField(max_length=9, choices=Status.choices, default=Status.RUNNING)
    stage = models.CharField(max_length=40, blank=True, help_text="What a running run is doing.")
    stage_done = models.PositiveBigIntegerField(default=0, help_text="Rows done in this stage.")
    stage_total = models.PositiveBigIntegerField(default=0, help_text="Rows of this stage; 0: nobody knows.")
    stages = models.JSONField(
        default=list, blank=True, help_text="Each stage's name, start and seconds, in order."
    )
    dry_run = models.BooleanField(default=False)
    accept_reset = models.BooleanField(default=False)
    new_catalogue = models.BooleanField(
        default=False, help_text="The source had another catalogue, which a person accepted."
    )
    started_at = models.DateTimeField(db_index=True)
    heartbeat_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True, blank=True)
    host = models.CharField(max_length=255)
    pid = models.PositiveIntegerField()
    process_started = models.FloatField(help_text="Seconds since 1970; tells a re-used process id apart.")

    received = models.PositiveBigIntegerField(default=0)
    new = models.PositiveBigIntegerField(default=0)
    changed = models.PositiveBigIntegerField(default=0)
    unchanged = models.PositiveBigIntegerField(default=0)
    rejected = models.PositiveBigIntegerField(default=0)
    missing = models.PositiveBigIntegerField(default=0)
    bytes = models.PositiveBigIntegerField("bytes received", default=0)
    cpu_seconds = models.FloatField("CPU seconds", default=0.0)
    peak_memory = models.PositiveBigIntegerField("peak memory in bytes", default=0)
    rows_per_second = models.FloatField(default=0.0)
    error_kind = models.CharField(max_length=40, blank=True)
    error = models.TextField(blank=True)
    summary = models.TextField(blank=True, help_text="What this run did, in a sentence.")
    followed_up_at = models.DateTimeField(
        null=True, blank=True, editable=False,
        help_text="When its end was held against the runs before, and incidents were opened and resolved.",
    )  # fmt: skip

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
            models.CheckConstraint(
                name="ingestion_run_finished_iff_not_running",
                condition=Q(status="running", finished_at=None)
                | (~Q(status="running") & Q(finished_at__isnull=False)),
            ),
            models.UniqueConstraint(
                name="ingestion_run_only_one_running", fields=["status"], condition=Q(status="running")
            ),
            # Whatever repeats a due day, it runs once; only a dead run's slot may be taken up again.
            models.UniqueConstraint(
                name="ingestion_run_slot_once",
                fields=["slot"],
                condition=~Q(slot="") & ~Q(status="abandoned"),
            ),
            models.CheckConstraint(
                name="ingestion_run_error_needs_kind", condition=Q(error="") | ~Q(error_kind="")
            ),
        ]

    def __str__(self) -> str:
        return f"Run {self.pk} ({self.status})"


class ResourceReport(models.Model):
    """What one run read and did for one resource."""

    run = models.ForeignKey(IngestionRun, models.CASCADE, related_name="reports")
    resource = models.CharField(max_length=17, choices=RESOURCES)
    total = models.PositiveBigIntegerField("total the source claims", default=0)
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
        default=0, help_text="Rows that were available and that the source did not send."
    )
    returned = models.PositiveBigIntegerField(default=0, help_text="Missing rows that were sent again.")
    written = models.PositiveBigIntegerField(default=0)
    shifts = models.PositiveIntegerField(default=0, help_text="Times rows moved while pages were read.")
    stable = models.BooleanField(default=True, help_text="The last reading saw no row move.")
    resumed = models.BooleanField(default=False, help_text="Read from the pages a dead run left.")
    incoherent_times = models.PositiveBigIntegerField(default=0, help_text="Updated before created.")
    unknown_songs = models.PositiveBigIntegerField(
        default=0, help_text="Ids inside sessions that name no known song."
    )
    unknown_fields = models.JSONField(default=dict, blank=True, help_text="Field: rows that carry it.")
    latency_p50 = models.FloatField("median latency in seconds", null=True, blank=True)
    latency_p95 = models.FloatField("95th percentile of latency in seconds", null=True, blank=True)
    latency_max = models.FloatField("longest latency in seconds", null=True, blank=True)
    seconds = models.FloatField("seconds of reading and writing", null=True, blank=True)
    sample = models.JSONField(
        default=list, blank=True, help_text="Some of the differences that were written: key, field, old, new."
    )
    errors = models.JSONField(default=dict, blank=True, help_text="Failed attempts by kind.")

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
        return f"{self.resource} of run {self.run_id}"


class Rejection(models.Model):
    """A row that was refused, kept whole with the reason until it can be taken in.

    One open rejection for each distinct row: `run` refused it first, `last_run` last.
    """

    run = models.ForeignKey(IngestionRun, models.CASCADE, related_name="rejections")
    last_run = models.ForeignKey(IngestionRun, models.CASCADE, related_name="+")
    resource = models.CharField(max_length=17, choices=RESOURCES)
    # Text, not jsonb: PostgreSQL's jsonb refuses a NUL or half a surrogate pair, and such rows end up here.
    payload = models.TextField(help_text="The row as JSON.")
    fingerprint = models.CharField(max_length=32, editable=False, help_text="blake2b of the payload.")
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
        return f"{self.resource}: {self.field} {self.reason}"


class AnomalyCheck(models.Model):
    """One measure of one run against the runs before it: usual, or how far off."""

    class Verdict(models.TextChoices):
        LEARNING = "learning", "too few runs to tell"
        USUAL = "usual"
        LOW = "low", "lower than usual"
        HIGH = "high", "higher than usual"

    run = models.ForeignKey(IngestionRun, models.CASCADE, related_name="anomaly_checks")
    measure = models.CharField(max_length=40, help_text="Such as received or duration.")
    resource = models.CharField(
        max_length=17, choices=RESOURCES, blank=True, help_text="Empty: the whole run."
    )
    value = models.FloatField()
    median = models.FloatField(null=True, blank=True)
    mad = models.FloatField("median absolute deviation", null=True, blank=True)
    low = models.FloatField("lower edge", null=True, blank=True)
    high = models.FloatField("upper edge", null=True, blank=True)
    n = models.PositiveIntegerField("runs it was held against", default=0)
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
        return f"{self.measure} {self.resource} of run {self.run_id}: {self.verdict}"


class BaselineReset(models.Model):
    """A person said: this is the new normal. Runs before `since` are not compared with any more."""

    measure = models.CharField(max_length=40)
    resource = models.CharField(max_length=17, choices=RESOURCES, blank=True)
    since = models.ForeignKey(
        IngestionRun, models.CASCADE, related_name="+", help_text="The first usual run."
    )
    at = models.DateTimeField()
    by = models.CharField(max_length=150)
    reason = models.TextField(blank=True)

    class Meta:
        db_table = "ingestion_bandreset"
        ordering: ClassVar = ["-id"]

    def __str__(self) -> str:
        return f"{self.measure} {self.resource}: new normal since run {self.since_id}"

"""The tables of the ingestion room: what the source holds, and how each run went."""

from typing import ClassVar

from django.db import models
from django.db.models import F, Q

from ingestion.source.schemas import Resource

RESOURCES = [(resource.value, resource.value.replace("_", " ")) for resource in Resource]


class Mirrored(models.Model):
    """A row that mirrors one of the source's.

    A run never deletes: a row that two successful runs did not see is unavailable from then on, and
    comes back when the source sends it again.
    """

    created_at = models.DateTimeField("created at the source")
    updated_at = models.DateTimeField("updated at the source")
    missing_since = models.ForeignKey(
        "ingestion.IngestionRun", models.SET_NULL, null=True, blank=True, editable=False, related_name="+",
        db_index=False,
        help_text="The first successful run that did not see this row any more.",
    )  # fmt: skip
    unavailable_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        abstract = True
        # Partial: nearly every row is there, and pays nothing.
        indexes: ClassVar = [
            models.Index(
                fields=["missing_since"], name="%(class)s_missing", condition=Q(missing_since__isnull=False)
            ),
            models.Index(
                fields=["unavailable_at"],
                name="%(class)s_unavailable",
                condition=Q(unavailable_at__isnull=False),
            ),
        ]


class Song(Mirrored):
    id = models.BigIntegerField(primary_key=True, help_text="The source's id.")
    name = models.TextField()
    artist = models.TextField()
    songwriters = models.TextField(blank=True)
    duration = models.DurationField()
    genres = models.TextField(blank=True, help_text="As sent; several are separated by commas.")
    album = models.TextField(blank=True)
    audio_features = models.JSONField(
        null=True, blank=True, help_text="By Spotify's names: 0 to 1, loudness in dB, tempo in BPM."
    )
    release_year = models.SmallIntegerField(null=True, blank=True)

    class Meta(Mirrored.Meta):
        db_table = "songs"
        ordering: ClassVar = ["id"]

    def __str__(self) -> str:
        return f"{self.name} by {self.artist}"


class Listener(Mirrored):
    id = models.BigIntegerField(primary_key=True, help_text="The source's id.")
    first_name = models.TextField(blank=True)
    last_name = models.TextField(blank=True)
    email = models.TextField(blank=True)
    gender = models.TextField(blank=True)
    favorite_genres = models.TextField(blank=True, help_text="As sent; several are separated by commas.")

    class Meta(Mirrored.Meta):
        db_table = "users"
        ordering: ClassVar = ["id"]
        permissions: ClassVar = [
            ("view_personal_data", "Can see names, e-mail addresses and genders of listeners")
        ]

    def __str__(self) -> str:
        # No name: this text ends up in logs and error pages.
        return f"Listener {self.pk}"


class ListeningHistory(Mirrored):
    """One listening session; the source gives no time per song."""

    user = models.ForeignKey(Listener, models.PROTECT, related_name="histories", db_index=False)
    items = models.JSONField(help_text="Song ids, in the source's order.")

    class Meta(Mirrored.Meta):
        db_table = "listening_history"
        ordering: ClassVar = ["id"]
        verbose_name_plural = "listening history"
        # The source gives these rows no id: this pair is what names them.
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["user", "created_at"], name="listening_history_user_created_at")
        ]

    def __str__(self) -> str:
        return f"Session of listener {self.user_id} at {self.created_at:%Y-%m-%d %H:%M}"


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
    dry_run = models.BooleanField(default=False)
    accept_reset = models.BooleanField(default=False)
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

    class Meta:
        ordering: ClassVar = ["-id"]
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

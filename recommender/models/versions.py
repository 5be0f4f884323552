"""Models, how they came to be, and which of them serves."""

from typing import Any, ClassVar

from django.db import models
from django.db.models import F, Q

from ingestion.models.jobs import JobRun, job_constraints


class ImmutableRow(Exception):
    """A row that is never changed once it is written was to be changed."""


class ModelVersion(models.Model):
    """One trained model. What it is never changes; only the registry gives it another role."""

    class Method(models.TextChoices):
        MIX = "mix", "mix (clusters draw, a blend ranks)"
        CLASSIC = "classic", "classic (clusters alone)"

    class Role(models.TextChoices):
        CANDIDATE = "candidate"
        CHALLENGER = "challenger"
        CHAMPION = "champion"
        RETIRED = "retired"
        WITHDRAWN = "withdrawn"

    label = models.CharField(max_length=20, unique=True, help_text="Year, week, number: 2026w47.1")
    role = models.CharField(max_length=10, choices=Role.choices, default=Role.CANDIDATE)
    method = models.CharField(max_length=10, choices=Method.choices)
    created_at = models.DateTimeField()
    cut_off = models.DateTimeField("data cut-off", help_text="It learnt from listening up to here.")
    n_songs = models.PositiveIntegerField("songs")
    n_listeners = models.PositiveIntegerField("listeners")
    n_plays = models.PositiveBigIntegerField("plays")
    n_clusters = models.PositiveIntegerField("clusters")
    configuration = models.JSONField(default=dict)
    seed = models.BigIntegerField()
    metrics = models.JSONField(
        default=dict, help_text="Each model's metrics on the latest week, by its name."
    )
    cohesion = models.JSONField(default=dict)
    artifact_sha256 = models.CharField("artifact's sha256", max_length=64)
    artifact_bytes = models.PositiveBigIntegerField(default=0)
    seconds = models.FloatField("duration in seconds")
    cpu_seconds = models.FloatField("CPU seconds")
    peak_memory = models.PositiveBigIntegerField("peak memory in bytes")
    parent = models.ForeignKey(
        "self",
        models.SET_NULL,
        null=True,
        blank=True,
        related_name="refreshes",
        help_text="The version that it refreshes: same features, scales and number of clusters.",
    )
    lineage = models.JSONField(
        default=dict, blank=True, help_text="Clusters born, split and retired; churn in songs and in plays."
    )

    class Meta:
        ordering: ClassVar = ["-id"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["role"], name="model_version_one_champion", condition=Q(role="champion")
            )
        ]

    def __str__(self) -> str:
        return self.label

    def save(self, *args: Any, **kwargs: Any) -> None:
        if not self._state.adding:
            raise ImmutableRow(f"Version {self.label} is written once; the registry changes its role.")
        super().save(*args, **kwargs)


class Cluster(models.Model):
    """A group of songs that one version found; the same group keeps its number in later versions."""

    version = models.ForeignKey(ModelVersion, models.CASCADE, related_name="clusters")
    number = models.PositiveIntegerField(help_text="What the API calls the cluster's id.")
    position = models.PositiveIntegerField(help_text="Its row among the version's centres.")
    name = models.CharField(max_length=120)
    size = models.PositiveIntegerField("songs")
    plays = models.PositiveBigIntegerField(default=0)
    facts = models.JSONField(default=dict, help_text="What is over-represented, and example songs.")

    class Meta:
        ordering: ClassVar = ["version", "number"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["version", "number"], name="cluster_number_once_a_version"),
            models.UniqueConstraint(fields=["version", "position"], name="cluster_position_once_a_version"),
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.number})"


class TrainingRun(JobRun):
    """One training, from the moment it takes the lock."""

    class Trigger(models.TextChoices):
        COMMAND = "command"
        SCHEDULE = "schedule"
        ADMIN = "admin"
        DEMO = "demo"
        DRIFT = "drift"

    class Status(models.TextChoices):
        RUNNING = "running"
        SUCCEEDED = "succeeded"
        REFUSED = "refused"
        FAILED = "failed"
        ABANDONED = "abandoned"

    trigger = models.CharField(max_length=8, choices=Trigger.choices)
    status = models.CharField(max_length=9, choices=Status.choices, default=Status.RUNNING)
    full = models.BooleanField(default=False)
    stage = models.CharField(max_length=40, blank=True, help_text="What a running training is doing.")
    version = models.OneToOneField(
        ModelVersion, models.SET_NULL, null=True, blank=True, related_name="training"
    )
    summary = models.TextField(blank=True, help_text="What this training did, in a sentence.")

    class Meta:
        ordering: ClassVar = ["-id"]
        constraints: ClassVar = [
            *job_constraints("training_run"),
            models.CheckConstraint(
                name="training_run_version_iff_succeeded",
                condition=Q(version=None) | Q(status="succeeded"),
            ),
        ]

    def __str__(self) -> str:
        return f"Training {self.pk} ({self.status})"


class Promotion(models.Model):
    """One line of the ledger: who became champion, instead of whom, and why."""

    promoted = models.ForeignKey(ModelVersion, models.PROTECT, related_name="promotions")
    replaced = models.ForeignKey(
        ModelVersion, models.PROTECT, null=True, blank=True, related_name="replacements"
    )
    rollback = models.BooleanField(default=False, help_text="The replaced version was withdrawn.")
    reason = models.TextField()
    by = models.CharField(max_length=150, help_text="A person's user name, or what decided.")
    at = models.DateTimeField()

    class Meta:
        ordering: ClassVar = ["-id"]
        constraints: ClassVar = [
            models.CheckConstraint(name="promotion_has_a_reason", condition=~Q(reason="")),
            models.CheckConstraint(
                name="promotion_changes_something",
                condition=Q(replaced=None) | ~Q(promoted=F("replaced")),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.promoted} instead of {self.replaced or 'none'}"

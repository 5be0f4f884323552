"""Model versions, their clusters, training runs and promotions."""

from typing import Any, ClassVar

from django.db import models
from django.db.models import F, Q
from django.utils.translation import gettext as _

from ingestion.models.jobs import JobRun, job_constraints


class ImmutableRow(Exception):
    """The row must not change after it was written."""


class ModelVersion(models.Model):
    """One trained model. Only its role changes, and only the registry changes it."""

    class Method(models.TextChoices):
        MIX = "mix", "mix (a blend of models ranks, the draw uses clusters)"
        CLASSIC = "classic", "classic (clusters only)"

    class Role(models.TextChoices):
        CANDIDATE = "candidate"
        CHALLENGER = "challenger"
        CHAMPION = "champion"
        RETIRED = "retired"
        WITHDRAWN = "withdrawn"

    label = models.CharField(
        max_length=20, unique=True, help_text="Year, week and number, such as 2026w47.1."
    )
    role = models.CharField(max_length=10, choices=Role.choices, default=Role.CANDIDATE)
    method = models.CharField(max_length=10, choices=Method.choices)
    created_at = models.DateTimeField()
    cut_off = models.DateTimeField(
        "data cut-off", help_text="Listening after this time was not used for training."
    )
    n_songs = models.PositiveIntegerField("songs")
    n_listeners = models.PositiveIntegerField("listeners")
    n_plays = models.PositiveBigIntegerField("plays")
    n_clusters = models.PositiveIntegerField("clusters")
    configuration = models.JSONField(default=dict)
    seed = models.BigIntegerField()
    metrics = models.JSONField(default=dict, help_text="Metrics on the held-out week, by model name.")
    cohesion = models.JSONField(default=dict)
    artifact_sha256 = models.CharField("SHA-256 of the artifact", max_length=64)
    artifact_bytes = models.PositiveBigIntegerField(default=0)
    files_deleted_at = models.DateTimeField(
        null=True, blank=True, help_text="The files were deleted; the version can't serve any more."
    )
    seconds = models.FloatField("duration in seconds")
    cpu_seconds = models.FloatField("CPU seconds")
    peak_memory = models.PositiveBigIntegerField("peak memory")
    parent = models.ForeignKey(
        "self",
        models.SET_NULL,
        null=True,
        blank=True,
        related_name="refreshes",
        help_text="The version that the warm start continued: same features, scales and number of clusters.",
    )
    lineage = models.JSONField(
        default=dict,
        blank=True,
        help_text="Clusters that are new, split or retired since the parent; shares of songs and plays "
        "that changed cluster.",
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
            raise ImmutableRow(f"Version {self.label} must not change; only the registry changes its role.")
        super().save(*args, **kwargs)


class Cluster(models.Model):
    """A cluster of one version; it keeps its number in later versions."""

    version = models.ForeignKey(ModelVersion, models.CASCADE, related_name="clusters")
    number = models.PositiveIntegerField(help_text="The API calls it the cluster's id.")
    position = models.PositiveIntegerField(help_text="Row of its center in the version's artifact.")
    name = models.CharField(max_length=120, blank=True, help_text="Empty if nothing tells it apart.")
    size = models.PositiveIntegerField("songs")
    plays = models.PositiveBigIntegerField(default=0)
    facts = models.JSONField(
        default=dict,
        help_text="Over-represented genres, decade, moods, example songs, the place on the map, the family "
        "of similar clusters, and the name before changes by staff.",
    )

    class Meta:
        ordering: ClassVar = ["version", "number"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["version", "number"], name="cluster_number_once_a_version"),
            models.UniqueConstraint(fields=["version", "position"], name="cluster_position_once_a_version"),
        ]

    def __str__(self) -> str:
        return f"{self.name or _('Cluster')} ({self.number})"

    @property
    def shown_name(self) -> str:
        return self.name or f"Cluster {self.number}"

    @property
    def automatic_name(self) -> str:
        """The name from the training, without changes by staff."""
        return str(self.facts.get("automatic_name", self.name))

    @property
    def is_named_by_staff(self) -> bool:
        return self.name not in ("", self.automatic_name)


class TrainingRun(JobRun):
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
    stage = models.CharField(max_length=40, blank=True, help_text="The step that a running training is at.")
    version = models.OneToOneField(
        ModelVersion, models.SET_NULL, null=True, blank=True, related_name="training"
    )
    summary = models.TextField(blank=True, help_text="The result in one sentence.")

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
        return _("Training {number} ({status})").format(
            number=self.pk, status=self.get_status_display().lower()
        )


class Promotion(models.Model):
    """A change of the champion: which version replaced which, and why."""

    promoted = models.ForeignKey(
        ModelVersion, models.PROTECT, related_name="promotions", verbose_name="new champion"
    )
    replaced = models.ForeignKey(
        ModelVersion,
        models.PROTECT,
        null=True,
        blank=True,
        related_name="replacements",
        verbose_name="replaced champion",
    )
    rollback = models.BooleanField(default=False, help_text="The replaced version was withdrawn.")
    reason = models.TextField()
    by = models.CharField(
        "decided by", max_length=150, help_text="A user name, or the part of the product that decided."
    )
    at = models.DateTimeField("promoted at")

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
        return _("{new} instead of {old}").format(new=self.promoted, old=self.replaced or _("none"))

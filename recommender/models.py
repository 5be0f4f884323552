"""The tables of the recommender room: models, how they came to be, what was served and said."""

import uuid
from typing import Any, ClassVar

from django.contrib.auth.models import User
from django.db import models
from django.db.models import F, Q
from django.utils.functional import cached_property

from ingestion.models import Listener, Song
from recommender.cards import Card, cards_of


class Immutable(Exception):
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
            raise Immutable(f"Version {self.label} is written once; the registry changes its role.")
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


class TrainingRun(models.Model):
    """One training, from the moment it takes the lock."""

    class Trigger(models.TextChoices):
        COMMAND = "command"
        SCHEDULE = "schedule"
        ADMIN = "admin"
        DEMO = "demo"

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
    started_at = models.DateTimeField(db_index=True)
    heartbeat_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True, blank=True)
    host = models.CharField(max_length=255)
    pid = models.PositiveIntegerField()
    process_started = models.FloatField(help_text="Seconds since 1970; tells a re-used process id apart.")
    version = models.OneToOneField(
        ModelVersion, models.SET_NULL, null=True, blank=True, related_name="training"
    )
    cpu_seconds = models.FloatField("CPU seconds", default=0.0)
    peak_memory = models.PositiveBigIntegerField("peak memory in bytes", default=0)
    error_kind = models.CharField(max_length=40, blank=True)
    error = models.TextField(blank=True)
    summary = models.TextField(blank=True, help_text="What this training did, in a sentence.")

    class Meta:
        ordering: ClassVar = ["-id"]
        constraints: ClassVar = [
            models.CheckConstraint(
                name="training_run_finished_iff_not_running",
                condition=Q(status="running", finished_at=None)
                | (~Q(status="running") & Q(finished_at__isnull=False)),
            ),
            models.UniqueConstraint(
                name="training_run_only_one_running", fields=["status"], condition=Q(status="running")
            ),
            models.CheckConstraint(
                name="training_run_version_iff_succeeded",
                condition=Q(version=None) | Q(status="succeeded"),
            ),
            models.CheckConstraint(
                name="training_run_error_needs_kind", condition=Q(error="") | ~Q(error_kind="")
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


class Shelf(models.Model):
    """What one listener's lists are drawn from; written once, so that every draw can be repeated."""

    listener = models.ForeignKey(Listener, models.CASCADE, related_name="shelves", db_index=False)
    version = models.ForeignKey(
        ModelVersion,
        models.CASCADE,
        null=True,
        blank=True,
        help_text="None: popularity, for want of a model.",
    )
    made_at = models.DateTimeField()
    live = models.BooleanField(default=False, help_text="Made for a request, not by the batch.")
    # What it knew of the listener; anything newer makes it stale.
    history_at = models.DateTimeField("newest session known", null=True, blank=True)
    feedback_id = models.BigIntegerField("newest feedback known", default=0)
    candidates = models.BinaryField()

    class Meta:
        verbose_name_plural = "shelves"
        ordering: ClassVar = ["-id"]
        indexes: ClassVar = [models.Index(fields=["listener", "-id"], name="shelf_newest_of_listener")]

    def __str__(self) -> str:
        return f"Shelf {self.pk} of listener {self.listener_id}"


class ServedList(models.Model):
    """One list of recommendations as it was served: page 2 continues it, and a replay repeats it."""

    class Arm(models.TextChoices):
        CHAMPION = "champion"
        CHALLENGER = "challenger"
        INTERLEAVED = "interleaved"
        FALLBACK = "fallback"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    listener = models.ForeignKey(Listener, models.CASCADE, related_name="served_lists", db_index=False)
    shelf = models.ForeignKey(Shelf, models.PROTECT, related_name="served_lists")
    version = models.ForeignKey(ModelVersion, models.PROTECT, null=True, blank=True)
    arm = models.CharField(max_length=11, choices=Arm.choices)
    generated_at = models.DateTimeField(db_index=True)
    stale = models.BooleanField(default=False, help_text="Drawn from a shelf that could not be renewed.")
    discovery = models.FloatField("discovery asked for")
    temperature = models.FloatField()
    artist_cap = models.PositiveIntegerField(null=True, blank=True, help_text="None: no limit.")
    seed = models.CharField(max_length=64)
    pages = models.JSONField(help_text="What each page asked for: how many songs, and which excluded.")
    items = models.JSONField(help_text="Song, cluster, affinity, propensity, familiar, reason; best first.")

    class Meta:
        ordering: ClassVar = ["-generated_at"]
        indexes: ClassVar = [
            models.Index(fields=["listener", "-generated_at"], name="served_list_of_listener")
        ]
        constraints: ClassVar = [
            models.CheckConstraint(
                name="served_list_discovery_is_a_share", condition=Q(discovery__gte=0, discovery__lte=1)
            ),
            models.CheckConstraint(
                name="served_list_fallback_iff_no_version",
                condition=Q(version=None, arm="fallback") | Q(version__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"List {self.pk}"

    @cached_property
    def cards(self) -> dict[int, Card]:
        """What is shown of its songs, by their ids."""
        return cards_of(item["song"] for item in self.items)


class Feedback(models.Model):
    """What a listener said or did, as the app reported it."""

    class Kind(models.TextChoices):
        LIKE = "like"
        DISLIKE = "dislike"
        SKIP = "skip"
        LISTEN = "listen"
        WRONG_STYLE = "wrong_style", "wrong style"

    event_id = models.CharField(
        max_length=64, unique=True, help_text="The app's own; sent twice, it counts once."
    )
    listener = models.ForeignKey(Listener, models.CASCADE, related_name="feedback", db_index=False)
    song = models.ForeignKey(Song, models.CASCADE, related_name="feedback")
    kind = models.CharField(max_length=11, choices=Kind.choices)
    seconds = models.FloatField(null=True, blank=True, help_text="How long it was listened to.")
    served_list = models.ForeignKey(
        ServedList, models.SET_NULL, null=True, blank=True, related_name="feedback"
    )
    at = models.DateTimeField("happened at")
    received_at = models.DateTimeField()

    class Meta:
        verbose_name_plural = "feedback"
        ordering: ClassVar = ["-id"]
        indexes: ClassVar = [models.Index(fields=["listener", "-id"], name="feedback_newest_of_listener")]
        constraints: ClassVar = [
            models.CheckConstraint(
                name="feedback_seconds_iff_listen",
                condition=Q(kind="listen", seconds__gte=0) | (~Q(kind="listen") & Q(seconds=None)),
            )
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} of song {self.song_id} by listener {self.listener_id}"


class ApiKey(models.Model):
    """A program's key to the API. Only its digest is kept: the key itself is shown once."""

    name = models.CharField(max_length=100, help_text="Who uses it, such as 'iOS app'.")
    user = models.ForeignKey(
        User, models.CASCADE, related_name="api_keys", help_text="What this user may see, the key may."
    )
    prefix = models.CharField(
        max_length=8, editable=False, help_text="The key's first letters, to tell keys apart."
    )
    digest = models.CharField(max_length=64, unique=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name = "API key"
        ordering: ClassVar = ["-id"]

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}...)"

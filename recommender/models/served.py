"""What is shown of a song in a list."""

import uuid
from collections.abc import Iterable
from typing import ClassVar, NamedTuple

from django.db import models
from django.db.models import Q
from django.utils.functional import cached_property

from ingestion.models import Listener, Song
from recommender.models import sql
from recommender.models.versions import ModelVersion


class SongCard(NamedTuple):
    """Attributes: duration: whole seconds."""

    id: int
    name: str
    artist: str
    album: str
    genres: str
    duration: int
    is_available: bool | int  # SQLite knows no booleans


def read_song_cards(songs: Iterable[int]) -> dict[int, SongCard]:
    """By song id, in one query; ids of no song are left out."""
    return {row[0]: SongCard(*row) for row in sql.song_cards(list(songs))}


class CandidateList(models.Model):
    """What one listener's lists are drawn from; written once, so that every draw can be repeated."""

    listener = models.ForeignKey(Listener, models.CASCADE, related_name="candidate_lists", db_index=False)
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
    history = models.CharField("mark of all sessions known", max_length=80, blank=True)
    run_id = models.BigIntegerField("newest run known", default=0)
    feedback_id = models.BigIntegerField("newest feedback known", default=0)
    candidates = models.BinaryField()

    class Meta:
        db_table = "recommender_shelf"
        ordering: ClassVar = ["-id"]
        indexes: ClassVar = [models.Index(fields=["listener", "-id"], name="shelf_newest_of_listener")]

    def __str__(self) -> str:
        return f"Candidate list {self.pk} of listener {self.listener_id}"


class ServedList(models.Model):
    """One list of recommendations as it was served: page 2 continues it, and a replay repeats it."""

    class Arm(models.TextChoices):
        CHAMPION = "champion"
        CHALLENGER = "challenger"
        INTERLEAVED = "interleaved"
        FALLBACK = "fallback"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    listener = models.ForeignKey(Listener, models.CASCADE, related_name="served_lists", db_index=False)
    # RESTRICT and not PROTECT: a listener who is deleted takes their lists and shelves along.
    candidate_list = models.ForeignKey(
        CandidateList, models.RESTRICT, related_name="served_lists", db_column="shelf_id"
    )
    version = models.ForeignKey(ModelVersion, models.PROTECT, null=True, blank=True)
    arm = models.CharField(max_length=11, choices=Arm.choices)
    generated_at = models.DateTimeField()
    stale = models.BooleanField(default=False, help_text="Drawn from a shelf that could not be renewed.")
    discovery = models.FloatField("discovery asked for")
    temperature = models.FloatField()
    artist_cap = models.PositiveIntegerField(null=True, blank=True, help_text="None: no limit.")
    seed = models.CharField(max_length=64)
    experiment = models.ForeignKey(
        "recommender.Experiment",
        models.SET_NULL,
        null=True,
        blank=True,
        related_name="served_lists",
        db_index=False,
    )
    challenger_candidate_list = models.ForeignKey(
        CandidateList,
        models.RESTRICT,
        null=True,
        blank=True,
        related_name="+",
        db_column="challenger_shelf_id",
        help_text="What the challenger's places of an interleaved list were drawn from.",
    )
    milliseconds = models.FloatField(
        null=True, blank=True, help_text="How long a list of a test took, the challenger's part included."
    )
    challenger_milliseconds = models.FloatField(
        null=True, blank=True, help_text="Of that, what the challenger's shelf took."
    )
    pages = models.JSONField(help_text="What each page asked for: how many songs, and which excluded.")
    items = models.JSONField(help_text="Song, cluster, affinity, propensity, familiar, reason; best first.")

    class Meta:
        ordering: ClassVar = ["-generated_at"]
        indexes: ClassVar = [
            models.Index(fields=["listener", "-generated_at"], name="served_list_of_listener"),
            # How many lists there were of how many listeners is told from it alone.
            models.Index(fields=["generated_at", "listener"], name="served_list_of_time"),
            # Holds all that the page of a test counts: a list itself has kilobytes.
            models.Index(fields=["experiment", "arm", "listener"], name="served_list_of_test"),
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
    def cards(self) -> dict[int, SongCard]:
        """What is shown of its songs, by their ids."""
        return read_song_cards(item["song"] for item in self.items)


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


class ServingError(models.Model):
    """A list of a test that could not be made as it should: the champion served alone."""

    class Kind(models.TextChoices):
        ARTIFACT = "artifact", "the challenger can't be loaded"
        ERROR = "error", "a list could not be drawn"

    experiment = models.ForeignKey("recommender.Experiment", models.CASCADE, related_name="serving_errors")
    kind = models.CharField(max_length=8, choices=Kind.choices)
    detail = models.TextField(blank=True)
    at = models.DateTimeField()

    class Meta:
        db_table = "recommender_mishap"
        ordering: ClassVar = ["-id"]
        indexes: ClassVar = [models.Index(fields=["experiment", "at"], name="mishap_of_experiment")]

    def __str__(self) -> str:
        return f"{self.kind} in experiment {self.experiment_id}"

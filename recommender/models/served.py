"""Candidate lists, served lists, feedback and serving errors."""

import uuid
from collections.abc import Iterable
from datetime import timedelta
from typing import ClassVar, NamedTuple, Self

from django.db import models
from django.db.models import Q
from django.utils.functional import cached_property
from django.utils.translation import gettext as _

from ingestion.models import Listener, Song
from recommender.engine.feedback_state import HEARD_SECONDS, HEARD_SHARE
from recommender.models import sql
from recommender.models.versions import ModelVersion


class SongCard(NamedTuple):
    id: int
    name: str
    artist: str
    album: str
    genres: str
    duration: int  # seconds
    is_available: bool | int  # SQLite has no booleans


def read_song_cards(songs: Iterable[int]) -> dict[int, SongCard]:
    return {row[0]: SongCard(*row) for row in sql.song_cards(list(songs))}


class CandidateList(models.Model):
    """A listener's candidate list. It never changes, so that every draw can be replayed."""

    listener = models.ForeignKey(Listener, models.CASCADE, related_name="candidate_lists", db_index=False)
    version = models.ForeignKey(
        ModelVersion,
        models.CASCADE,
        null=True,
        blank=True,
        verbose_name="model version",
        help_text="Empty: popular songs, because no model could serve.",
    )
    made_at = models.DateTimeField()
    live = models.BooleanField(
        default=False, help_text="Generated during a request, not by the scheduled task."
    )
    # The newest data that the list was made from; anything newer makes the list stale.
    history_at = models.DateTimeField("newest session known", null=True, blank=True)
    history = models.CharField("fingerprint of the known history", max_length=80, blank=True)
    run_id = models.BigIntegerField("newest ingestion run known", default=0)
    feedback_id = models.BigIntegerField("newest feedback known", default=0)
    candidates = models.BinaryField()

    class Meta:
        db_table = "recommender_shelf"
        ordering: ClassVar = ["-id"]
        indexes: ClassVar = [models.Index(fields=["listener", "-id"], name="shelf_newest_of_listener")]

    def __str__(self) -> str:
        return f"Candidate list {self.pk} of listener {self.listener_id}"


class ServedList(models.Model):
    """A list that was served. Later pages extend it, and a replay draws it again."""

    class Arm(models.TextChoices):
        CHAMPION = "champion"
        CHALLENGER = "challenger"
        INTERLEAVED = "interleaved"
        FALLBACK = "fallback"

    # False for a list served while nothing could be stored; it can't be continued.
    is_stored = True

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    listener = models.ForeignKey(Listener, models.CASCADE, related_name="served_lists", db_index=False)
    # RESTRICT and not PROTECT: deleting a listener also deletes their lists and candidate lists.
    candidate_list = models.ForeignKey(
        CandidateList, models.RESTRICT, related_name="served_lists", db_column="shelf_id"
    )
    version = models.ForeignKey(
        ModelVersion, models.PROTECT, null=True, blank=True, verbose_name="model version"
    )
    arm = models.CharField(max_length=11, choices=Arm.choices)
    generated_at = models.DateTimeField()
    stale = models.BooleanField(
        default=False,
        help_text="Drawn from a cached candidate list that could not be refreshed in time.",
    )
    discovery = models.FloatField("requested discovery")
    # The database defaults let processes of the release before insert rows during an upgrade.
    mode = models.CharField(max_length=10, default="mix", db_default="mix")
    repeats = models.FloatField("requested share of favourites", default=0.0, db_default=0.0)
    temperature = models.FloatField()
    artist_cap = models.PositiveIntegerField(null=True, blank=True, help_text="Empty: no limit.")
    seed = models.CharField(max_length=64)
    impressions = models.JSONField(
        null=True,
        blank=True,
        help_text="How often the listener had been shown each candidate lately, by song ID, for a replay.",
    )
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
        help_text="The challenger's candidates of an interleaved list.",
    )
    milliseconds = models.FloatField(
        null=True, blank=True, help_text="Duration of an experiment's list, including the challenger's part."
    )
    challenger_milliseconds = models.FloatField(
        null=True, blank=True, help_text="The part of it that loading the challenger's candidates took."
    )
    asked_by = models.CharField(
        "requested by", max_length=150, default="", db_default="", blank=True,
        help_text="The API key, user or command that asked for the list; empty in older lists.",
    )  # fmt: skip
    pages = models.JSONField(help_text="Each page's number of songs and excluded songs.")
    items = models.JSONField(
        help_text="Song, cluster, affinity, propensity, familiar and reason, in list order."
    )
    # Reading the ids from the items takes ten times as long.
    song_ids = models.JSONField(
        "song IDs", null=True, blank=True, help_text="Of the items; empty in lists of earlier releases."
    )

    class Meta:
        ordering: ClassVar = ["-generated_at"]
        indexes: ClassVar = [
            models.Index(fields=["listener", "-generated_at"], name="served_list_of_listener"),
            # Covers the count of lists and listeners in a period.
            models.Index(fields=["generated_at", "listener"], name="served_list_of_time"),
            # Covers the counts of an experiment's page: a row itself has kilobytes.
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
        return _("List {number}").format(number=self.pk)

    @cached_property
    def cards(self) -> dict[int, SongCard]:
        return read_song_cards(item["song"] for item in self.items)


class FeedbackQuerySet(models.QuerySet["Feedback"]):
    def not_withdrawn(self) -> Self:
        """Events that were not withdrawn; later events may still overrule them."""
        return self.filter(withdrawn_at=None)

    def without_short_listens(self) -> Self:
        """Events without listens too short to count, see `feedback_state.heard_threshold`."""
        played_out = Q(
            song__duration__gt=timedelta(0), seconds__gte=HEARD_SHARE * sql.total_seconds("song__duration")
        )
        return self.filter(~Q(kind="listen") | Q(seconds__gte=HEARD_SECONDS) | played_out)


class Feedback(models.Model):
    """An event that the app reported."""

    class Kind(models.TextChoices):
        LIKE = "like"
        DISLIKE = "dislike"
        SKIP = "skip"
        LISTEN = "listen"
        WRONG_STYLE = "wrong_style", "wrong style"
        CLEAR = "clear"

    event_id = models.CharField(
        "event ID",
        max_length=64,
        help_text="Chosen by the app; an event sent twice counts once.",
    )
    # Not a foreign key: the number must stay if a key is deleted, so that ids remain unique.
    key_id = models.BigIntegerField(
        "API key ID",
        null=True,
        blank=True,
        help_text="The key that the app used; 0 for staff and the listener page, empty for events of earlier "
        "releases.",
    )
    listener = models.ForeignKey(Listener, models.CASCADE, related_name="feedback", db_index=False)
    song = models.ForeignKey(Song, models.CASCADE, related_name="feedback")
    kind = models.CharField(max_length=11, choices=Kind.choices)
    seconds = models.FloatField("seconds listened", null=True, blank=True)
    served_list = models.ForeignKey(
        ServedList, models.SET_NULL, null=True, blank=True, related_name="feedback"
    )
    at = models.DateTimeField("happened at")
    received_at = models.DateTimeField()
    withdrawn_at = models.DateTimeField(
        null=True, blank=True, help_text="When the app deleted the event; it no longer counts."
    )

    objects = FeedbackQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "feedback"
        ordering: ClassVar = ["-id"]
        indexes: ClassVar = [
            models.Index(fields=["listener", "-id"], name="feedback_newest_of_listener"),
            models.Index(fields=["at"], name="feedback_of_time"),
        ]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["event_id", "key_id"], name="feedback_event_id_of_key"),
            models.CheckConstraint(
                name="feedback_seconds_iff_listen",
                condition=Q(kind="listen", seconds__gte=0) | (~Q(kind="listen") & Q(seconds=None)),
            ),
        ]

    def __str__(self) -> str:
        return _("{kind} of song {song} by listener {listener}").format(
            kind=self.get_kind_display(), song=self.song_id, listener=self.listener_id
        )


class ServingError(models.Model):
    """A failure of the challenger; the champion served that list alone."""

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

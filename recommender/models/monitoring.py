"""Engagement with served lists, and drift."""

from typing import Any, ClassVar

from django.db import models
from django.db.models import Q
from django.db.models.functions import Coalesce
from django.utils.translation import gettext as _

from ingestion.models import Listener, Song
from recommender.models.served import ServedList
from recommender.models.versions import ModelVersion


class AttributedListenQuerySet(models.QuerySet["AttributedListen"]):
    def with_listener(self) -> Any:
        """Add `heard_by`, the listener's id, which is known for rows of deleted lists, too."""
        return self.annotate(heard_by=Coalesce("listener_id", "served_list__listener_id"))


class AttributedListen(models.Model):
    """A recommended song that the listener played within 7 days, by the listening history."""

    # Training needs these rows for ever: without them a recommended play would look organic.
    # Whoever deletes old lists first names the listener here;
    # the lists of a forgotten listener take these rows along.
    served_list = models.ForeignKey(
        ServedList, models.CASCADE, null=True, blank=True, related_name="attributed"
    )
    listener = models.ForeignKey(
        Listener, models.CASCADE, null=True, blank=True, related_name="+", db_index=False,
        help_text="Set when the served list is deleted; until then the list names the listener.",
    )  # fmt: skip
    song = models.ForeignKey(Song, models.CASCADE, related_name="+", db_index=False)
    at = models.DateTimeField(help_text="Start of the session.")

    objects = AttributedListenQuerySet.as_manager()

    class Meta:
        ordering: ClassVar = ["id"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["served_list", "song"], name="attributed_listen_once_a_list")
        ]
        indexes: ClassVar = [
            models.Index(fields=["at"], name="attributed_listen_of_time"),
            models.Index(
                fields=["listener"], name="attributed_listen_without_list",
                condition=Q(listener__isnull=False),
            ),
        ]  # fmt: skip

    def __str__(self) -> str:
        return f"Song {self.song_id} of list {self.served_list_id or 'that was deleted'}"


class EngagedList(models.Model):
    """One list's engagement within 7 days; 0 without any."""

    served_list = models.OneToOneField(ServedList, models.CASCADE, related_name="engagement")
    listener = models.ForeignKey(Listener, models.CASCADE, related_name="+", db_index=False)
    version = models.ForeignKey(ModelVersion, models.CASCADE, related_name="engaged_lists")
    at = models.DateTimeField("served at", db_index=True)
    songs = models.PositiveSmallIntegerField()
    engaged = models.PositiveSmallIntegerField(
        default=0, help_text="Songs liked or listened to, and not skipped or disliked."
    )
    early = models.PositiveSmallIntegerField(
        "engaged within 24 hours", null=True, blank=True, help_text="Empty until the first day was imported."
    )
    likes = models.PositiveSmallIntegerField(default=0)
    listens = models.PositiveSmallIntegerField(
        default=0, help_text="Reported by the app, or attributed from the history."
    )
    skips = models.PositiveSmallIntegerField(default=0)
    dislikes = models.PositiveSmallIntegerField(default=0)
    final = models.BooleanField(
        "complete", default=False, help_text="Seven days have passed; the counts no longer change."
    )

    class Meta:
        ordering: ClassVar = ["id"]
        indexes: ClassVar = [
            models.Index(fields=["listener", "at"], name="engaged_list_of_listener"),
            models.Index(fields=["at"], name="engaged_list_open", condition=Q(final=False)),
        ]

    def __str__(self) -> str:
        return f"{self.engaged} of {self.songs} songs of list {self.served_list_id}"


class EngagementDay(models.Model):
    """Engagement with a version's lists of one day; lists without any count as 0."""

    version = models.ForeignKey(ModelVersion, models.CASCADE, related_name="engagement_days")
    day = models.DateField(help_text="In UTC.")
    lists = models.PositiveIntegerField("lists served", default=0)
    listeners = models.PositiveIntegerField("listeners served", default=0)
    engaged = models.FloatField("engaged songs per list", default=0.0, help_text="Mean over listeners.")
    engaged_deviation = models.FloatField("standard deviation over listeners", default=0.0)
    early = models.FloatField(
        "engaged songs per list within 24 hours", null=True, blank=True,
        help_text="Empty until the listening of these hours was imported.",
    )  # fmt: skip
    early_deviation = models.FloatField("standard deviation within 24 hours", default=0.0)
    likes = models.PositiveIntegerField(default=0)
    skips = models.PositiveIntegerField(default=0)
    dislikes = models.PositiveIntegerField(default=0)
    listens = models.PositiveIntegerField("attributed listens", default=0)
    recommended_plays = models.PositiveIntegerField(default=0)
    organic_plays = models.PositiveIntegerField(default=0)
    final = models.BooleanField(
        "complete", default=False, help_text="Seven days have passed; the counts no longer change."
    )

    class Meta:
        verbose_name = "day of engagement"
        verbose_name_plural = "engagement by day"
        ordering: ClassVar = ["-day", "-version"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["version", "day"], name="engagement_day_once_a_version")
        ]

    def __str__(self) -> str:
        return f"{self.version}, {self.day}"


class DriftReport(models.Model):
    """How far one week's data has drifted from the champion's training data."""

    class Kind(models.TextChoices):
        SONGS = "songs", "new songs"
        LISTENING = "listening", "organic listening"
        RECOMMENDED = "recommended", "recommended listening"
        FEEDBACK = "feedback", "likes and skips"
        FEED = "feed", "audio features of the source"

    version = models.ForeignKey(ModelVersion, models.CASCADE, related_name="drift_reports")
    kind = models.CharField(max_length=11, choices=Kind.choices)
    week = models.DateField(help_text="Monday of the week that was checked.")
    at = models.DateTimeField()
    n = models.PositiveIntegerField("sample size", default=0, help_text="New songs or plays.")
    listeners = models.PositiveIntegerField(default=0)
    p = models.FloatField("p-value", null=True, blank=True)
    effect = models.FloatField(default=0.0)
    limit = models.FloatField(default=0.0, help_text="Smallest effect that counts as drift.")
    drifted = models.BooleanField(default=False)
    alarm = models.BooleanField(
        default=False, help_text="Two drifted weeks in a row, or one at twice the limit."
    )
    causes = models.JSONField(
        default=list, blank=True, help_text="Clusters, songs or features that moved most."
    )
    season = models.JSONField("same week a year ago", default=dict, blank=True)

    class Meta:
        ordering: ClassVar = ["-week", "kind"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["version", "kind", "week"], name="drift_report_once_a_week")
        ]

    def __str__(self) -> str:
        return _("{kind} in the week of {week}").format(kind=self.get_kind_display(), week=self.week)


class SongEvidence(models.Model):
    """The cluster that feedback votes chose for a song in one version."""

    version = models.ForeignKey(ModelVersion, models.CASCADE, related_name="song_evidence")
    song = models.ForeignKey(Song, models.CASCADE, related_name="cluster_evidence")
    before = models.PositiveIntegerField("cluster without feedback", help_text="A cluster number.")
    after = models.PositiveIntegerField("cluster with feedback", help_text="A cluster number.")
    listeners = models.PositiveIntegerField()
    log_odds = models.FloatField(
        "log odds", help_text="Natural logarithm of the odds of the cluster with feedback to the one without."
    )
    margin = models.FloatField(
        help_text="Posterior of the best cluster minus that of the second best, 0 to 1."
    )

    class Meta:
        verbose_name = "song evidence"
        verbose_name_plural = "song evidence"
        ordering: ClassVar = ["version", "margin"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["version", "song"], name="song_evidence_once_a_version")
        ]
        indexes: ClassVar = [
            # The order of the admin's list; without this index each page would join and sort all rows.
            models.Index(fields=["-version", "margin", "-id"], name="song_evidence_least_sure")
        ]

    def __str__(self) -> str:
        return _("Song {song}: cluster {before} to {after}").format(
            song=self.song_id, before=self.before, after=self.after
        )

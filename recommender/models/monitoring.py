"""The loop that retrains: tests between models, what they found, and what was decided."""

from typing import ClassVar

from django.db import models
from django.db.models import Q

from ingestion.models import Listener, Song
from recommender.models.served import ServedList
from recommender.models.versions import ModelVersion


class AttributedListen(models.Model):
    """A served song that stands in the listener's later history, within 7 days."""

    served_list = models.ForeignKey(ServedList, models.CASCADE, related_name="attributed")
    song = models.ForeignKey(Song, models.CASCADE, related_name="+", db_index=False)
    at = models.DateTimeField(help_text="When the session began.")

    class Meta:
        ordering: ClassVar = ["id"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["served_list", "song"], name="attributed_listen_once_a_list")
        ]

    def __str__(self) -> str:
        return f"Song {self.song_id} of list {self.served_list_id}"


class EngagedList(models.Model):
    """What came of one served list within 7 days; a list of which nothing came counts as zero."""

    served_list = models.OneToOneField(ServedList, models.CASCADE, related_name="engagement")
    listener = models.ForeignKey(Listener, models.CASCADE, related_name="+", db_index=False)
    version = models.ForeignKey(ModelVersion, models.CASCADE, related_name="engaged_lists")
    at = models.DateTimeField("served at", db_index=True)
    songs = models.PositiveSmallIntegerField()
    engaged = models.PositiveSmallIntegerField(
        default=0, help_text="Songs liked or listened to, not refused."
    )
    early = models.PositiveSmallIntegerField(
        "engaged within a day", null=True, blank=True, help_text="Empty until a day was read in."
    )
    likes = models.PositiveSmallIntegerField(default=0)
    listens = models.PositiveSmallIntegerField(default=0, help_text="Attributed ones, and those reported.")
    skips = models.PositiveSmallIntegerField(default=0)
    dislikes = models.PositiveSmallIntegerField(default=0)
    final = models.BooleanField(default=False, help_text="Seven days have passed: nothing can be added.")

    class Meta:
        ordering: ClassVar = ["id"]
        indexes: ClassVar = [
            models.Index(fields=["listener", "at"], name="engaged_list_of_listener"),
            models.Index(fields=["at"], name="engaged_list_open", condition=Q(final=False)),
        ]

    def __str__(self) -> str:
        return f"{self.engaged} of {self.songs} songs of list {self.served_list_id}"


class EngagementDay(models.Model):
    """One day of lists with one version as champion, or alone in a split; zero counts as zero."""

    version = models.ForeignKey(ModelVersion, models.CASCADE, related_name="engagement_days")
    day = models.DateField(help_text="In UTC.")
    lists = models.PositiveIntegerField(default=0)
    listeners = models.PositiveIntegerField(default=0)
    engaged = models.FloatField("engaged songs a list, mean over listeners", default=0.0)
    engaged_deviation = models.FloatField("standard deviation over listeners", default=0.0)
    early = models.FloatField(
        "engaged within a day", null=True, blank=True,
        help_text="The same, of each list's first 24 hours; empty until they were read in.",
    )  # fmt: skip
    early_deviation = models.FloatField("standard deviation of that", default=0.0)
    likes = models.PositiveIntegerField(default=0)
    skips = models.PositiveIntegerField(default=0)
    dislikes = models.PositiveIntegerField(default=0)
    listens = models.PositiveIntegerField("attributed listens", default=0)
    recommended_plays = models.PositiveIntegerField(default=0)
    organic_plays = models.PositiveIntegerField(default=0)
    final = models.BooleanField(default=False, help_text="Seven days have passed: nothing can be added.")

    class Meta:
        ordering: ClassVar = ["-day", "-version"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["version", "day"], name="engagement_day_once_a_version")
        ]

    def __str__(self) -> str:
        return f"{self.version} on {self.day}"


class DriftReport(models.Model):
    """One look at whether the world has moved away from what the champion learnt."""

    class Kind(models.TextChoices):
        SONGS = "songs", "new songs"
        LISTENING = "listening", "organic listening"
        RECOMMENDED = "recommended", "recommended listening"
        FEEDBACK = "feedback", "likes and skips"
        FEED = "feed", "the source's features"

    version = models.ForeignKey(ModelVersion, models.CASCADE, related_name="drift_reports")
    kind = models.CharField(max_length=11, choices=Kind.choices)
    week = models.DateField(help_text="The Monday of the week that was looked at.")
    at = models.DateTimeField()
    n = models.PositiveIntegerField(default=0, help_text="New songs, or plays, that it rests on.")
    listeners = models.PositiveIntegerField(default=0)
    p = models.FloatField(null=True, blank=True)
    effect = models.FloatField(default=0.0)
    limit = models.FloatField(default=0.0, help_text="What the effect must reach.")
    drifted = models.BooleanField(default=False)
    alarm = models.BooleanField(default=False, help_text="Two weeks running, or once twice as far.")
    causes = models.JSONField(default=list, blank=True, help_text="Clusters, songs, features; most first.")
    season = models.JSONField(default=dict, blank=True, help_text="How the same week moved a year ago.")

    class Meta:
        ordering: ClassVar = ["-week", "kind"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["version", "kind", "week"], name="drift_report_once_a_week")
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} in the week of {self.week}"


class SongEvidence(models.Model):
    """Where listeners say a song belongs, as of the version that was made with it."""

    version = models.ForeignKey(ModelVersion, models.CASCADE, related_name="song_evidence")
    song = models.ForeignKey(Song, models.CASCADE, related_name="cluster_evidence")
    before = models.PositiveIntegerField("cluster by sound", help_text="Numbers of clusters.")
    after = models.PositiveIntegerField("cluster with feedback")
    listeners = models.PositiveIntegerField()
    log_odds = models.FloatField(help_text="ln of the odds of `after` against `before`.")
    margin = models.FloatField(help_text="Of the best posterior above the second.")

    class Meta:
        ordering: ClassVar = ["version", "margin"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["version", "song"], name="song_evidence_once_a_version")
        ]
        indexes: ClassVar = [
            # The order of its list in the admin: sorted, all rows would be given their clusters' names.
            models.Index(fields=["-version", "margin", "-id"], name="song_evidence_least_sure")
        ]

    def __str__(self) -> str:
        return f"Song {self.song_id}: cluster {self.before} to {self.after}"

"""What the source holds: songs, listeners and their listening."""

from typing import ClassVar

from django.db import models
from django.db.models import Q

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

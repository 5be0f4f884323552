"""The imported catalogue: songs, listeners and their listening history."""

from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext as _

from ingestion.source.schemas import Resource

# The public API and the tables call listeners "users"; pages show these names.
RESOURCES = [
    (Resource.SONGS.value, "songs"),
    (Resource.USERS.value, "listeners"),
    (Resource.LISTENING_HISTORY.value, "listening sessions"),
]


class Mirrored(models.Model):
    """A row imported from the source.

    Runs never delete rows. A row becomes unavailable after two successful runs without it, and available
    again when the source sends it.
    """

    created_at = models.DateTimeField("created at the source")
    updated_at = models.DateTimeField("updated at the source")
    missing_since = models.ForeignKey(
        "ingestion.IngestionRun", models.SET_NULL, null=True, blank=True, editable=False, related_name="+",
        db_index=False,
        help_text="First successful run in which the source no longer sent this row.",
    )  # fmt: skip
    unavailable_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        abstract = True
        # Partial indexes: nearly all rows are available, and these indexes leave them out.
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
    id = models.BigIntegerField("ID", primary_key=True, help_text="ID given by the source.")
    name = models.TextField()
    artist = models.TextField()
    songwriters = models.TextField(blank=True)
    duration = models.DurationField()
    genres = models.TextField(blank=True, help_text="As the source sent them, separated by commas.")
    album = models.TextField(blank=True)
    audio_features = models.JSONField(
        null=True,
        blank=True,
        help_text="Spotify's feature names: values from 0 to 1, except loudness (dB) and tempo (BPM).",
    )
    release_year = models.SmallIntegerField(null=True, blank=True)

    class Meta(Mirrored.Meta):
        db_table = "songs"
        ordering: ClassVar = ["id"]

    def __str__(self) -> str:
        return _("{song} by {artist}").format(song=self.name, artist=self.artist)


def numeric_features(features: object) -> dict[str, float]:
    """The features that are numbers; sources also send text, booleans or null."""
    if not isinstance(features, dict):
        return {}
    return {
        name: float(value)
        for name, value in features.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }


class Listener(Mirrored):
    id = models.BigIntegerField("ID", primary_key=True, help_text="ID given by the source.")
    first_name = models.TextField(blank=True)
    last_name = models.TextField(blank=True)
    email = models.TextField(blank=True)
    gender = models.TextField(blank=True)
    favorite_genres = models.TextField(blank=True, help_text="As the source sent them, separated by commas.")

    class Meta(Mirrored.Meta):
        db_table = "users"
        ordering: ClassVar = ["id"]
        permissions: ClassVar = [
            ("view_personal_data", "Can see names, e-mail addresses and genders of listeners")
        ]

    def __str__(self) -> str:
        # Without the name, because this text appears in logs and error pages.
        return _("Listener {number}").format(number=self.pk)


class ListeningHistory(Mirrored):
    """One listening session; the source gives no time per song."""

    user = models.ForeignKey(
        Listener, models.PROTECT, verbose_name="listener", related_name="histories", db_index=False
    )
    items = models.JSONField("songs", help_text="Song IDs in the order the source sent them.")
    occurrence = models.IntegerField(
        default=0, db_default=0,
        help_text="Number among different sessions of this listener that the source gives the same time.",
    )  # fmt: skip
    expired_at = models.DateTimeField(
        "expired at the source at", null=True, blank=True,
        help_text="When a source that only keeps recent sessions stopped sending it; it stays in use.",
    )  # fmt: skip

    class Meta(Mirrored.Meta):
        db_table = "listening_history"
        ordering: ClassVar = ["id"]
        verbose_name = "listening session"
        verbose_name_plural = "listening history"
        # Sessions have no ID at the source; if its times are coarse, different ones share listener and time.
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["user", "created_at", "occurrence"],
                name="listening_history_user_created_at_occurrence",
            )
        ]

    def __str__(self) -> str:
        return _("Session of listener {number} at {at:%Y-%m-%d %H:%M}").format(
            number=self.user_id, at=self.created_at
        )

"""Serializers of songs, users (the API's word for listeners), listening history and runs."""

from typing import Any, ClassVar

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from ingestion.models import IngestionRun, Listener, ListeningHistory, Song

PERSONAL_FIELDS: tuple[str, ...] = ("first_name", "last_name", "email", "gender")
PERSONAL_HELP_TEXT = "Only present with the permission ingestion.view_personal_data."
COUNT_FIELDS: tuple[str, ...] = (
    "received", "new", "changed", "unchanged", "rejected", "missing", "duplicates", "pages", "requests",
    "retries",
)  # fmt: skip


class AvailableField(serializers.BooleanField):
    """Whether the source still sends the row."""

    def __init__(self, **options: Any) -> None:
        options = {
            "source": "*",
            "read_only": True,
            "help_text": "True if the source still sends it.",
        } | options
        super().__init__(**options)

    def to_representation(self, row: Any) -> bool:
        return row.unavailable_at is None


class SongSerializer(serializers.ModelSerializer):
    duration = serializers.SerializerMethodField(help_text="Duration in seconds.")
    available = AvailableField()

    class Meta:
        model = Song
        fields: ClassVar = [
            "id", "name", "artist", "songwriters", "album", "genres", "duration", "release_year",
            "audio_features", "available", "created_at", "updated_at",
        ]  # fmt: skip

    def get_duration(self, song: Song) -> int:
        return round(song.duration.total_seconds())


class UserSerializer(serializers.ModelSerializer):
    """A listener without personal data."""

    available = AvailableField()

    class Meta:
        model = Listener
        fields: ClassVar = ["id", "favorite_genres", "available", "created_at", "updated_at"]


class PersonalUserSerializer(UserSerializer):
    """A listener with name, e-mail address and gender."""

    class Meta(UserSerializer.Meta):
        fields: ClassVar = [*UserSerializer.Meta.fields, *PERSONAL_FIELDS]
        extra_kwargs: ClassVar = {
            name: {"required": False, "help_text": PERSONAL_HELP_TEXT} for name in PERSONAL_FIELDS
        }


class ListeningHistorySerializer(serializers.ModelSerializer):
    user_id = serializers.IntegerField()
    items = serializers.ListField(
        child=serializers.IntegerField(), help_text="Ids of the played songs, in the source's order."
    )
    available = AvailableField()

    class Meta:
        model = ListeningHistory
        fields: ClassVar = ["id", "user_id", "items", "available", "created_at", "updated_at"]


class RunSerializer(serializers.ModelSerializer):
    """One ingestion run, with the fields of `runingest --json`."""

    seconds = serializers.SerializerMethodField(help_text="Duration in seconds; null while it runs.")
    resources = serializers.SerializerMethodField(
        help_text="Counts by resource: songs, users, listening_history."
    )

    class Meta:
        model = IngestionRun
        fields: ClassVar = [
            "id", "status", "trigger", "slot", "stage", "dry_run", "started_at", "finished_at", "seconds",
            "received", "new", "changed", "unchanged", "rejected", "missing", "bytes", "rows_per_second",
            "error_kind", "error", "summary", "resources",
        ]  # fmt: skip

    def get_seconds(self, run: IngestionRun) -> float | None:
        return (run.finished_at - run.started_at).total_seconds() if run.finished_at else None

    @extend_schema_field(
        {
            "type": "object",
            "additionalProperties": {
                "type": "object",
                "properties": {name: {"type": "integer"} for name in COUNT_FIELDS},
            },
            "example": {"songs": {"received": 1000, "new": 12, "changed": 3, "unchanged": 985}},
        }
    )
    def get_resources(self, run: IngestionRun) -> dict[str, dict[str, int]]:
        return {
            report.resource: {name: getattr(report, name) for name in COUNT_FIELDS}
            for report in run.reports.all()
        }

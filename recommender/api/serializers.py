"""The API's tests between models."""

from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Final

from django.utils import timezone
from drf_spectacular.utils import PolymorphicProxySerializer, extend_schema_field
from rest_framework import serializers

from ingestion.api.query_params import LARGEST_ID
from recommender.feedback.events import FeedbackEvent
from recommender.models import Decision, Experiment, Feedback, ModelVersion, ServedList


class LatestDecisionSerializer(serializers.ModelSerializer):
    class Meta:
        model = Decision
        fields: ClassVar = ["id", "at", "outcome", "verdict", "evidence", "rules", "data_sha256", "final"]


class ExperimentSerializer(serializers.ModelSerializer):
    champion = serializers.SlugRelatedField(slug_field="label", read_only=True)
    challenger = serializers.SlugRelatedField(slug_field="label", read_only=True)
    latest_decision = serializers.SerializerMethodField()

    class Meta:
        model = Experiment
        fields: ClassVar = [
            "id", "kind", "status", "champion", "challenger", "list_share", "split_share", "created_at",
            "started_at", "ended_at", "outcome", "reason", "by", "gates", "latest_decision",
        ]  # fmt: skip

    @extend_schema_field(LatestDecisionSerializer(allow_null=True))
    def get_latest_decision(self, experiment: Experiment) -> dict[str, object] | None:
        last = next(iter(experiment.decisions.all()), None)
        return dict(LatestDecisionSerializer(last).data) if last else None


# A day: nothing that is listened to is longer.
MAX_LISTEN_SECONDS: Final = 86_400.0  # seconds
EARLIEST_EVENT: Final = datetime(1970, 1, 1, tzinfo=UTC)
RECOMMENDATION_EXAMPLE: Final[dict[str, Any]] = {
    "recommendation_id": "0d3c1f1e-3f0e-4d8a-9a53-0f2f2b1d9c11",
    "user_id": 1,
    "model_version": "2026w47.1",
    "arm": "champion",
    "generated_at": "2026-11-20T08:00:00+00:00",
    "stale": False,
    "discovery": {"asked": 0.3, "given": 1.0},
    "items": [
        {
            "rank": 1,
            "song": {
                "id": 12, "name": "Slow Rivers", "artist": "The Lanterns", "album": "Harbour",
                "genres": "Rock, Folk", "duration": 214,
            },
            "cluster": {"id": 3, "name": "Rock, energetic, 1990s"},
            "affinity": 0.34,
            "propensity": 0.021,
            "familiar": False,
            "reason": "From Rock, energetic, 1990s: 34 % of your listening",
        }
    ],
    "next": None,
}  # fmt: skip
EVENT_EXAMPLE: Final[dict[str, Any]] = {
    "event_id": "ios-7f3a-000123",
    "user_id": 1,
    "song_id": 12,
    "kind": "listen",
    "seconds": 187.5,
    "recommendation_id": RECOMMENDATION_EXAMPLE["recommendation_id"],
    "at": "2026-11-20T08:04:10Z",
}


class ListedSongSerializer(serializers.Serializer):
    id = serializers.IntegerField()
    name = serializers.CharField()
    artist = serializers.CharField()
    album = serializers.CharField()
    genres = serializers.CharField(help_text="As the source sends them; several are separated by commas.")
    duration = serializers.IntegerField(help_text="In seconds.")


class NamedClusterSerializer(serializers.Serializer):
    id = serializers.IntegerField(help_text="The same group of songs keeps its id in later models.")
    name = serializers.CharField()


class ItemSerializer(serializers.Serializer):
    rank = serializers.IntegerField(min_value=1)
    song = ListedSongSerializer()
    cluster = NamedClusterSerializer(allow_null=True)
    affinity = serializers.FloatField(
        min_value=0, max_value=1, help_text="The cluster's share of the user's listening."
    )
    propensity = serializers.FloatField(
        min_value=0, max_value=1, help_text="How probable this pick was, given those before it."
    )
    familiar = serializers.BooleanField(help_text="The user has played this artist.")
    reason = serializers.CharField()


class DiscoverySerializer(serializers.Serializer):
    asked = serializers.FloatField(min_value=0, max_value=1)
    given = serializers.FloatField(min_value=0, max_value=1, help_text="The share of unfamiliar songs.")


class RecommendationSerializer(serializers.Serializer):
    recommendation_id = serializers.UUIDField()
    user_id = serializers.IntegerField()
    model_version = serializers.CharField(allow_null=True, help_text="Null: popularity, for want of a model.")
    arm = serializers.ChoiceField(ServedList.Arm.choices)
    generated_at = serializers.DateTimeField()
    stale = serializers.BooleanField(help_text="Made from what was known before the newest listening.")
    discovery = DiscoverySerializer()
    items = ItemSerializer(many=True)


class RecommendationPageSerializer(RecommendationSerializer):
    next = serializers.URLField(
        allow_null=True, help_text="Reads on in this very list, where more songs are eligible."
    )


class AffinitySerializer(serializers.Serializer):
    cluster = NamedClusterSerializer()
    affinity = serializers.FloatField(min_value=0, max_value=1)
    plays = serializers.IntegerField()


class AffinitiesSerializer(serializers.Serializer):
    user_id = serializers.IntegerField()
    model_version = serializers.CharField(allow_null=True)
    results = AffinitySerializer(many=True)


class SimilarSongSerializer(serializers.Serializer):
    rank = serializers.IntegerField(min_value=1)
    song = ListedSongSerializer()
    cluster = NamedClusterSerializer(allow_null=True)
    score = serializers.FloatField()


class SimilarSerializer(serializers.Serializer):
    song_id = serializers.IntegerField()
    model_version = serializers.CharField(allow_null=True)
    results = SimilarSongSerializer(many=True)


class PopularSongSerializer(serializers.Serializer):
    rank = serializers.IntegerField(min_value=1)
    song = ListedSongSerializer()
    plays = serializers.IntegerField()


class PopularSerializer(serializers.Serializer):
    days = serializers.IntegerField(allow_null=True)
    results = PopularSongSerializer(many=True)


class ClusterSerializer(serializers.Serializer):
    id = serializers.IntegerField(source="number")
    name = serializers.CharField()
    size = serializers.IntegerField(help_text="Songs.")
    plays = serializers.IntegerField()
    facts = serializers.JSONField(help_text="What is over-represented, and example songs.")


class ClustersSerializer(serializers.Serializer):
    model_version = serializers.CharField(allow_null=True)
    results = ClusterSerializer(many=True)


class ModelSerializer(serializers.ModelSerializer):
    class Meta:
        model = ModelVersion
        fields: ClassVar = [
            "label", "role", "method", "created_at", "cut_off", "n_songs", "n_listeners", "n_plays",
            "n_clusters", "configuration", "seed", "metrics", "cohesion", "artifact_sha256", "artifact_bytes",
            "seconds", "cpu_seconds", "peak_memory",
        ]  # fmt: skip


class EventSerializer(serializers.Serializer):
    """One thing that a listener said or did."""

    event_id = serializers.CharField(max_length=64, help_text="Your own; sent twice, it counts once.")
    user_id = serializers.IntegerField(min_value=0, max_value=LARGEST_ID)
    song_id = serializers.IntegerField(min_value=0, max_value=LARGEST_ID)
    kind = serializers.ChoiceField(Feedback.Kind.choices)
    seconds = serializers.FloatField(
        min_value=0, max_value=MAX_LISTEN_SECONDS, required=False, allow_null=True,
        help_text="How long it was listened to; for a listen, and for nothing else.",
    )  # fmt: skip
    recommendation_id = serializers.UUIDField(
        required=False, allow_null=True, help_text="The list it answers to, where there is one."
    )
    at = serializers.DateTimeField(
        required=False, allow_null=True, help_text="When it happened; without it, now."
    )

    def validate_at(self, at: datetime | None) -> datetime | None:
        # Telephones' clocks run ahead by minutes; more is a mistake.
        if at is not None and not EARLIEST_EVENT <= at <= timezone.now() + timedelta(days=1):
            raise serializers.ValidationError("Expected a time between 1970 and now.")
        return at

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        is_listen, seconds = attrs["kind"] == Feedback.Kind.LISTEN, attrs.get("seconds")
        if is_listen and seconds is None:
            raise serializers.ValidationError({"seconds": ["A listen needs its seconds."]})
        if not is_listen and seconds is not None:
            raise serializers.ValidationError({"seconds": ["Only a listen has seconds."]})
        return attrs


EVENTS_SCHEMA: Final = PolymorphicProxySerializer(
    component_name="Events", serializers=[EventSerializer, EventSerializer(many=True)],
    resource_type_field_name=None, many=False,
)  # fmt: skip


class RecordedEventSerializer(serializers.Serializer):
    event_id = serializers.CharField()
    created = serializers.BooleanField(help_text="False: it was sent before, and counts once.")


class RecordedSerializer(serializers.Serializer):
    created = serializers.IntegerField(help_text="How many events were new.")
    results = RecordedEventSerializer(many=True)


def build_event(checked: dict[str, Any]) -> FeedbackEvent:
    """An event from what `EventSerializer` let by."""
    return FeedbackEvent(**{**checked, "kind": Feedback.Kind(checked["kind"])})

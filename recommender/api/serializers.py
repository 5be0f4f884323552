"""Serializers of the recommender's endpoints; help texts describe fields in the OpenAPI schema."""

from datetime import datetime, timedelta
from typing import Any, ClassVar, Final

from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy
from drf_spectacular.utils import PolymorphicProxySerializer, extend_schema_field
from rest_framework import serializers

from ingestion.api.query_params import LARGEST_ID, SMALLEST_ID
from ingestion.api.strict_serializer import StrictFloatField, StrictIntegerField, StrictSerializer
from recommender.feedback.events import FeedbackEvent
from recommender.models import Decision, Experiment, Feedback, ModelVersion, ServedList
from recommender.serving.list_limits import Limit, Mode
from recommender.serving.reasons.reasons import DiscoveryCode, ReasonCode


class LatestDecisionSerializer(serializers.ModelSerializer):
    class Meta:
        model = Decision
        fields: ClassVar = [
            "id",
            "at",
            "outcome",
            "verdict",
            "evidence",
            "rules",
            "data_sha256",
            "final",
            "decided_by",
        ]


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


# One day: no song is longer, so more is a mistake of the app.
MAX_LISTEN_SECONDS: Final = 86_400.0
# A clock may be ahead by some hours, if the device has the wrong time zone; such times are set to now.
MOST_AHEAD: Final = timedelta(days=1)
# A device whose clock was reset sends 1970, 1980, 2000 or 2015. After five years a play has lost its weight.
MOST_BEHIND: Final = timedelta(days=5 * 365)
RECOMMENDATION_EXAMPLE: Final[dict[str, Any]] = {
    "recommendation_id": "0d3c1f1e-3f0e-4d8a-9a53-0f2f2b1d9c11",
    "user_id": 1,
    "model_version": "2026w47.1",
    "arm": "champion",
    "generated_at": "2026-11-20T08:00:00+00:00",
    "stale": False,
    "stored": True,
    "discovery": {"asked": 0.3, "given": 1.0, "reason": None, "reason_code": None, "reason_parameters": {}},
    "mode": "mix",
    "repeats": {"asked": 0.0, "given": 0.0},
    "relaxed": [],
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
            "heard": False,
            "reason": "From Rock, energetic, 1990s: 34 % of what you play",
            "reason_code": "cluster",
            "reason_parameters": {"cluster": "Rock, energetic, 1990s", "share": 0.34},
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
    genres = serializers.CharField(help_text="Genres as the source sends them, separated by commas.")
    duration = serializers.IntegerField(help_text="Duration in seconds.")


class NamedClusterSerializer(serializers.Serializer):
    id = serializers.IntegerField(help_text="A cluster that persists keeps its id in later models.")
    name = serializers.CharField()


class ReasonParametersSerializer(serializers.Serializer):
    cluster = serializers.CharField(required=False)
    share = serializers.FloatField(
        required=False, min_value=0, max_value=1, help_text="The cluster's share of what the user plays."
    )
    artists = serializers.ListField(child=serializers.CharField(), required=False)
    genre = serializers.CharField(required=False)
    day = serializers.IntegerField(required=False, min_value=1, max_value=31)
    month = serializers.IntegerField(required=False, min_value=1, max_value=12)
    year = serializers.IntegerField(required=False)


class DiscoveryParametersSerializer(serializers.Serializer):
    found = serializers.IntegerField(required=False, min_value=0, help_text="Songs of the kind asked for.")
    songs = serializers.IntegerField(required=False, min_value=1, help_text="Songs in the list.")


class ItemSerializer(serializers.Serializer):
    rank = serializers.IntegerField(min_value=1, help_text="Place in the list, from 1.")
    song = ListedSongSerializer()
    cluster = NamedClusterSerializer(allow_null=True, help_text="Null if the model does not know the song.")
    affinity = serializers.FloatField(
        min_value=0, max_value=1, help_text="The cluster's share of the user's plays, weighted by recency."
    )
    propensity = serializers.FloatField(
        min_value=0, max_value=1, help_text="Probability of this pick, given the picks before it."
    )
    familiar = serializers.BooleanField(
        help_text="True if the user has played one of the song's artists before, lead or credited."
    )
    heard = serializers.BooleanField(help_text="True if the user has played the song before.")
    reason = serializers.CharField(
        help_text="One sentence to show to the user, in English or French: see `Accept-Language`."
    )
    reason_code = serializers.ChoiceField(
        [(code.value, code.value) for code in ReasonCode], allow_null=True,
        help_text="The kind of reason, for an app that words reasons itself; null in lists of releases "
        "without codes.",
    )  # fmt: skip
    reason_parameters = ReasonParametersSerializer(
        help_text="What the sentence names: `cluster` and `share` (cluster, cluster_liked), `artists` "
        "(artists), `genre` (popular_in_genre, new_in_genre), `day`, `month` and `year` (last_heard, "
        "not_heard_since, not_heard_since_year)."
    )


class DiscoverySerializer(serializers.Serializer):
    asked = serializers.FloatField(min_value=0, max_value=1, help_text="The requested discovery.")
    given = serializers.FloatField(
        min_value=0, max_value=1, help_text="Share of the list's songs that are not familiar."
    )
    reason = serializers.CharField(
        allow_null=True,
        help_text="Why `given` is more than one song away from `asked`; null if it is not.",
    )
    reason_code = serializers.ChoiceField(
        [(code.value, code.value) for code in DiscoveryCode], allow_null=True
    )
    reason_parameters = DiscoveryParametersSerializer()


class RepeatsSerializer(serializers.Serializer):
    asked = serializers.FloatField(
        min_value=0, max_value=1, help_text="The requested share of favourites; 1 for a list of favourites."
    )
    given = serializers.FloatField(
        min_value=0, max_value=1, help_text="Share of the list's songs that the user has heard."
    )


class RelaxedLimitSerializer(serializers.Serializer):
    limit = serializers.ChoiceField(
        [(limit.value, limit.value) for limit in Limit],
        help_text="heard: songs that the user has heard, the one heard longest ago first; artist_cap: more "
        "than two songs by one artist; favourites: songs that the user has not heard, in a list of "
        "favourites; repeated: songs that `next` gave in the last two hours.",
    )
    songs = serializers.IntegerField(min_value=1, help_text="Number of songs that break the limit.")
    message = serializers.CharField(help_text="One sentence to show to the user.")


class RecommendationSerializer(serializers.Serializer):
    recommendation_id = serializers.UUIDField(
        help_text="The list's id; send it with feedback on the list's songs."
    )
    user_id = serializers.IntegerField()
    model_version = serializers.CharField(
        allow_null=True,
        help_text="The version that drew the list; CHAMPION+CHALLENGER if it is interleaved; null if no "
        "model could serve and the songs are popular ones.",
    )
    arm = serializers.ChoiceField(
        ServedList.Arm.choices,
        help_text="Which model drew the list: the champion, an experiment's challenger, both in turn "
        "(interleaved), or none (fallback).",
    )
    generated_at = serializers.DateTimeField()
    stale = serializers.BooleanField(
        help_text="True if the list does not take the user's newest listening and feedback into account."
    )
    stored = serializers.BooleanField(
        help_text="False while nothing can be stored (full disk): the list has no next page, and feedback "
        "can't name it."
    )
    discovery = DiscoverySerializer()
    mode = serializers.ChoiceField([(mode.value, mode.value) for mode in Mode])
    repeats = RepeatsSerializer()
    relaxed = RelaxedLimitSerializer(
        many=True,
        help_text="Limits that were relaxed, in this order, because the list would have ended early. It "
        "counts the songs of all pages so far.",
    )
    items = ItemSerializer(many=True)


class RecommendationPageSerializer(RecommendationSerializer):
    next = serializers.URLField(
        allow_null=True, help_text="URL of the list's next page; null after the last one."
    )


class AffinitySerializer(serializers.Serializer):
    cluster = NamedClusterSerializer()
    affinity = serializers.FloatField(
        min_value=0, max_value=1, help_text="The cluster's share of the user's plays, weighted by recency."
    )
    plays = serializers.IntegerField(help_text="The user's plays of songs in the cluster.")


class AffinitiesSerializer(serializers.Serializer):
    user_id = serializers.IntegerField()
    model_version = serializers.CharField(allow_null=True)
    results = AffinitySerializer(many=True)


class NewReleaseSerializer(serializers.Serializer):
    rank = serializers.IntegerField(min_value=1)
    song = ListedSongSerializer()
    cluster = NamedClusterSerializer()
    artist_share = serializers.FloatField(help_text="The artist's share of the user's plays, 0 to 1.")


class NewReleasesSerializer(serializers.Serializer):
    user_id = serializers.IntegerField()
    model_version = serializers.CharField(allow_null=True)
    results = NewReleaseSerializer(many=True)


class SimilarSongSerializer(serializers.Serializer):
    rank = serializers.IntegerField(min_value=1)
    song = ListedSongSerializer()
    cluster = NamedClusterSerializer(allow_null=True)
    score = serializers.FloatField(
        help_text="Higher is more similar; comparable only among songs similar to the same song."
    )


class SimilarSerializer(serializers.Serializer):
    song_id = serializers.IntegerField()
    model_version = serializers.CharField(allow_null=True)
    results = SimilarSongSerializer(many=True)


class PopularSongSerializer(serializers.Serializer):
    rank = serializers.IntegerField(min_value=1)
    song = ListedSongSerializer()
    listeners = serializers.IntegerField(help_text="Number of users who played the song in that time.")
    plays = serializers.IntegerField(help_text="Their plays; they do not decide the order.")


class PopularSerializer(serializers.Serializer):
    days = serializers.IntegerField(allow_null=True, help_text="The requested days; null: all plays count.")
    results = PopularSongSerializer(many=True)


class ClusterSerializer(serializers.Serializer):
    id = serializers.IntegerField(
        source="number", help_text="A cluster that persists keeps its id in later models."
    )
    name = serializers.CharField(
        source="shown_name", help_text="“Cluster” and its id if it has no distinctive features."
    )
    size = serializers.IntegerField(help_text="Number of songs.")
    plays = serializers.IntegerField(help_text="Plays of its songs in the training data.")
    facts = serializers.JSONField(
        help_text="Over-represented genres, decade, moods, example songs, the place on the map, and the "
        "style family: at most 30 groups of similar clusters."
    )


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


class EventSerializer(StrictSerializer):
    """One feedback event of a user."""

    wrong_time: Promise | str = _lazy(
        "{at} is more than {ahead} day ahead or {behind} days ago, so the device's clock is "
        "probably wrong. Leave `at` out to use the time of the request."
    )

    event_id = serializers.CharField(
        max_length=64,
        help_text="An id that your app chooses, unique among the events of its key; an event sent twice "
        "counts once.",
    )
    user_id = StrictIntegerField(min_value=SMALLEST_ID, max_value=LARGEST_ID)
    song_id = StrictIntegerField(min_value=SMALLEST_ID, max_value=LARGEST_ID)
    kind = serializers.ChoiceField(
        Feedback.Kind.choices,
        help_text="The latest event counts: a like cancels an earlier dislike or skip of the song, and "
        "`clear` cancels all likes, dislikes, skips and wrong styles.",
    )
    seconds = StrictFloatField(
        min_value=0, max_value=MAX_LISTEN_SECONDS, required=False, allow_null=True,
        help_text="How long the user listened. Required for a listen, not allowed for other kinds.",
    )  # fmt: skip
    recommendation_id = serializers.UUIDField(
        required=False, allow_null=True, help_text="The list that the user found the song in, if any."
    )
    at = serializers.DateTimeField(
        required=False,
        allow_null=True,
        help_text="When it happened; the default is now. A time in the future "
        "counts as now; one more than a day ahead or five years ago is rejected.",
    )

    def validate_at(self, at: datetime | None) -> datetime | None:
        now = timezone.now()
        if at is not None and not now - MOST_BEHIND <= at <= now + MOST_AHEAD:
            raise serializers.ValidationError(
                str(self.wrong_time).format(at=at.isoformat(), ahead=MOST_AHEAD.days, behind=MOST_BEHIND.days)
            )
        return at

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        is_listen, seconds = attrs["kind"] == Feedback.Kind.LISTEN, attrs.get("seconds")
        if is_listen and seconds is None:
            raise serializers.ValidationError({"seconds": [_("A listen needs its seconds.")]})
        if not is_listen and seconds is not None:
            raise serializers.ValidationError({"seconds": [_("Only a listen has seconds.")]})
        return attrs


class StoredEventSerializer(serializers.ModelSerializer):
    user_id = serializers.IntegerField(source="listener_id")
    song_id = serializers.IntegerField()
    recommendation_id = serializers.UUIDField(
        source="served_list_id", allow_null=True, help_text="Null if none was sent or the list was deleted."
    )

    class Meta:
        model = Feedback
        fields: ClassVar = [
            "event_id", "user_id", "song_id", "kind", "seconds", "recommendation_id", "at", "received_at",
        ]  # fmt: skip


EVENTS_SCHEMA: Final = PolymorphicProxySerializer(
    component_name="Events", serializers=[EventSerializer, EventSerializer(many=True)],
    resource_type_field_name=None, many=False,
)  # fmt: skip


class RecordedEventSerializer(serializers.Serializer):
    event_id = serializers.CharField()
    created = serializers.BooleanField(help_text="False if the event was recorded before.")


class RecordedSerializer(serializers.Serializer):
    created = serializers.IntegerField(help_text="Number of events that were new.")
    results = RecordedEventSerializer(many=True)


def build_event(checked: dict[str, Any]) -> FeedbackEvent:
    return FeedbackEvent(**{**checked, "kind": Feedback.Kind(checked["kind"])})

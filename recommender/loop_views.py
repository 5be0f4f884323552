"""The API's tests between models."""

from typing import ClassVar

from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.generics import ListAPIView

from ingestion.views import Detail
from recommender.models import Decision, Experiment


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


@extend_schema(summary="Tests between models, newest first")
class ExperimentList(ListAPIView):
    queryset = Experiment.objects.select_related("champion", "challenger").order_by("-id")
    serializer_class = ExperimentSerializer


@extend_schema(summary="One test")
class ExperimentDetail(Detail):
    queryset = Experiment.objects.select_related("champion", "challenger")
    serializer_class = ExperimentSerializer
    noun = "experiment"

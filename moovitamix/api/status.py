"""The `status/` endpoint: the age of the data and of the model."""

from datetime import datetime
from typing import Any, Final

from django.utils import timezone
from drf_spectacular.utils import extend_schema, inline_serializer
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from ingestion.api.strict_view import StrictView
from ingestion.models import RESOURCES, IngestionRun, ResourceReport
from recommender.models import ModelVersion
from recommender.services import current_model

# Name, time of the last update, and the run or version behind it.
LastUpdate = tuple[str, datetime | None, str | None]
AGE_SERIALIZER: Final = inline_serializer(
    "Age",
    {
        "name": serializers.ChoiceField([name for name, _ in RESOURCES] + ["model"]),
        "updated_at": serializers.DateTimeField(
            allow_null=True, help_text="End of the last run that imported it, or creation of the model."
        ),
        "age_seconds": serializers.FloatField(allow_null=True, help_text="Null if it never existed."),
        "source": serializers.CharField(allow_null=True, help_text="The run's number or the model's label."),
    },
    many=True,
)


class StatusView(StrictView):
    """The age of each table and of the model, oldest first; those that never existed come first."""

    @extend_schema(
        summary="Age of each table and of the model, oldest first",
        responses=inline_serializer(
            "Status",
            {
                "checked_at": serializers.DateTimeField(),
                "degraded": serializers.CharField(
                    allow_null=True, help_text="Why the champion does not serve; null while it does."
                ),
                "results": AGE_SERIALIZER,
            },
        ),
    )
    def get(self, request: Request) -> Response:
        now = timezone.now()
        updates = [*_resource_updates(), _model_update()]
        updates.sort(key=lambda update: (update[1] is not None, update[1] or now, update[0]))
        return Response({
            "checked_at": now, "degraded": current_model().degraded,
            "results": [_age_result(*update, now) for update in updates],
        })  # fmt: skip


def _resource_updates() -> list[LastUpdate]:
    imports = ResourceReport.objects.filter(run__in=IngestionRun.objects.applied())
    updates: list[LastUpdate] = []
    for resource, _ in RESOURCES:
        newest = imports.filter(resource=resource).order_by("-run_id").select_related("run").first()
        updates.append(
            (resource, newest.run.finished_at, str(newest.run_id)) if newest else (resource, None, None)
        )
    return updates


def _model_update() -> LastUpdate:
    champion = ModelVersion.objects.filter(role=ModelVersion.Role.CHAMPION).first()
    return ("model", champion.created_at, champion.label) if champion else ("model", None, None)


def _age_result(name: str, updated_at: datetime | None, source: str | None, now: datetime) -> dict[str, Any]:
    age = (now - updated_at).total_seconds() if updated_at else None
    return {"name": name, "updated_at": updated_at, "age_seconds": age, "source": source}

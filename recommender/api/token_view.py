"""Endpoint for a listener's token, with which a device calls the API itself."""

from datetime import timedelta
from typing import Any

from django.utils import timezone
from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework import serializers
from rest_framework.exceptions import NotFound, PermissionDenied
from rest_framework.request import Request
from rest_framework.response import Response

from ingestion.api.query_params import LARGEST_ID
from ingestion.api.strict_serializer import StrictIntegerField, StrictSerializer
from ingestion.api.strict_view import StrictView
from ingestion.models import Listener
from recommender.api.tokens import DEFAULT_SECONDS, MAX_SECONDS, make_token
from recommender.models import ApiKey


class TokenRequestSerializer(StrictSerializer):
    user_id = StrictIntegerField(min_value=0, max_value=LARGEST_ID, help_text="The listener.")
    seconds = StrictIntegerField(
        min_value=1, max_value=MAX_SECONDS, default=DEFAULT_SECONDS, help_text="How long the token is valid."
    )


class TokenSerializer(serializers.Serializer[Any]):
    token = serializers.CharField(help_text="Sent as `Authorization: Bearer TOKEN`.")
    expires_at = serializers.DateTimeField()


class TokensView(StrictView):
    @extend_schema(
        summary="Make a token for a listener",
        description="With the token, a browser or phone requests this listener's lists and sends their "
        "feedback, and nothing else. It ends with its time, or when the key is revoked. Make it on your "
        "server: the key itself must not reach a device.",
        request=TokenRequestSerializer,
        responses={201: TokenSerializer},
        examples=[OpenApiExample("An hour", value={"user_id": 468, "seconds": 3_600}, request_only=True)],
    )
    def post(self, request: Request) -> Response:
        asked = TokenRequestSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        if not isinstance(request.auth, ApiKey):
            raise PermissionDenied("Tokens are made with an API key.")
        listener, seconds = asked.validated_data["user_id"], asked.validated_data["seconds"]
        if not Listener.objects.filter(pk=listener).exists():
            raise NotFound(f"There is no user {listener}.")
        expires_at = timezone.now() + timedelta(seconds=seconds)
        return Response(
            {"token": make_token(request.auth, listener, seconds), "expires_at": expires_at}, status=201
        )

"""The API described: its first page, its documentation, and what the schema says of every operation alike."""

from typing import Any, Final

from django.urls import reverse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from drf_spectacular.views import SpectacularSwaggerSplitView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

# No script of another site, and none inside the page; Swagger UI puts styles and small pictures into it.
CONTENT_SECURITY_POLICY: Final = (
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'"
)
ROOT_LINKS: Final = {
    "songs": "api-songs",
    "songs_popular": "api-popular",
    "users": "api-users",
    "listening_history": "api-listening-history",
    "clusters": "api-clusters",
    "models": "api-models",
    "experiments": "api-experiments",
    "runs": "api-runs",
    "status": "api-status",
    "feedback": "api-feedback",
    "schema": "api-schema",
    "documentation": "api-docs",
}

# Lists that rarely change: whoever has one need not be sent it again.
CACHEABLE_PATHS: Final = {
    "/api/v1/songs/",
    "/api/v1/songs/popular/",
    "/api/v1/clusters/",
    "/api/v1/models/",
}
NOT_MODIFIED_RESPONSE: Final = {
    "description": "You have it already: `If-None-Match` names the `ETag` of this answer. There is no body.",
    "headers": {"ETag": {"schema": {"type": "string"}}},
}

ERROR_RESPONSES: Final = {
    "400": ("Something that was sent is wrong; `fields` names it.", "invalid"),
    "401": ("No key, or one that is unknown, expired or revoked.", "not_authenticated"),
    "404": ("There is nothing under this id.", "not_found"),
    "429": ("Too many requests with this key; `Retry-After` says in how many seconds to go on.", "throttled"),
}
ERROR_SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "description": "Every error has this shape.",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message", "fields"],
            "properties": {
                "code": {"type": "string", "description": "For programs; the message is for people."},
                "message": {"type": "string"},
                "fields": {
                    "type": "object",
                    "description": "What is wrong with what was sent, by field; empty for other errors.",
                    "additionalProperties": {"type": "array", "items": {"type": "string"}},
                },
            },
        }
    },
}


class ApiRootView(APIView):
    """What the API has; the documentation says how to ask for it."""

    @extend_schema(summary="The addresses of the API's lists", responses=OpenApiTypes.OBJECT)
    def get(self, request: Request) -> Response:
        return Response(
            {name: request.build_absolute_uri(reverse(route)) for name, route in ROOT_LINKS.items()}
        )

    def get_view_name(self) -> str:
        return "MoovitaMix API"


@extend_schema(exclude=True)
class DocsView(SpectacularSwaggerSplitView):
    """Swagger UI, from files of our own server alone."""

    url_name = "api-schema"

    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        answer: Response = super().get(request, *args, **kwargs)  # type: ignore[no-untyped-call]
        answer["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
        return answer


def add_error_responses(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """Give every operation that needs a key its errors, and lists their 304; a hook of drf-spectacular."""
    result["components"].setdefault("schemas", {})["Error"] = ERROR_SCHEMA
    for path, operations in result["paths"].items():
        for operation in operations.values():
            if not operation.get("security"):
                continue
            for status in ERROR_RESPONSES:
                if status != "404" or "{" in path:
                    operation["responses"].setdefault(status, _error_response(status))
            if path in CACHEABLE_PATHS:
                operation["responses"]["304"] = NOT_MODIFIED_RESPONSE
    return result


def _error_response(status: str) -> dict[str, Any]:
    says, code = ERROR_RESPONSES[status]
    fields = {"n": ["Expected a whole number from 1 to 100."]} if status == "400" else {}
    example = {"error": {"code": code, "message": says, "fields": fields}}
    answer: dict[str, Any] = {
        "description": says,
        "content": {
            "application/json": {"schema": {"$ref": "#/components/schemas/Error"}, "example": example}
        },
    }
    if status == "429":
        answer["headers"] = {"Retry-After": {"schema": {"type": "integer"}, "description": "In seconds."}}
    return answer

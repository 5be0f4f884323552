"""The API's root view, its documentation page, and the OpenAPI parts that all operations share."""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

from django.template.loader import render_to_string
from django.urls import reverse
from drf_spectacular.plumbing import get_lib_doc_excludes
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from drf_spectacular.views import SpectacularSwaggerSplitView
from rest_framework.request import Request
from rest_framework.response import Response

from ingestion.api.strict_view import StrictView
from ingestion.api.views import DetailView, PersonalDataMixin
from recommender.api.views import ServingView

# No scripts from other sites and no inline scripts; Swagger UI needs inline styles and data images.
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

# Lists that rarely change and support conditional requests (ETag, 304).
CACHEABLE_PATHS: Final = {
    "/api/v1/songs/",
    "/api/v1/songs/popular/",
    "/api/v1/clusters/",
    "/api/v1/models/",
}
# Answers of a simulated service by operation; an operation that lists what another one gets needs no entry.
EXAMPLES: Final = Path(__file__).with_name("examples.json")
PATHS_OF_IDS_IN_BODIES: Final = {"/api/v1/tokens/"}
NOT_MODIFIED_RESPONSE: Final = {
    "description": "Not modified since the response with the `ETag` in `If-None-Match`. No body.",
    "headers": {"ETag": {"schema": {"type": "string"}}},
}

ERROR_RESPONSES: Final = {
    "400": ("The request is invalid; `fields` says why.", "invalid"),
    "401": ("The API key is missing, unknown, expired or revoked.", "not_authenticated"),
    "403": ("The API key lacks the scope, or its user may not do this.", "permission_denied"),
    "404": ("No object has this id.", "not_found"),
    "409": ("An `event_id` was used before, for an event with other content.", "conflict"),
    "429": ("Too many requests with this key; retry after `Retry-After` seconds.", "throttled"),
    "503": (
        "The database does not answer or can't be written; retry after `Retry-After` seconds.",
        "unavailable",
    ),
}
ERROR_SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "description": "The format of every error.",
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
                    "description": "Validation errors by field; empty for other errors.",
                    "additionalProperties": {"type": "array", "items": {"type": "string"}},
                },
            },
        }
    },
}

QUICKSTARTS: Final = ("python", "javascript", "curl")


class ApiRootView(StrictView):
    """The endpoints of the API; see the documentation for their parameters."""

    @extend_schema(summary="URLs of all endpoints", responses=OpenApiTypes.OBJECT)
    def get(self, request: Request) -> Response:
        return Response(
            {name: request.build_absolute_uri(reverse(route)) for name, route in ROOT_LINKS.items()}
        )

    def get_view_name(self) -> str:
        return "MoovitaMix API"


@extend_schema(exclude=True)
class DocsView(SpectacularSwaggerSplitView):
    """A quickstart and the concepts, above Swagger UI."""

    url_name = "api-schema"
    template_name = "api/docs.html"

    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        response: Response = super().get(request, *args, **kwargs)  # type: ignore[no-untyped-call]
        base = request.build_absolute_uri("/").rstrip("/")
        snippets = {
            name: render_to_string(f"api/quickstart.{name}.txt", {"base": base}).rstrip()
            for name in QUICKSTARTS
        }
        response.data |= {"base": base, "quickstart": snippets}
        response["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
        return response


def undocumented_classes() -> list[type]:
    """drf-spectacular setting: base classes whose docstrings describe no endpoint."""
    library: list[type] = get_lib_doc_excludes()  # type: ignore[no-untyped-call]
    return [*library, StrictView, DetailView, PersonalDataMixin, ServingView]


def add_error_responses(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """drf-spectacular hook: documents what all operations with an API key have in common."""
    result["components"].setdefault("schemas", {})["Error"] = ERROR_SCHEMA
    for path, operations in result["paths"].items():
        for operation in operations.values():
            if operation.get("security"):
                _add_responses(path, operation)
                _add_example(operation)
                _allow_empty_values(operation)
    return result


def close_bodies(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """drf-spectacular hook: says that bodies have no other fields; generated clients then offer none."""
    schemas = result["components"].get("schemas", {})
    bodies = [one.get("requestBody") for methods in result["paths"].values() for one in methods.values()]
    for name in _components_in(bodies, schemas):
        if schemas[name].get("type") == "object":
            schemas[name]["additionalProperties"] = False
    return result


def _components_in(part: Any, schemas: Mapping[str, Any]) -> set[str]:
    """The names of the components that the part refers to, and that these refer to."""
    if isinstance(part, Mapping):
        name = str(part.get("$ref", "")).rpartition("/")[2]
        inner = [schemas[name], *part.values()] if name else list(part.values())
        return _components_in(inner, schemas) | ({name} if name else set())
    if isinstance(part, list):
        return set().union(*(_components_in(one, schemas) for one in part))
    return set()


def _add_example(operation: dict[str, Any]) -> None:
    examples, name = _read_examples(), operation["operationId"]
    example = examples.get(name)
    if example is None and (item := examples.get(f"{name.removesuffix('_list')}_retrieve")):
        example = {"next": None, "previous": None, "results": [item]}
    for status, response in operation["responses"].items():
        for content in response.get("content", {}).values():
            if status.startswith("2") and "examples" not in content:
                content["example"] = example


@cache
def _read_examples() -> dict[str, Any]:
    stored: dict[str, Any] = json.loads(EXAMPLES.read_text(encoding="utf-8"))
    return stored


def _add_responses(path: str, operation: dict[str, Any]) -> None:
    for status in ERROR_RESPONSES:
        if status == "409":
            if status in operation["responses"]:
                operation["responses"][status] = _error_response(status)
        elif status != "404" or "{" in path or path in PATHS_OF_IDS_IN_BODIES:
            operation["responses"].setdefault(status, _error_response(status))
    if path in CACHEABLE_PATHS:
        operation["responses"]["304"] = NOT_MODIFIED_RESPONSE


def _allow_empty_values(operation: dict[str, Any]) -> None:
    # An empty parameter is the same as none: `exclude=` comes from joining an empty list.
    for parameter in operation.get("parameters", []):
        if parameter["in"] == "query":
            parameter["allowEmptyValue"] = True


def _error_response(status: str) -> dict[str, Any]:
    message, code = ERROR_RESPONSES[status]
    fields = {"n": ["Expected a whole number from 1 to 100."]} if status == "400" else {}
    example = {"error": {"code": code, "message": message, "fields": fields}}
    response: dict[str, Any] = {
        "description": message,
        "content": {
            "application/json": {"schema": {"$ref": "#/components/schemas/Error"}, "example": example}
        },
    }
    if status in {"429", "503"}:
        response["headers"] = {"Retry-After": {"schema": {"type": "integer"}, "description": "In seconds."}}
    return response

"""The API's documentation is complete, valid and correct, and needs no network."""

import re
from collections.abc import Iterator
from typing import Any, Final

import pytest
import yaml
from django.contrib.staticfiles import finders
from django.core.management import call_command
from django.test import Client
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.validation import validate_schema
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from tests.support.builders.api import ApiCaller, make_api_caller

pytestmark = pytest.mark.django_db
METHODS = {"get", "post"}


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    made: dict[str, Any] = SchemaGenerator().get_schema(public=True)  # type: ignore[no-untyped-call]
    return made


def operations(schema: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [
        (path, operation)
        for path, methods in schema["paths"].items()
        for method, operation in methods.items()
        if method in METHODS
    ]


@pytest.mark.slow
def test_the_schema_is_valid_openapi_and_made_without_a_warning(tmp_path: Any) -> None:
    call_command("spectacular", "--validate", "--fail-on-warn", file=str(tmp_path / "schema.yml"))

    validate_schema(yaml.safe_load((tmp_path / "schema.yml").read_text()))  # type: ignore[no-untyped-call]


def test_every_operation_says_in_a_sentence_what_it_does_and_how_it_fails(schema: dict[str, Any]) -> None:
    for path, operation in operations(schema):
        assert len(operation["summary"]) > 5, path
        assert operation["security"] == [{"key": []}], path
        assert {"400", "401", "403", "429"} <= set(operation["responses"]), path
        if "{" in path or path == "/api/v1/tokens/":
            assert "404" in operation["responses"], path


def test_every_parameter_is_described_and_every_number_has_its_range(schema: dict[str, Any]) -> None:
    for path, operation in operations(schema):
        for parameter in operation.get("parameters", []):
            described = parameter["schema"]
            assert parameter["in"] == "path" or parameter["description"], (path, parameter["name"])
            if parameter["in"] == "query" and described["type"] in {"integer", "number"}:
                assert {"minimum", "maximum"} <= set(described), (path, parameter["name"])


def test_every_parameter_may_be_empty(schema: dict[str, Any]) -> None:
    caller = make_api_caller()
    for path, operation in operations(schema):
        for parameter in operation.get("parameters", []):
            if parameter["in"] == "query":
                assert parameter["allowEmptyValue"] is True, (path, parameter["name"])
                # Feedback is listed for a user only.
                if "{" not in path and path != "/api/v1/feedback/":
                    address = f"{path.removeprefix('/api/v1')}?{parameter['name']}="
                    assert caller.get(address).status_code == 200, address


def test_the_schema_tells_who_sees_personal_data(schema: dict[str, Any]) -> None:
    user = schema["components"]["schemas"]["PersonalUser"]

    assert "view_personal_data" in user["properties"]["email"]["description"]
    assert "email" not in user["required"]


def test_the_schema_says_304_where_an_answer_has_a_tag_and_nowhere_else(schema: dict[str, Any]) -> None:
    caller = make_api_caller()
    gets = {path: methods["get"] for path, methods in schema["paths"].items() if "get" in methods}
    lists = {path: operation for path, operation in gets.items() if "{" not in path and "/v1/" in path}

    tagged = {path for path in lists if "ETag" in caller.get(path.removeprefix("/api/v1")).headers}
    described = {path for path, operation in gets.items() if "304" in operation["responses"]}

    assert "/api/v1/songs/popular/" in tagged
    # Of an empty database there is no edition of the catalogue, nor of a model.
    assert tagged <= described
    assert described == {f"/api/v1/{name}/" for name in ("songs", "songs/popular", "clusters", "models")}


def components_in(part: Any, schema: dict[str, Any]) -> set[str]:
    """The names of the components that the part refers to, and that these refer to."""
    names = {one.rpartition("/")[2] for one in re.findall(r"'#/[^']+'", str(part))}
    found = {name.rstrip("'") for name in names}
    return found.union(*(components_in(schema["components"]["schemas"][name], schema) for name in found))


def test_the_schema_says_that_bodies_have_no_other_fields(schema: dict[str, Any]) -> None:
    bodies = [operation.get("requestBody") for _path, operation in operations(schema)]

    described = {name: schema["components"]["schemas"][name] for name in components_in(bodies, schema)}
    closed = {name for name, one in described.items() if one.get("additionalProperties") is False}

    assert described.keys() == {"Events", "Event", "FeedbackKindEnum", "TokenRequest"}
    assert closed == {name for name, one in described.items() if one.get("type") == "object"}


# Their fields depend on the reason.
VARYING: Final = {"ReasonParameters", "DiscoveryParameters"}


def json_schema(part: Any, schema: dict[str, Any], *, whole: bool) -> Any:
    """OpenAPI 3.0 as JSON Schema without references. No field is unknown; if `whole`, none is missing."""
    if isinstance(part, list):
        return [json_schema(one, schema, whole=whole) for one in part]
    if not isinstance(part, dict):
        return part
    if "$ref" in part:
        name = part["$ref"].rpartition("/")[2]
        return json_schema(schema["components"]["schemas"][name], schema, whole=whole and name not in VARYING)
    made = {
        name: json_schema(value, schema, whole=whole) for name, value in part.items() if name != "example"
    }
    if made.get("type") == "object" and "properties" in made:
        made["additionalProperties"] = False
        if whole:
            made["required"] = list(made["properties"])
    return {"anyOf": [made, {"type": "null"}]} if made.pop("nullable", False) is True else made


def examples_of(schema: dict[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """Each example with its schema; the answers of all operations, and the bodies that have one."""
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            parts = {**operation.get("responses", {}), "body": operation.get("requestBody", {})}
            for status, part in parts.items():
                for kind, content in part.get("content", {}).items():
                    shown = [one["value"] for one in content.get("examples", {}).values()]
                    for example in shown or [content.get("example")]:
                        if example is not None or status != "body":
                            yield f"{method} {path} {status} {kind}", example, content["schema"]


def test_every_answer_has_an_example_that_its_schema_allows(schema: dict[str, Any]) -> None:
    wrong, count = [], 0
    for name, example, described in examples_of(schema):
        checker = Draft202012Validator(
            json_schema(described, schema, whole=" body " not in name),
            format_checker=Draft202012Validator.FORMAT_CHECKER,
        )
        count += 1
        wrong += [
            f"{name} {error.json_path}: {error.message[:200]}" for error in checker.iter_errors(example)
        ]

    assert count > 170
    assert "\n".join(wrong) == ""


def test_feedback_takes_one_event_or_a_list_of_them(schema: dict[str, Any]) -> None:
    body = schema["paths"]["/api/v1/feedback/"]["post"]["requestBody"]["content"]["application/json"]

    one, many = schema["components"]["schemas"][body["schema"]["$ref"].rpartition("/")[2]]["oneOf"]

    assert one == {"$ref": "#/components/schemas/Event"}
    assert many == {"type": "array", "items": one}


def test_every_list_of_the_first_page_answers() -> None:
    caller = make_api_caller()

    links = caller.get("/").json()

    assert sorted(links) == [
        "clusters", "documentation", "experiments", "feedback", "listening_history", "models", "runs",
        "schema", "songs", "songs_popular", "status", "users",
    ]  # fmt: skip
    for name, link in links.items():
        if name != "feedback":
            assert caller.client.get(link, headers=caller.headers).status_code == 200, name


def test_schema_and_documentation_need_no_key() -> None:
    assert ApiCaller().client.get("/api/schema/").status_code == 200
    assert ApiCaller().client.get("/api/docs/").status_code == 200


@pytest.mark.parametrize("page", ["/api/docs/", "/api/v1/users/"])
def test_pages_take_every_file_from_our_own_server(page: str, admin_client: Client) -> None:
    html = admin_client.get(page, headers={"Accept": "text/html"}).content.decode()

    found = re.findall(r'<(?:script|link|img)[^>]*(?:src|href)="([^"]+)"', html)

    files = [url for url in found if url.startswith("/static/")]
    assert len(files) >= 3
    assert [url for url in found if url.startswith(("http", "//"))] == []
    assert [url for url in files if finders.find(url.removeprefix("/static/")) is None] == []


def test_no_script_stands_inside_the_documentations_page() -> None:
    page = Client().get("/api/docs/")

    assert "script-src" not in page.headers["Content-Security-Policy"]
    assert page.headers["Content-Security-Policy"].startswith("default-src 'self';")
    assert re.findall(r"<script>", page.content.decode()) == []


def test_json_that_staff_browse_has_a_line_for_each_field_and_that_of_programs_has_none(
    admin_client: Client,
) -> None:
    browsed = admin_client.get("/api/v1/users/", headers={"Accept": "text/html"}).content.decode()
    asked = admin_client.get("/api/v1/users/", headers={"Accept": "application/json"}).content.decode()

    assert "{\n  &quot;next&quot;: null,\n  &quot;previous&quot;: null," in browsed
    assert asked == '{"next":null,"previous":null,"results":[]}'

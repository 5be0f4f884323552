"""Every route of the API, as the schema lists them: who may, what is unknown, and nonsense in every place."""

import re
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from drf_spectacular.generators import SchemaGenerator
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tests.support.builders.api import (
    ApiCaller,
    make_api_caller,
    make_listener,
    make_run,
    make_session,
    make_song,
)

pytestmark = pytest.mark.django_db
NONSENSE = [
    "", " ", "-1", "0", "1.5", "1e309", "nan", "inf", "9" * 30, "9" * 5_000, "x" * 3_000, "\0", "'\"--", "%",
    "_", "[]", "{}", "null", "true", "1,2", "1,,2", "2026-02-30", "0001-01-01T00:00:00+14:00", "٣", "🎵",
    "0d3c1f1e-3f0e-4d8a-9a53-0f2f2b1d9c11", "../../etc/passwd", "cD1udWxs", "cj0xJnA9MQ==",
]  # fmt: skip
PERSONAL = {"/api/v1/users/", "/api/v1/users/{id}/"}
FINE = {200, 301, 400, 404}
PATHS = SchemaGenerator().get_schema(public=True)["paths"]  # type: ignore[no-untyped-call]


def operations(method: str) -> list[tuple[str, list[str]]]:
    """Each path with that method, and its query parameters."""
    return [
        (
            path,
            [one["name"] for one in methods[method].get("parameters", []) if one["in"] == "query"],
        )
        for path, methods in PATHS.items()
        if method in methods
    ]


READ = operations("get")
WRITTEN = operations("post")
QUERIES = [(path, name) for path, names in READ for name in names]


@pytest.fixture
def filled(settings: Any, tmp_path: Any) -> None:
    settings.API_RATE = "1000000/min"
    settings.MODEL_STORAGE = tmp_path / "models"
    make_listener(1)
    for pk in range(1, 31):
        make_song(pk)
    make_session(1, [1, 2, 1])
    make_run("songs", "users", "listening_history")


@pytest.fixture
def caller(filled: None) -> ApiCaller:
    return make_api_caller()


def at(path: str, value: str = "1") -> str:
    """The path with `value` for its id."""
    return re.sub(r"\{\w+\}", quote(value, safe=""), path).removeprefix("/api/v1")


def test_the_routes_are_those_that_were_promised() -> None:
    promised = {
        "songs/", "users/", "listening-history/", "clusters/", "runs/", "models/", "experiments/", "status/",
        "songs/popular/", "songs/{id}/similar/", "users/{id}/recommendations/", "users/{id}/next/",
        "users/{id}/affinities/", "users/{id}/new-releases/",
    }  # fmt: skip

    assert {f"/api/v1/{path}" for path in promised} <= {path for path, _ in READ}
    assert [path for path, _ in WRITTEN] == ["/api/v1/feedback/", "/api/v1/tokens/"]


@pytest.mark.parametrize("path", [path for path, _ in READ])
def test_a_route_wants_a_key_and_no_more(filled: None, path: str) -> None:
    nobody = ApiCaller().get(at(path))
    plain = make_api_caller("plain").get(at(path))
    trusted = make_api_caller("trusted", personal_data=True).get(at(path))

    assert nobody.status_code == 401
    # Feedback is listed for a user.
    answers = {(200, 200), (404, 404)} if path != "/api/v1/feedback/" else {(400, 400)}
    assert (plain.status_code, trusted.status_code) in answers
    assert b"example.org" not in plain.content
    assert (b"user1@example.org" in trusted.content) == (path in PERSONAL)


def test_feedback_wants_a_key(filled: None) -> None:
    assert ApiCaller().post("/feedback/", {}).status_code == 401


@pytest.mark.parametrize("path", [path for path, _ in READ if "{" in path])
def test_an_unknown_id_is_a_404_in_the_one_shape(filled: None, path: str) -> None:
    answer = make_api_caller().get(at(path, "999999"))

    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "not_found"


@pytest.mark.parametrize("path", [path for path, _ in READ if "{id}" in path])
@pytest.mark.parametrize("far", [2**63, -(2**63) - 1, 10**40])
def test_an_id_beyond_64_bits_is_a_404(filled: None, path: str, far: int) -> None:
    answer = make_api_caller().get(at(path, str(far)))

    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "not_found"


def test_negative_ids_work_everywhere(filled: None) -> None:
    make_listener(-4)
    make_song(-7)
    make_session(-4, [-7])
    caller = make_api_caller()
    paths = [
        "/users/-4/", "/songs/-7/", "/songs/-7/similar/", "/users/-4/affinities/",
        "/users/-4/recommendations/",
        "/users/-4/recommendations/?exclude=-1", "/users/-4/next/?after=-7", "/listening-history/?user=-4",
    ]  # fmt: skip
    event = {"event_id": "e", "user_id": -4, "song_id": -7, "kind": "like"}

    answers = {path: caller.get(path) for path in paths}

    assert {path: answer.status_code for path, answer in answers.items()} == dict.fromkeys(paths, 200)
    assert len(answers["/listening-history/?user=-4"].json()["results"]) == 1
    assert caller.post("/feedback/", event).status_code == 201


@pytest.mark.parametrize(("path", "names"), READ)
def test_an_unknown_parameter_is_a_400_with_the_known_ones(filled: None, path: str, names: list[str]) -> None:
    answer = make_api_caller().get(f"{at(path)}?zzz=1")

    [says] = answer.json()["error"]["fields"]["zzz"]
    known = f"Known parameters: {', '.join(sorted(names))}." if names else "This endpoint has no parameters."
    assert (answer.status_code, says) == (400, f"Unknown parameter. {known}")


def test_an_unknown_parameter_of_a_post_is_a_400(filled: None) -> None:
    assert make_api_caller().post("/feedback/?dry_run=1", {}).json()["error"]["fields"].keys() == {"dry_run"}


@pytest.mark.slow
@pytest.mark.parametrize("path", [path for path, _ in READ if "{" in path])
def test_nonsense_for_an_id_breaks_nothing(filled: None, path: str) -> None:
    caller = make_api_caller()

    answers = [caller.get(at(path, value)) for value in NONSENSE]

    assert [answer.status_code for answer in answers if answer.status_code not in FINE] == []


@pytest.mark.slow
@pytest.mark.parametrize(("path", "name"), QUERIES)
def test_nonsense_for_a_parameter_breaks_nothing(filled: None, path: str, name: str) -> None:
    caller = make_api_caller()

    answers = [caller.get(f"{at(path)}?{urlencode({name: value})}") for value in NONSENSE]

    assert [answer.status_code for answer in answers if answer.status_code not in FINE] == []


@pytest.mark.slow
@hypothesis_settings(
    max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(data=st.data())
def test_no_text_in_any_parameters_breaks_anything(
    filled: None, caller: ApiCaller, data: st.DataObject
) -> None:
    path, names = data.draw(st.sampled_from([(path, names) for path, names in READ if names]))
    query = data.draw(st.dictionaries(st.sampled_from(names), st.text(max_size=30)))

    answer = caller.get(f"{at(path)}?{urlencode(query, errors='surrogatepass')}")

    assert answer.status_code in FINE

"""The demo source responds as the real one: byte for byte for recorded pages, else by the same rules.

`pages/` holds the first and the last page of each resource from one reading of the real API.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import pytest
import requests
from pydantic import Field, TypeAdapter, ValidationError

from ingestion.demo.server import DemoServer
from ingestion.demo.source import RESOURCES, RecordedSource, Snapshot
from ingestion.demo.world.world import World

PAGES = Path(__file__).parent / "pages"
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}"
FORMS = {
    "tracks": {"duration": r"\d\d:[0-5]\d", "created_at": TIME, "updated_at": TIME, "genres": r"\S.*"},
    "users": {"email": r"[a-z0-9.]+@example\.org", "created_at": TIME, "updated_at": TIME},
    "listen_history": {"created_at": TIME, "updated_at": TIME},
}


class RecordedEnds:
    """A thousand rows a resource, as the source had: the recorded first and last hundred, others between."""

    def snapshot(self) -> Snapshot:
        tables = {}
        for resource in RESOURCES:
            first, last = recorded(resource, 1)["items"], recorded(resource, 10)["items"]
            tables[resource] = [*first, *([first[0]] * 800), *last]
        return Snapshot(1, tables)

    def new_catalogue(self) -> None:
        raise NotImplementedError


def recorded(resource: str, number: int) -> Any:
    return json.loads((PAGES / f"{resource}_{number:02}.json").read_bytes())


@pytest.fixture(scope="module")
def twin() -> Iterator[str]:
    with DemoServer(World(songs=150, listeners=30, days=5)) as server:
        yield server.url


@pytest.mark.parametrize("number", [1, 10])
@pytest.mark.parametrize("resource", RESOURCES)
def test_a_recorded_page_is_answered_byte_for_byte(resource: str, number: int) -> None:
    expected = (PAGES / f"{resource}_{number:02}.json").read_bytes()

    with DemoServer(RecordedEnds()) as server:
        response = requests.get(f"{server.url}/{resource}?page={number}&size=100", timeout=120)

    assert response.content == expected
    assert response.headers["content-type"] == "application/json"


@pytest.mark.parametrize("resource", RESOURCES)
def test_without_parameters_the_first_hundred_rows_come(resource: str) -> None:
    with DemoServer(RecordedEnds()) as server:
        response = requests.get(f"{server.url}/{resource}", timeout=120)

    assert response.json() == recorded(resource, 1)


def test_recorded_pages_can_be_served_at_another_size() -> None:
    with DemoServer(RecordedSource(PAGES)) as server:
        body = requests.get(f"{server.url}/users?page=5&size=25", timeout=120).json()

    assert body["items"] == recorded("users", 2)["items"][:25]
    assert (body["total"], body["page"], body["size"], body["pages"]) == (1000, 5, 25, 40)


@pytest.mark.parametrize("resource", RESOURCES)
def test_the_twins_rows_have_the_recorded_fields_first_and_of_the_same_types(
    twin: str, resource: str
) -> None:
    sample = recorded(resource, 1)["items"][0]

    rows = requests.get(f"{twin}/{resource}", timeout=120).json()["items"]

    for row in rows:
        assert list(row)[: len(sample)] == list(sample)
        assert [type(row[name]) for name in sample] == [type(value) for value in sample.values()]


@pytest.mark.parametrize("resource", RESOURCES)
def test_recorded_rows_and_the_twins_rows_write_their_values_alike(twin: str, resource: str) -> None:
    ours = requests.get(f"{twin}/{resource}", timeout=120).json()["items"]
    theirs = recorded(resource, 1)["items"]

    for rows in (ours, theirs):
        for name, form in FORMS[resource].items():
            # The source also draws example.com and example.net, which belong to nobody either.
            assert all(
                re.fullmatch(form, row[name].replace(".com", ".org").replace(".net", ".org")) for row in rows
            )


def test_the_twins_body_is_compact_and_not_escaped(twin: str) -> None:
    response = requests.get(f"{twin}/users?size=100", timeout=120)

    assert response.content == json.dumps(response.json(), separators=(",", ":"), ensure_ascii=False).encode()


def test_a_page_past_the_end_is_empty_and_no_error(twin: str) -> None:
    last = requests.get(f"{twin}/tracks?page=2", timeout=120).json()

    response = requests.get(f"{twin}/tracks?page=3", timeout=120)

    assert response.status_code == 200
    assert response.content == b'{"items":[],"total":%d,"page":3,"size":100,"pages":2}' % last["total"]


@pytest.mark.parametrize(
    ("query", "name", "given"),
    [
        ("size=101", "size", "101"),
        ("size=0", "size", "0"),
        ("page=0", "page", "0"),
        ("page=-1", "page", "-1"),
        ("page=abc", "page", "abc"),
        ("page=", "page", ""),
        ("size=1.5", "size", "1.5"),
    ],
)
def test_a_wrong_parameter_is_refused_in_the_frameworks_words(
    twin: str, query: str, name: str, given: str
) -> None:
    limits = Field(ge=1, le=100) if name == "size" else Field(ge=1)
    with pytest.raises(ValidationError) as refusal:
        TypeAdapter(Annotated[int, limits]).validate_python(given)
    expected = {**refusal.value.errors(include_url=False)[0], "loc": ["query", name]}

    response = requests.get(f"{twin}/tracks?{query}", timeout=120)

    assert response.status_code == 422
    assert response.json() == {"detail": [expected]}


def test_the_refusal_of_too_large_a_size_is_written_as_fastapi_writes_it(twin: str) -> None:
    response = requests.get(f"{twin}/users?size=101", timeout=120)

    assert response.content == (
        b'{"detail":[{"type":"less_than_equal","loc":["query","size"],'
        b'"msg":"Input should be less than or equal to 100","input":"101","ctx":{"le":100}}]}'
    )


def test_two_wrong_parameters_are_refused_together(twin: str) -> None:
    response = requests.get(f"{twin}/users?size=abc&page=0", timeout=120)

    assert [one["loc"] for one in response.json()["detail"]] == [["query", "page"], ["query", "size"]]


@pytest.mark.parametrize("path", ["/songs", "/tracks/1", "/docs/"])
def test_other_addresses_are_not_found(twin: str, path: str) -> None:
    response = requests.get(twin + path, timeout=120)

    assert (response.status_code, response.content) == (404, b'{"detail":"Not Found"}')


def test_other_parameters_are_ignored(twin: str) -> None:
    response = requests.get(f"{twin}/tracks?since=2026-01-01&page=2", timeout=120)

    assert (response.status_code, response.json()["page"]) == (200, 2)


def test_posting_is_not_allowed(twin: str) -> None:
    response = requests.post(f"{twin}/tracks", json={"name": "mine"}, timeout=120)

    assert (response.status_code, response.content) == (405, b'{"detail":"Method Not Allowed"}')
    assert response.headers["allow"] == "GET"


def test_a_slash_at_the_end_leads_to_the_address_without(twin: str) -> None:
    response = requests.get(f"{twin}/tracks/?page=2", timeout=120, allow_redirects=False)

    assert (response.status_code, response.headers["location"]) == (307, f"{twin}/tracks?page=2")

"""Row faults over real HTTP: wrong values, shifted rows and wrong totals."""

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import requests

from ingestion.demo.bulk import BulkSource
from ingestion.demo.faults.spec import parse_faults
from ingestion.demo.server import DemoServer
from ingestion.demo.world.world import World
from ingestion.source.schemas import SCHEMAS, RejectedRow, RowValidator


def small() -> BulkSource:
    return BulkSource(songs=250, users=250, histories=250)


def get(server: DemoServer, path: str) -> requests.Response:
    return requests.get(server.url + path, timeout=120, allow_redirects=False)


def read_all(server: DemoServer, resource: str, size: int = 100) -> list[Any]:
    """All rows, page by page, as long as the first page's `pages` says."""
    first = get(server, f"/{resource}?page=1&size={size}").json()
    rows: list[Any] = first["items"]
    for page in range(2, first["pages"] + 1):
        rows += get(server, f"/{resource}?page={page}&size={size}").json()["items"]
    return rows


@cache
def world() -> World:
    """A world that tests must not advance."""
    return World(songs=1500, listeners=400, days=10)


def faulty_rows(faults: str, resource: str) -> list[Any]:
    with DemoServer(world(), faults=parse_faults(faults)) as server:
        return read_all(server, resource)


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda schema: schema.path)
def test_bad_rows_are_few_all_refused_and_the_same_in_every_reading(schema: Any) -> None:
    first = faulty_rows("badrow:0.04", schema.path[1:])
    second = faulty_rows("badrow:0.04", schema.path[1:])

    refused = [one for one in RowValidator(schema).validate_rows(first) if isinstance(one, RejectedRow)]

    assert first == second
    assert 0.01 < len(refused) / len(first) < 0.08
    assert len({one.reason for one in refused}) > 2


def test_bad_rows_of_one_page_stand_on_that_page() -> None:
    rows = faulty_rows("badrow@2", "users")
    clean = world().rows("users")

    assert [at for at, row in enumerate(rows) if row != clean[at]] == list(range(100, 200))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "is_struck"),
    [
        ("nulluser", lambda row: row["user_id"] is None),
        ("unknownuser", lambda row: (row["user_id"] or 0) >= 900_000_000_000),
        ("unknownsong", lambda row: row["items"][-1] >= 900_000_000_000),
    ],
)
def test_some_sessions_lead_nowhere(fault: str, is_struck: Callable[[Any], bool]) -> None:
    rows = faulty_rows(f"{fault}:0.05", "listen_history")
    users = faulty_rows(f"{fault}:0.05", "users")

    struck = [row for row in rows if is_struck(row)]

    assert 0.03 < len(struck) / len(rows) < 0.07
    assert users == list(world().rows("users"))


def test_rows_sent_twice_are_counted_twice() -> None:
    with DemoServer(small(), faults=parse_faults("duplicate:0.1")) as server:
        total = get(server, "/tracks").json()["total"]
        rows = read_all(server, "tracks")

    assert len(rows) == total > 255
    assert len({row["id"] for row in rows}) == 250


def test_rows_shift_once_after_their_page_while_the_total_stays() -> None:
    with DemoServer(small(), faults=parse_faults("shift@2")) as server:
        before = get(server, "/tracks?page=3").json()
        get(server, "/tracks?page=2")
        after = get(server, "/tracks?page=3").json()
        get(server, "/tracks?page=2")
        later = get(server, "/tracks?page=3").json()

    assert before["total"] == after["total"] == 250
    assert after["items"][:47] == before["items"][3:]
    assert len(after["items"]) == 50
    assert later == after


@pytest.mark.parametrize("resource", ["tracks", "users", "listen_history"])
def test_a_reader_of_shifting_pages_misses_rows_though_the_totals_agree(resource: str) -> None:
    source = small()
    there = list(source.snapshot().tables[resource])
    with DemoServer(source, faults=parse_faults("shift")) as server:
        once = read_all(server, resource)
        again = read_all(server, resource)

    assert len(once) == len(again) == 250
    assert [row for row in there if row not in once] == there[200:203]
    assert [row for row in there if row not in again] == there[:3]


def test_shifts_by_chance_go_on() -> None:
    with DemoServer(small(), faults=parse_faults("shift:0.5")) as server:
        firsts = {get(server, "/tracks").json()["items"][0]["id"] for _ in range(20)}

    assert 5 < len(firsts) < 17


def test_a_total_that_lies_promises_pages_that_are_empty() -> None:
    with DemoServer(small(), faults=parse_faults("lyingtotal:0.3")) as server:
        body = get(server, "/tracks").json()
        last = get(server, "/tracks?page=4").json()

    assert (body["total"], body["pages"], last["items"]) == (325, 4, [])


def test_a_lie_on_one_page_is_only_there() -> None:
    with DemoServer(small(), faults=parse_faults("lyingtotal@2")) as server:
        totals = [get(server, f"/tracks?page={page}").json()["total"] for page in (1, 2, 3)]

    assert totals == [250, 275, 250]


def test_a_reset_source_starts_with_another_catalogue_under_the_same_ids() -> None:
    clean = World(songs=100, listeners=20, days=2)
    with DemoServer(World(songs=100, listeners=20, days=2), faults=parse_faults("reset")) as server:
        rows = read_all(server, "tracks")

    known = {row["id"]: row["artist"] for row in clean.rows("tracks")}
    again = [row for row in rows if row["id"] in known]
    assert len(again) > 90
    assert not [row for row in again if row["artist"] == known[row["id"]]]


def test_a_source_may_restart_in_the_middle_of_a_reading() -> None:
    with DemoServer(small(), faults=parse_faults("reset@1")) as server:
        first = get(server, "/tracks").json()["items"]
        second = get(server, "/tracks").json()["items"]
        third = get(server, "/users?page=1").json()["items"] and get(server, "/tracks").json()["items"]

    assert [row["id"] for row in first] == [row["id"] for row in second]
    assert first[0]["artist"] != second[0]["artist"]
    assert third == second

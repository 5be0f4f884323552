"""Response faults over real HTTP: each one happens when its rule says, and not more often."""

import http.client
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import pytest
import requests

from ingestion.demo.bulk import BulkSource
from ingestion.demo.faults.spec import (
    FAULT_KINDS,
    FaultRule,
    FaultSpec,
    ResponseFaultSampler,
    describe_faults,
    parse_faults,
)
from ingestion.demo.server import DemoServer
from ingestion.demo.world.world import World


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


def faulty_rows(faults: str, resource: str) -> list[Any]:
    with DemoServer(World(songs=1500, listeners=400, days=10), faults=parse_faults(faults)) as server:
        return read_all(server, resource)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ()),
        ("500", (FaultRule("500", 0.05),)),
        ("500:0.2", (FaultRule("500", 0.2),)),
        ("500@3", (FaultRule("500", 1.0, page=3),)),
        ("429@3x2", (FaultRule("429", 1.0, page=3, times=2),)),
        ("badrow:0.5@2", (FaultRule("badrow", 0.5, page=2),)),
        ("shift", (FaultRule("shift", 1.0, page=2),)),
        ("reset", (FaultRule("reset", 1.0, page=0),)),
        ("lyingtotal@2", (FaultRule("lyingtotal", 0.1, page=2),)),
        (" slow , html:1 ", (FaultRule("slow", 0.02), FaultRule("html", 1.0))),
    ],
)
def test_faults_are_read_as_the_command_line_writes_them(text: str, expected: tuple[FaultRule, ...]) -> None:
    assert parse_faults(text).rules == expected


@pytest.mark.parametrize("text", ["flood", "429,flood:0.1", "500@", "500x2", "500:lots"])
def test_an_unknown_fault_is_named_and_those_that_exist_are_listed(text: str) -> None:
    wrong = text.rsplit(",", maxsplit=1)[-1]

    with pytest.raises(ValueError, match=re.escape(f"unknown fault '{wrong}'")) as refusal:
        parse_faults(text)

    assert all(name in str(refusal.value) for name in FAULT_KINDS)
    assert "connection closes in the middle" in str(refusal.value)


@pytest.mark.parametrize("text", ["500:1.5", "500:0.1.2"])
def test_a_rate_beyond_one_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not between 0 and 1"):
        parse_faults(text)


def test_every_fault_is_described_in_a_line_of_its_own() -> None:
    assert len(describe_faults().splitlines()) == len(FAULT_KINDS) == 17


def test_too_many_requests_tells_how_many_seconds_to_wait() -> None:
    faults = replace(parse_faults("429@1"), retry_after=7, retry_as="seconds")
    with DemoServer(small(), faults=faults) as server:
        response = get(server, "/tracks")

    assert (response.status_code, response.headers["retry-after"]) == (429, "7")
    assert response.json() == {"detail": "Too Many Requests"}


def test_too_many_requests_may_give_a_date_instead() -> None:
    faults = replace(parse_faults("429@1"), retry_after=60, retry_as="date")
    with DemoServer(small(), faults=faults) as server:
        until = parsedate_to_datetime(get(server, "/tracks").headers["retry-after"])

    assert timedelta(seconds=50) < until - datetime.now(UTC) <= timedelta(seconds=61)


def test_a_fault_strikes_its_page_of_each_resource_as_often_as_it_should() -> None:
    with DemoServer(small(), faults=parse_faults("500@2x2")) as server:
        first = get(server, "/tracks?page=1").status_code
        again = [get(server, f"/{name}?page=2").status_code for name in ("tracks", "users") for _ in range(3)]

    assert first == 200
    assert again == [500, 500, 200, 500, 500, 200]


def test_a_slow_answer_is_right_in_the_end() -> None:
    faults = replace(parse_faults("slow:1"), slow_seconds=0.2)
    with DemoServer(small(), faults=faults) as server:
        response = get(server, "/tracks")

    assert response.elapsed > timedelta(seconds=0.19)
    assert len(response.json()["items"]) == 100


def test_a_request_that_hangs_is_never_answered() -> None:
    with DemoServer(small(), faults=parse_faults("hang@1")) as server:
        with pytest.raises(requests.ReadTimeout):
            requests.get(f"{server.url}/tracks", timeout=0.2)

        assert get(server, "/tracks?page=2").status_code == 200


def test_a_dropped_connection_ends_in_the_middle_of_the_body() -> None:
    with DemoServer(small(), faults=parse_faults("drop:1")) as server:
        connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=120)
        connection.request("GET", "/tracks")
        with pytest.raises(http.client.IncompleteRead):
            connection.getresponse().read()
        connection.close()


def test_a_truncated_answer_is_whole_http_and_half_json() -> None:
    with DemoServer(small(), faults=parse_faults("truncated:1")) as server:
        response = get(server, "/tracks")

    assert response.status_code == 200
    assert len(response.content) == int(response.headers["content-length"])
    assert response.text.startswith('{"items":[{"id":')
    with pytest.raises(requests.JSONDecodeError):
        response.json()


def test_a_web_page_may_come_with_status_200() -> None:
    with DemoServer(small(), faults=parse_faults("html:1")) as server:
        response = get(server, "/tracks")

    assert (response.status_code, response.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert response.text.startswith("<!doctype html>")


def test_a_redirect_leads_to_another_host() -> None:
    with DemoServer(small(), faults=parse_faults("redirect")) as server:
        response = get(server, "/tracks?page=2")

    assert (response.status_code, response.headers["location"]) == (
        302,
        "http://elsewhere.invalid/tracks?page=2",
    )


def test_a_huge_body_has_no_end() -> None:
    with (
        DemoServer(small(), faults=parse_faults("huge")) as server,
        requests.get(f"{server.url}/tracks", timeout=120, stream=True) as response,
    ):
        pieces = response.iter_content(65_536)
        received = sum(len(next(pieces)) for _ in range(200))

    assert "content-length" not in response.headers
    assert received > 5_000_000


def test_chance_strikes_one_page_at_most_twice_in_a_row_and_the_same_in_every_run() -> None:
    faults = parse_faults("429:0.3,500:0.3,drop:0.2", seed=5)
    runs = [[draw(ResponseFaultSampler(faults), 40) for _ in range(2)] for _ in range(2)]

    assert runs[0] == runs[1]
    names = "".join("f" if name else "." for name in runs[0][0])
    assert "fff" not in names
    assert names.count("f") > 15


def draw(draws: ResponseFaultSampler, times: int) -> list[str | None]:
    found = [draws.draw_fault("tracks", 1, 100) for _ in range(times)]
    return [None if rule is None else rule.name for rule in found]


def test_five_attempts_get_every_page_through_the_usual_faults() -> None:
    faults = replace(parse_faults("429,500,slow,drop,truncated,html"), slow_seconds=0.01)
    with DemoServer(BulkSource(songs=3000), faults=faults) as server:
        ids = [row["id"] for page in range(1, 31) for row in persistent(server, page)]

    assert len(set(ids)) == 3000
    assert sum(count for name, count in server.answer_counts.items() if name != "200") > 0


def persistent(server: DemoServer, page: int) -> list[Any]:
    for _ in range(5):
        try:
            items: list[Any] = get(server, f"/tracks?page={page}").json()["items"]
        except (requests.RequestException, ValueError, KeyError):
            continue
        return items
    raise AssertionError(f"page {page} did not come")


def test_no_faults_means_a_server_that_works() -> None:
    with DemoServer(small(), faults=FaultSpec()) as server:
        rows = read_all(server, "tracks")

    assert rows == list(small().snapshot().tables["tracks"])

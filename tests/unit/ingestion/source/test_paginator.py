"""The paginator over real HTTP: no row that stays in a changing list is missed."""

import gc
import random
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingestion.source.client import SourceClient
from ingestion.source.errors import SourceContractBroken, SourceUnavailable
from ingestion.source.paginator import Paginator, SourcePage
from tests.support.servers.scripted_server import Reply, Request, ScriptedServer, page_reply

Change = Callable[[list[int]], None]


class Catalogue:
    """Serves ids as rows; `changes` happen just before the request of that number, from 1, is answered."""

    def __init__(self, ids: range, *, size: int = 2, changes: dict[int, list[Change]] | None = None) -> None:
        self.ids = list(ids)
        self.pages: list[int] = []
        self._size = size
        self._changes = changes or {}

    def __call__(self, request: Request) -> Reply:
        self.pages.append(request.page)
        for change in self._changes.get(len(self.pages), []):
            change(self.ids)
        return page_reply([{"id": number} for number in self.ids], request.page, size=self._size)


def append(number: int) -> Change:
    return lambda ids: ids.append(number)


def delete(position: int) -> Change:
    def change(ids: list[int]) -> None:
        if ids:
            del ids[position % len(ids)]

    return change


def insert_first(number: int) -> Change:
    return lambda ids: ids.insert(0, number)


def make_client(url: str, **options: Any) -> SourceClient:
    return SourceClient(url, **{"sleep": lambda _: None, "connections": 3, **options})


def read(url: str, **options: Any) -> tuple[list[int], Paginator]:
    standing: dict[int, SourcePage] = {}
    with make_client(url, **options).read_pages("/tracks", key=lambda row: row["id"]) as reading:
        for page in reading:
            standing[page.number] = page
    return [row["id"] for number in sorted(standing) for row in standing[number].rows], reading


def read_catalogue(catalogue: Catalogue, **options: Any) -> tuple[list[int], Paginator]:
    with ScriptedServer(catalogue) as server:
        return read(server.url, **options)


def source_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("source")]


def test_an_unchanged_list_is_read_once_and_its_anchors_twice() -> None:
    catalogue = Catalogue(range(60))

    ids, reading = read_catalogue(catalogue, connections=1)

    assert ids == list(range(60))
    assert (reading.total, reading.received, reading.pages) == (60, 60, 30)
    assert (reading.requests, reading.retries, reading.shifts, reading.stable) == (39, 0, 0, True)
    anchors = [1, 5, 9, 13, 17, 21, 25, 30]
    assert catalogue.pages[:8] == catalogue.pages[30:38] == anchors
    # The last page is full: the next one might not be empty.
    assert catalogue.pages[38:] == [31]
    assert catalogue.pages[8:30] == [page for page in range(1, 31) if page not in anchors]


def test_an_empty_list_is_read_completely() -> None:
    ids, reading = read_catalogue(Catalogue(range(0)))

    assert ids == []
    assert (reading.total, reading.received, reading.requests, reading.stable) == (0, 0, 1, True)


def test_a_list_of_one_page_that_is_not_full_takes_one_request() -> None:
    ids, reading = read_catalogue(Catalogue(range(2), size=3))

    assert ids == [0, 1]
    assert (reading.pages, reading.requests) == (1, 1)


def test_a_list_that_shrinks_to_one_page_is_read_again() -> None:
    # The deletion moves the last row to the first page, just after that page was read for the second time.
    catalogue = Catalogue(range(8), size=7, changes={4: [delete(1)]})

    ids, reading = read_catalogue(catalogue, connections=1)

    assert ids == [0, 2, 3, 4, 5, 6, 7]
    assert (reading.total, reading.stable) == (7, True)


@pytest.mark.parametrize("length", [3, 4, 15, 16, 17, 19])
def test_lists_of_every_length_are_read_completely(length: int) -> None:
    ids, reading = read_catalogue(Catalogue(range(length)))

    assert ids == list(range(length))
    assert reading.received == reading.total == length


def test_a_page_carries_its_body_as_it_was_sent() -> None:
    with ScriptedServer([page_reply([{"id": 7}])]) as server:
        pages = list(make_client(server.url).read_pages("/tracks", key=lambda row: row["id"]))

    assert [(page.number, page.rows) for page in pages] == [(1, [{"id": 7}])]
    assert pages[0].body == page_reply([{"id": 7}]).body


@pytest.mark.slow
def test_no_row_is_missed_wherever_and_whenever_rows_are_deleted_and_inserted() -> None:
    missed = []
    with ScriptedServer([]) as server:
        # The first and the second row of pages, from the first to the last.
        for position in (0, 5, 10, 17, 23):
            for moment in range(1, 22):
                catalogue = Catalogue(range(24), changes={moment: [delete(position), append(99)]})
                server._answer = catalogue
                ids, reading = read(server.url)
                if not (set(range(24)) - {position} <= set(ids)) or not reading.stable:
                    missed.append((position, moment))

    assert missed == []


@pytest.mark.slow
@settings(max_examples=60)
@given(
    length=st.integers(10, 60),
    deletions=st.lists(st.tuples(st.integers(1, 60), st.integers(0, 59)), max_size=4),
    appended=st.booleans(),
)
def test_rows_that_survive_all_deletions_are_received(
    length: int, deletions: list[tuple[int, int]], appended: bool
) -> None:
    changes: dict[int, list[Change]] = {}
    for index, (moment, position) in enumerate(deletions):
        changes.setdefault(moment, []).append(delete(position))
        if appended:
            changes[moment].append(append(1000 + index))
    catalogue = Catalogue(range(length), size=1, changes=changes)

    ids, reading = read_catalogue(catalogue)

    survivors = {number for number in catalogue.ids if number < 1000}
    assert not reading.stable or survivors <= set(ids)


@pytest.mark.slow
@settings(max_examples=30)
@given(length=st.integers(10, 60), moments=st.lists(st.integers(1, 80), max_size=3))
def test_rows_shifted_by_inserts_in_front_are_received(length: int, moments: list[int]) -> None:
    changes: dict[int, list[Change]] = {
        moment: [insert_first(1000 + index)] for index, moment in enumerate(moments)
    }

    ids, reading = read_catalogue(Catalogue(range(length), changes=changes))

    assert reading.stable
    assert set(range(length)) <= set(ids)


def test_an_insert_in_front_is_noticed_and_read() -> None:
    catalogue = Catalogue(range(40), changes={15: [insert_first(99)]})

    ids, reading = read_catalogue(catalogue)

    assert ids == [99, *range(40)]
    assert (reading.total, reading.received, reading.shifts, reading.stable) == (41, 41, 1, True)


def test_after_a_shift_only_pages_behind_the_last_unmoved_anchor_are_read_again() -> None:
    catalogue = Catalogue(range(120), changes={50: [delete(110), append(99)]})

    ids, reading = read_catalogue(catalogue, connections=1)

    assert ids == [*range(110), *range(111, 120), 99]
    assert reading.shifts == 1
    # The pages between two anchors (51 is the last unmoved of 60), and all anchors a third time.
    assert catalogue.pages[68:] == [*range(52, 60), 1, 9, 17, 26, 34, 43, 51, 60, 61]


def test_a_list_that_shrinks_empties_the_pages_that_no_longer_exist() -> None:
    def halve(ids: list[int]) -> None:
        del ids[10:]

    ids, reading = read_catalogue(Catalogue(range(40), changes={20: [halve]}))

    assert ids == list(range(10))
    assert (reading.total, reading.received, reading.pages, reading.stable) == (10, 10, 5, True)


def test_a_page_that_no_longer_exists_has_a_body_without_rows() -> None:
    def halve(ids: list[int]) -> None:
        del ids[10:]

    with ScriptedServer(Catalogue(range(40), changes={20: [halve]})) as server:
        pages = list(make_client(server.url).read_pages("/tracks", key=lambda row: row["id"]))

    last = {page.number: page.body for page in pages}
    assert last[20] == b'{"items":[]}'


def test_a_list_that_is_emptied_meanwhile_leaves_no_rows() -> None:
    ids, reading = read_catalogue(Catalogue(range(40), changes={20: [list.clear]}))

    assert ids == []
    assert (reading.total, reading.received, reading.stable) == (0, 0, True)


def test_a_row_appended_to_the_list_is_not_a_shift() -> None:
    ids, reading = read_catalogue(Catalogue(range(39), changes={20: [append(99)]}))

    assert ids == [*range(39), 99]
    assert (reading.total, reading.received, reading.shifts) == (40, 40, 0)


def test_pages_appended_to_the_list_are_read_too() -> None:
    grow: Change = lambda ids: ids.extend(range(100, 110))  # noqa: E731

    ids, reading = read_catalogue(Catalogue(range(39), changes={20: [grow]}))

    assert ids == [*range(39), *range(100, 110)]
    assert (reading.total, reading.received, reading.pages, reading.shifts) == (49, 49, 25, 0)


def test_reading_an_ever_growing_list_ends_and_the_total_shows_the_rest() -> None:
    changes: dict[int, list[Change]] = {moment: [append(1000 + moment)] for moment in range(1, 500)}

    ids, reading = read_catalogue(Catalogue(range(40), changes=changes))

    assert set(range(40)) <= set(ids)
    assert reading.requests < 200
    assert (reading.stable, reading.shifts) == (True, 0)
    assert reading.total > reading.received


def test_reading_an_ever_shifting_list_ends_as_unstable() -> None:
    changes: dict[int, list[Change]] = {moment: [insert_first(1000 + moment)] for moment in range(1, 2000)}

    _, reading = read_catalogue(Catalogue(range(40), changes=changes))

    assert (reading.stable, reading.shifts) == (False, 4)
    assert reading.requests < 1000


def test_a_wrong_total_is_read_once_more_and_reported() -> None:
    rows = [{"id": number} for number in range(10)]
    with ScriptedServer(lambda request: page_reply(rows, request.page, size=5, total=11)) as server:
        ids, reading = read(server.url)

    assert ids == list(range(10))
    assert (reading.total, reading.received, reading.stable, reading.shifts) == (11, 10, True, 0)
    assert reading.requests == 7


@pytest.mark.parametrize("refusal", [None, 404])
@pytest.mark.parametrize("pages", [30, 10_000])
def test_a_total_that_is_far_too_high_costs_few_requests(refusal: int | None, pages: int) -> None:
    rows = [{"id": number} for number in range(25)]

    def answer(request: Request) -> Reply:
        if request.page > 3 and refusal == 404:
            return Reply(404)
        return page_reply(rows, request.page, size=10, total=pages * 10, pages=pages)

    with ScriptedServer(answer) as server:
        ids, reading = read(server.url)

    assert ids == list(range(25))
    assert (reading.total, reading.received, reading.pages, reading.stable) == (pages * 10, 25, 3, True)
    assert reading.requests < 70


@pytest.mark.parametrize("length", [4, 7, 40])
@pytest.mark.parametrize("refusal", [None, 404, 422, 500])
def test_rows_behind_a_total_that_is_too_low_are_read(length: int, refusal: int | None) -> None:
    rows = [{"id": number} for number in range(length)]

    def answer(request: Request) -> Reply:
        if refusal and (request.page - 1) * 2 >= length:
            return Reply(refusal)
        return page_reply(rows, request.page, size=2, total=4, pages=2)

    with ScriptedServer(answer) as server:
        ids, reading = read(server.url, attempts=1 if length == 7 else None)

    assert ids == list(range(length))
    assert (reading.total, reading.received, reading.stable) == (4, length, True)


@pytest.mark.parametrize("change", [insert_first(99), delete(0)])
def test_rows_that_move_behind_a_reported_end_that_is_too_low_are_found(change: Change) -> None:
    for moment in range(1, 24):
        catalogue = Catalogue(range(11), changes={moment: [change]})

        def answer(request: Request, catalogue: Catalogue = catalogue) -> Reply:
            catalogue(request)
            return page_reply([{"id": number} for number in catalogue.ids], request.page, size=2, pages=2)

        with ScriptedServer(answer) as server:
            ids, reading = read(server.url, connections=1)

        assert ids in (list(range(11)), catalogue.ids), moment
        assert (reading.total, reading.received, reading.stable) == (len(ids), len(ids), True)


def test_a_list_that_shrinks_to_a_reported_end_that_is_too_low_is_read_whole() -> None:
    # Eight rows on four pages; after the deletion three are reported, and the seventh row is on the fourth.
    for moment in range(1, 16):
        catalogue = Catalogue(range(8), changes={moment: [delete(2)]})

        def answer(request: Request, catalogue: Catalogue = catalogue) -> Reply:
            catalogue(request)
            rows, total = [{"id": number} for number in catalogue.ids], len(catalogue.ids) - 1
            return page_reply(rows, request.page, size=2, total=total, pages=-(-total // 2))

        with ScriptedServer(answer) as server:
            ids, reading = read(server.url, connections=1)

        assert ids in (list(range(8)), [0, 1, *range(3, 8)]), moment
        assert reading.stable


@pytest.mark.parametrize("attempts", [None, 3])
@pytest.mark.parametrize("status", [500, 403])
def test_a_passing_error_behind_a_total_that_is_too_low_is_not_the_end(
    status: int, attempts: int | None
) -> None:
    rows = [{"id": number} for number in range(7)]
    failures = {3: 2, 4: 1}

    def answer(request: Request) -> Reply:
        if failures.get(request.page):
            failures[request.page] -= 1
            return Reply(status)
        return page_reply(rows, request.page, size=2, total=4, pages=2)

    with ScriptedServer(answer) as server:
        ids, _ = read(server.url, attempts=attempts)

    assert ids == list(range(7))


@pytest.mark.parametrize("answered_page", [1, 3])
def test_a_source_that_repeats_a_page_past_the_end_does_not_go_on_for_ever(answered_page: int) -> None:
    rows = [{"id": number} for number in range(6)]

    def answer(request: Request) -> Reply:
        if request.page <= 3 and answered_page == 3:
            return page_reply(rows, request.page, size=2)
        shown = rows[answered_page * 2 - 2 : answered_page * 2]
        return page_reply(rows, request.page, size=2, items=shown)

    with ScriptedServer(answer) as server:
        _, reading = read(server.url)

    assert (reading.total, reading.received, reading.pages) == (6, 6, 3)


def test_empty_pages_between_filled_ones_do_not_end_a_list() -> None:
    rows = [{"id": number} for number in range(100)]

    def answer(request: Request) -> Reply:
        hidden: dict[str, Any] = {"items": []} if 10 <= request.page <= 20 else {}
        return page_reply(rows, request.page, size=2, **hidden)

    with ScriptedServer(answer) as server:
        ids, reading = read(server.url)

    assert ids == [number for number in range(100) if not 18 <= number < 40]
    assert (reading.total, reading.received) == (100, 78)


def test_a_list_that_shrinks_at_a_source_that_answers_404_past_the_end_is_read_whole() -> None:
    catalogue = Catalogue(range(40), changes={20: [lambda ids: ids.__delitem__(slice(10, None))]})

    def answer(request: Request) -> Reply:
        reply = catalogue(request)
        return Reply(404) if (request.page - 1) * 2 >= len(catalogue.ids) else reply

    with ScriptedServer(answer) as server:
        ids, reading = read(server.url)

    assert ids == list(range(10))
    assert (reading.total, reading.received, reading.pages, reading.stable) == (10, 10, 5, True)


def test_a_total_that_was_only_late_is_corrected() -> None:
    rows = [{"id": number} for number in range(10)]

    def answer(request: Request) -> Reply:
        total = 11 if len(server.requests) < 5 else 10
        return page_reply(rows, request.page, size=5, total=total)

    with ScriptedServer(answer) as server:
        _, reading = read(server.url)

    assert (reading.total, reading.received) == (10, 10)


@pytest.mark.parametrize("short", [0, 1])
def test_a_short_page_in_the_middle_is_retried(short: int) -> None:
    rows = [{"id": number} for number in range(20)]
    asked: list[int] = []

    def answer(request: Request) -> Reply:
        asked.append(request.page)
        whole = page_reply(rows, request.page, size=2)
        if request.page == 4 and asked.count(4) == 1:
            return page_reply(rows, 4, size=2, items=[{"id": 6}][:short])
        return whole

    with ScriptedServer(answer) as server:
        ids, reading = read(server.url)

    assert ids == list(range(20))
    assert dict(reading.errors) == {"short_page": 1}


@pytest.mark.parametrize(("attempts", "tries"), [(5, 3), (2, 2), (1, 1)])
def test_a_page_that_stays_short_is_accepted_and_the_totals_show_it(attempts: int, tries: int) -> None:
    rows = [{"id": number} for number in range(40)]

    def answer(request: Request) -> Reply:
        return page_reply(rows, request.page, size=2, **({"items": []} if request.page == 5 else {}))

    with ScriptedServer(answer) as server:
        _, reading = read(server.url, attempts=attempts)

    assert (reading.total, reading.received, reading.stable) == (40, 38, True)
    assert [request.page for request in server.requests].count(5) == tries


def test_a_source_with_fifty_rows_a_page_is_read_completely() -> None:
    rows = [{"id": number} for number in range(230)]
    with ScriptedServer(lambda request: page_reply(rows, request.page, size=50)) as server:
        ids, reading = read(server.url)

    assert ids == list(range(230))
    assert reading.pages == 5


@pytest.mark.parametrize("row", [None, "text", {}, {"id": [1]}, {"id": float("nan")}])
def test_a_row_without_a_key_does_not_disturb_the_reading(row: Any) -> None:
    rows = [row, *({"id": number} for number in range(9))]
    with ScriptedServer(lambda request: page_reply(rows, request.page, size=2)) as server:
        reading = make_client(server.url).read_pages("/tracks", key=lambda entry: entry["id"])
        received = sum(len(page.rows) for page in reading)

    assert received == 10
    assert (reading.stable, reading.shifts) == (True, 0)


def test_a_page_that_fails_at_every_attempt_ends_the_reading_and_its_threads() -> None:
    rows = [{"id": number} for number in range(60)]

    def answer(request: Request) -> Reply:
        return Reply(500) if request.page == 12 else page_reply(rows, request.page, size=2)

    with ScriptedServer(answer) as server:
        with pytest.raises(SourceUnavailable, match="page=12&size=100 failed 2 times"):
            read(server.url, attempts=2)
        threads = source_threads()

    assert threads == []


def test_leaving_the_loop_early_ends_all_threads() -> None:
    with ScriptedServer(Catalogue(range(60))) as server:
        reading = make_client(server.url).read_pages("/tracks", key=lambda row: row["id"])
        for _ in reading:
            break
        threads = source_threads()

    gc.collect()  # an open socket would warn, which is an error here
    assert threads == []


def test_a_paginator_can_be_iterated_only_once() -> None:
    with ScriptedServer(Catalogue(range(6))) as server:
        reading = make_client(server.url).read_pages("/tracks", key=lambda row: row["id"])
        list(reading)

        with pytest.raises(RuntimeError, match="only once"):
            list(reading)


def test_on_wait_is_called_while_the_source_is_silent() -> None:
    beats: list[str] = []
    beaten = threading.Event()

    def beat() -> None:
        beats.append(threading.current_thread().name)
        beaten.set()

    def late() -> Iterator[bytes]:
        beaten.wait(10)
        yield from page_reply([{"id": 1}]).pieces()

    with ScriptedServer(lambda _: Reply(raw=late())) as server:
        pages = list(make_client(server.url).read_pages("/tracks", key=lambda row: row["id"], on_wait=beat))

    assert len(pages) == 1
    assert set(beats) == {threading.current_thread().name}


class Interrupted(BaseException):
    """Stands for Ctrl-C."""


def interrupt() -> None:
    raise Interrupted


@pytest.mark.parametrize(
    "reply",
    [
        Reply(raw=[], hang=True),
        Reply(raw=[b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"], hang=True),
        Reply(429, headers={"Retry-After": "100"}),
    ],
    ids=["silent", "half a body", "asks to wait"],
)
def test_an_interrupt_in_on_wait_ends_all_waits_at_once(reply: Reply) -> None:
    started = time.monotonic()
    with ScriptedServer([reply]) as server:
        client = SourceClient(server.url, rng=random.Random(1))
        with pytest.raises(Interrupted):
            list(client.read_pages("/tracks", key=lambda row: row["id"], on_wait=interrupt))
        threads = source_threads()

    assert threads == []
    # A busy machine takes seconds for the rest; each wait would take 30 s or more.
    assert time.monotonic() - started < 25


def test_fetching_runs_ahead_of_the_consumer_by_a_bounded_number_of_pages() -> None:
    catalogue = Catalogue(range(400))
    too_far = threading.Event()

    def answer(request: Request) -> Reply:
        if len(catalogue.pages) >= 50 + 2 * 3:
            too_far.set()
        return catalogue(request)

    with ScriptedServer(answer) as server:
        pages = iter(make_client(server.url).read_pages("/tracks", key=lambda row: row["id"]))
        for _ in range(50):
            next(pages)

        ran_away = too_far.wait(0.3)
        del pages  # closes the paginator

    assert not ran_away


def test_a_long_list_is_never_held_in_memory() -> None:
    rows = [{"id": number, "name": "x" * 20_000} for number in range(800)]
    with ScriptedServer(lambda request: page_reply(rows, request.page, size=4)) as server:
        reading = make_client(server.url).read_pages("/tracks", key=lambda row: row["id"])
        tracemalloc.start()
        received = sum(len(page.rows) for page in reading)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()

    assert received == 800
    # 16 MB were sent; at most six pages of 80 KB are in flight, as text and as rows, on both sides.
    assert peak < 5_000_000


def test_a_client_error_in_the_middle_ends_the_reading() -> None:
    rows = [{"id": number} for number in range(40)]

    def answer(request: Request) -> Reply:
        return Reply(422) if request.page == 7 else page_reply(rows, request.page, size=2)

    with (
        ScriptedServer(answer) as server,
        pytest.raises(SourceContractBroken, match="page=7&size=100: answered 422"),
    ):
        read(server.url)

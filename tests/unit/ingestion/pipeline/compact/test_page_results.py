"""Results of pages are replaced and summed, and need little more than the keys of their rows."""

import tracemalloc
from array import array
from collections import Counter
from typing import Any

import pytest

from ingestion.pipeline.compact.page_results import PageResult, PageResults


def make_page(*keys: int, **fields: Any) -> PageResult:
    return PageResult(received=len(keys), keys=array("q", keys), **fields)


def test_a_page_that_is_read_again_replaces_its_result() -> None:
    pages = PageResults()
    pages.put(1, make_page(1, 2))
    pages.put(2, make_page(3, 4, 5, new=3))
    first = pages.keys.all().tolist()

    pages.put(1, make_page(6))
    pages.put(3, make_page())

    assert first == [1, 2, 3, 4, 5]
    assert sorted(pages.keys.all()) == [3, 4, 5, 6]
    assert [pages.keys.of_page(number).tolist() for number in pages.numbers()] == [[6], [3, 4, 5], []]
    assert (pages.count("received"), pages.count("new")) == (4, 3)


def test_pages_behind_the_end_are_dropped_with_all_that_they_have() -> None:
    pages = PageResults()
    for number in (1, 2, 3):
        page = make_page(number, rejected=1)
        page.rejected_keys.append(10 + number)
        page.rejected_identities.append(20 + number)
        page.rejected_known_keys.append(30 + number)
        page.corrections["a time"] = number
        pages.put(number, page)

    pages.drop_after(1)

    assert pages.numbers() == [1]
    kept = (pages.keys, pages.rejected_keys, pages.rejected_identities, pages.rejected_known_keys)
    assert [numbers.all().tolist() for numbers in kept] == [[1], [11], [21], [31]]
    assert pages.count("rejected") == 1
    assert pages.total_tally("corrections") == {"a time": 1}


def test_tallies_are_summed_and_given_for_each_page_that_has_any() -> None:
    pages = PageResults()
    pages.put(1, PageResult(rejection_reasons=Counter({("items", "empty"): 2})))
    pages.put(2, PageResult())
    pages.put(3, PageResult(rejection_reasons=Counter({("items", "empty"): 1, ("user_id", "unknown"): 4})))

    assert len(list(pages.tallies("rejection_reasons"))) == 2
    assert pages.total_tally("rejection_reasons") == {("items", "empty"): 3, ("user_id", "unknown"): 4}


@pytest.mark.slow
def test_a_million_rows_need_little_more_than_their_keys() -> None:
    pages = PageResults()

    tracemalloc.start()
    try:
        for number in range(10_000):
            page = make_page(*range(100 * number, 100 * number + 100), new=100)
            page.corrections["a time"] = 100
            pages.put(number, page)
        kept = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()

    # Eight bytes for each key; objects of their own needed 29 bytes a row.
    assert kept < 12e6

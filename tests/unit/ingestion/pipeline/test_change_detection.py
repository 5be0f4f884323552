"""Sessions that share listener and time keep their numbers, however they are ordered."""

from itertools import permutations

from ingestion.pipeline.change_detection import number_occurrences

A, B, C, D = 11, 22, 33, 44


def test_the_first_contents_are_numbered_from_zero() -> None:
    assert number_occurrences([A, B, C], {}) == {A: 0, B: 1, C: 2}


def test_stored_content_keeps_its_number_in_any_order() -> None:
    for order in permutations([A, B, C]):
        assert number_occurrences(order, {0: B, 1: C, 2: A}) == {A: 2, B: 0, C: 1}


def test_a_session_that_was_alone_and_changed_stays_the_same_row() -> None:
    assert number_occurrences([B], {0: A}) == {B: 0}


def test_new_content_replaces_what_did_not_arrive_and_then_takes_new_numbers() -> None:
    assert number_occurrences([A, C, D], {0: B, 1: A}) == {A: 1, C: 0, D: 2}


def test_kept_content_is_never_replaced() -> None:
    assert number_occurrences([C], {0: A, 1: B}, kept=[0, 1]) == {C: 2}

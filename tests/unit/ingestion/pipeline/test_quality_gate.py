"""Quality gate: the status of a run, and whether it may write the catalogue."""

from dataclasses import replace

import pytest

from ingestion.pipeline.quality_gate import QualityLimits, ResourceAssessment, check_quality

FINE = ResourceAssessment(
    resource="songs", received=100, total=100, rejected=0, stable=True, shifts=0, available=100,
    seen_again=100, reidentified=0, distinct=100, is_usually_short=False, has_identity=True,
)  # fmt: skip


def test_a_complete_and_stable_reading_succeeds() -> None:
    assert check_quality([FINE, FINE], QualityLimits()).status == "succeeded"


def test_the_first_run_into_an_empty_catalogue_is_not_a_reset() -> None:
    assert check_quality([replace(FINE, available=0, seen_again=0)], QualityLimits()).status == "succeeded"


def test_rejections_up_to_the_limit_leave_a_success_and_above_it_are_partial() -> None:
    at_the_limit = check_quality([replace(FINE, rejected=5)], QualityLimits(rejected=0.05))
    above = check_quality([replace(FINE, rejected=6)], QualityLimits(rejected=0.05))

    assert at_the_limit.status == "succeeded"
    assert (above.status, above.kind) == ("partial", "too_many_rejected")
    assert above.reason == "6 of 100 rows of songs were rejected (6.0%, limit 5%)."


@pytest.mark.parametrize("total", [101, 99])
def test_a_wrong_total_is_partial(total: int) -> None:
    result = check_quality([replace(FINE, total=total)], QualityLimits())

    assert (result.status, result.kind) == ("partial", "lying_total")
    assert result.reason == f"The source reports {total} songs and sent 100."


def test_a_list_that_is_short_every_day_is_a_success() -> None:
    assert (
        check_quality([replace(FINE, total=120, is_usually_short=True)], QualityLimits()).status
        == "succeeded"
    )


def test_rows_that_kept_moving_make_the_run_partial() -> None:
    verdict = check_quality([replace(FINE, stable=False, shifts=4)], QualityLimits())

    assert (verdict.status, verdict.kind) == ("partial", "unstable_pages")


def test_more_than_half_of_the_catalogue_missing_is_a_reset() -> None:
    half = check_quality([replace(FINE, seen_again=50)], QualityLimits())
    more = check_quality([replace(FINE, seen_again=49)], QualityLimits())

    assert half.status == "succeeded"
    assert (more.status, more.kind) == ("refused", "source_reset")
    assert more.reason.startswith("51 of 100 known songs are missing (51%, limit 50%).")
    assert "--accept-reset" in more.reason


def test_more_than_a_fifth_of_the_ids_reused_is_a_reset() -> None:
    a_fifth = check_quality([replace(FINE, reidentified=20)], QualityLimits())
    more = check_quality([replace(FINE, reidentified=21)], QualityLimits())

    assert a_fifth.status == "succeeded"
    assert more.status == "refused"
    assert more.reason.startswith("21 of 100 known ids of songs now mean something else")


def test_an_accepted_reset_is_applied() -> None:
    assert (
        check_quality([replace(FINE, seen_again=0)], QualityLimits(), accept_reset=True).status == "succeeded"
    )


def test_a_refusal_outweighs_every_reason_for_partial() -> None:
    assert (
        check_quality([replace(FINE, seen_again=0, stable=False, total=7)], QualityLimits()).status
        == "refused"
    )


HISTORY = replace(FINE, resource="listening_history", has_identity=False)


def test_a_history_that_is_mostly_gone_is_partial_until_a_person_accepts_it() -> None:
    gone = replace(HISTORY, seen_again=49)

    doubtful = check_quality([gone], QualityLimits())
    accepted = check_quality([gone], QualityLimits(), accept_reset=True)

    assert (doubtful.status, doubtful.kind) == ("partial", "history_gone")
    assert (accepted.status, accepted.new_catalogue) == ("succeeded", False)


def test_sessions_that_left_a_known_window_are_not_gone() -> None:
    verdict = check_quality([replace(HISTORY, seen_again=10, explained=85)], QualityLimits())

    assert verdict.status == "succeeded"


def test_rows_whose_id_cannot_be_read_are_a_change_of_form_and_no_reset() -> None:
    text_ids = replace(
        FINE, seen_again=0, rejected=100, unrecognised=100, reasons=(("id", "should be an integer", 100),)
    )

    for accept_reset in (False, True):
        verdict = check_quality([text_ids], QualityLimits(), accept_reset=accept_reset)

        assert (verdict.status, verdict.kind, verdict.new_catalogue) == ("partial", "form_changed", False)
        assert "id should be an integer in 100 of 100 rows" in verdict.reason
        assert "--accept-reset" not in verdict.reason


def test_a_reset_with_a_changed_form_is_refused_without_advice_to_accept_it() -> None:
    users = replace(FINE, resource="users", rejected=100, reasons=(("email", "is missing", 100),))

    verdict = check_quality([replace(FINE, seen_again=0), users], QualityLimits())

    assert verdict.status == "refused"
    assert "--accept-reset" not in verdict.reason
    assert "email is missing in 100 of 100 rows" in verdict.reason


def test_a_field_that_most_known_rows_lose_is_held_back() -> None:
    verdict = check_quality([replace(FINE, emptied={"album": 21}), HISTORY], QualityLimits())

    assert (verdict.kind, list(verdict.held)) == ("form_changed", ["songs"])


def test_one_row_of_a_small_list_may_lose_a_field() -> None:
    small = replace(FINE, received=4, total=4, available=4, seen_again=4, distinct=4)

    one, two = (check_quality([replace(small, emptied={"album": rows})], QualityLimits()) for rows in (1, 2))

    assert (one.status, two.kind) == ("succeeded", "form_changed")


def test_every_reason_for_partial_is_reported() -> None:
    verdict = check_quality(
        [replace(FINE, total=101), replace(FINE, resource="users", rejected=50)], QualityLimits()
    )

    assert verdict.kind == "lying_total"
    assert "sent 100." in verdict.reason
    assert "rows of users were rejected" in verdict.reason


def test_rows_that_came_twice_in_place_of_others_are_partial() -> None:
    doubled = replace(FINE, distinct=98, doubled_keys=(7, 9))

    result = check_quality([doubled], QualityLimits())

    assert (result.status, result.kind) == ("partial", "doubled_rows")
    assert result.reason == (
        "The source reports 100 songs and sent 98 different ones: 2 rows came more than once "
        "(such as 7, 9), so others may be missing."
    )


def test_doubled_rows_are_partial_though_the_list_is_usually_short() -> None:
    doubled = replace(FINE, total=120, distinct=98, is_usually_short=True)

    assert check_quality([doubled], QualityLimits()).status == "partial"


def test_doubled_rows_beside_as_many_different_ones_as_reported_are_a_success() -> None:
    assert check_quality([replace(FINE, received=103)], QualityLimits()).status == "succeeded"


def test_doubled_rows_of_one_answer_hide_no_others() -> None:
    one_answer = replace(FINE, distinct=98, one_answer=True)

    assert check_quality([one_answer], QualityLimits()).status == "succeeded"
    assert check_quality([replace(one_answer, total=101)], QualityLimits()).status == "partial"


def test_a_source_may_count_the_doubled_rows_of_one_answer_once() -> None:
    one_answer = replace(FINE, total=98, distinct=98, one_answer=True)

    assert check_quality([one_answer], QualityLimits()).status == "succeeded"


@pytest.mark.parametrize(
    "correction",
    [
        "items unreadable, left empty",
        "updated_at unreadable, taken from created_at",
        "album cleaned of unreadable parts",
    ],
)
def test_a_field_that_is_unreadable_in_most_rows_of_a_first_reading_is_a_change_of_form(
    correction: str,
) -> None:
    first = replace(FINE, available=0, seen_again=0, corrections={correction: 51})

    result = check_quality([first], QualityLimits())

    assert (result.status, result.kind) == ("partial", "form_changed")
    assert f"{correction} in 51 of 100 rows of songs." in result.reason
    assert (
        check_quality([replace(first, corrections={correction: 50})], QualityLimits()).status == "succeeded"
    )
    assert check_quality([replace(FINE, corrections={correction: 51})], QualityLimits()).status == "succeeded"


def test_a_time_that_most_known_rows_lose_is_held_back() -> None:
    renamed = replace(FINE, emptied={"updated_at": 30}, corrections={"updated_at taken from created_at": 100})

    result = check_quality([renamed], QualityLimits())

    assert (result.kind, list(result.held)) == ("form_changed", ["songs"])
    assert check_quality([replace(renamed, corrections={})], QualityLimits()).status == "succeeded"

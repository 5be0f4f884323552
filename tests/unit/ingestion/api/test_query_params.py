"""Query parameters: parsing, errors, and their OpenAPI documentation."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import pytest
from django.http import QueryDict
from hypothesis import given
from hypothesis import strategies as st
from rest_framework.exceptions import ValidationError

from ingestion.api.query_params import (
    ParameterType,
    QueryParameter,
    boolean_type,
    choice_type,
    datetime_type,
    id_list_type,
    id_type,
    integer_type,
    number_type,
    openapi_parameters,
    parse_query,
    refuse_unknown,
    text_type,
    uuid_type,
)

KINDS = [
    integer_type(1, 100),
    number_type(0, 1),
    text_type(5),
    choice_type("a", "b"),
    boolean_type(),
    datetime_type(),
    id_list_type(3),
    uuid_type(),
]


@pytest.mark.parametrize(
    ("kind", "raw", "value"),
    [
        (integer_type(1, 100), "100", 100),
        (integer_type(-5, 5), "-5", -5),
        (integer_type(), "9223372036854775807", 9223372036854775807),
        (number_type(0, 1), "0.30", 0.3),
        (number_type(0, 1), "1e-1", 0.1),
        (number_type(0, 1), ".5", 0.5),
        (number_type(0, 1), "1.", 1.0),
        (id_type(), "-9223372036854775808", -9223372036854775808),
        (text_type(5), "café", "café"),
        (choice_type("a", "b"), "b", "b"),
        (boolean_type(), "TRUE", True),
        (boolean_type(), "0", False),
        (datetime_type(), "2026-11-01", datetime(2026, 11, 1, tzinfo=UTC)),
        (datetime_type(), "2026-11-01T10:00:00Z", datetime(2026, 11, 1, 10, tzinfo=UTC)),
        (datetime_type(), "2026-11-01T10:00 02:00",
         datetime(2026, 11, 1, 10, tzinfo=timezone(timedelta(hours=2)))),
        (id_list_type(3), "12, 7,12", [12, 7, 12]),
        (id_list_type(3), "-12,7", [-12, 7]),
        (id_list_type(3), ",", []),
        (uuid_type(), "0d3c1f1e-3f0e-4d8a-9a53-0f2f2b1d9c11",
         UUID("0d3c1f1e-3f0e-4d8a-9a53-0f2f2b1d9c11")),
    ],
)  # fmt: skip
def test_a_value_is_parsed_to_its_type(kind: ParameterType, raw: str, value: Any) -> None:
    assert kind.parse(raw) == value


@pytest.mark.parametrize(
    ("kind", "raw", "says"),
    [
        (integer_type(1, 100), "101", "Expected a whole number from 1 to 100."),
        (integer_type(1, 100), "1.0", "Expected a whole number from 1 to 100."),
        (integer_type(1, 100), "٣", "Expected a whole number from 1 to 100."),
        (integer_type(1, 100), "9" * 5_000, "Expected a whole number from 1 to 100."),
        (number_type(0, 1), "nan", "Expected a number from 0 to 1."),
        (number_type(0, 1), "-0.1", "Expected a number from 0 to 1."),
        (number_type(0, 1), "0_1", "Expected a number from 0 to 1."),
        (number_type(0, 1), " 0.1", "Expected a number from 0 to 1."),
        (number_type(0, 1), "+0.1", "Expected a number from 0 to 1."),
        (number_type(0, 1), "\u0660.\u0661", "Expected a number from 0 to 1."),
        (number_type(0, 1), ".", "Expected a number from 0 to 1."),
        (text_type(5), "a\0", "Expected a text of at most 5 characters, all of them valid Unicode."),
        (text_type(5), "\ud800", "Expected a text of at most 5 characters, all of them valid Unicode."),
        (choice_type("a", "b"), "c", "Expected one of a, b."),
        (boolean_type(), "yes", "Expected true or false."),
        (
            datetime_type(),
            "0001-01-01",
            "Expected a day or a time, such as 2026-11-01 or 2026-11-01T10:00:00Z.",
        ),
        (id_list_type(3), "1,2,3,4", "Expected at most 3 ids."),
        (id_list_type(3), "1;2", "Expected ids with commas between them, such as 12,7."),
        (uuid_type(), "12", "Expected a UUID."),
    ],
)
def test_an_invalid_value_is_answered_with_what_was_expected(
    kind: ParameterType, raw: str, says: str
) -> None:
    with pytest.raises(ValueError, match=r"^Expected") as caught:
        kind.parse(raw)

    assert str(caught.value) == says


def test_all_invalid_parameters_are_reported_at_once() -> None:
    parameters = [
        QueryParameter("n", integer_type(1, 9), "", 5),
        QueryParameter("on", boolean_type(), ""),
        QueryParameter("q", text_type(), ""),
    ]

    with pytest.raises(ValidationError) as caught:
        parse_query({"n": "0", "on": "?", "q": "fine"}, parameters)

    assert sorted(caught.value.detail) == ["n", "on"]


def test_a_missing_or_empty_parameter_has_its_default() -> None:
    parameters = [QueryParameter("n", integer_type(1, 9), "", 5), QueryParameter("on", boolean_type(), "")]

    assert parse_query({"n": ""}, parameters) == {"n": 5, "on": None}


def test_only_a_parameter_that_repeats_may_be_sent_several_times() -> None:
    parameters = [
        QueryParameter("ids", id_list_type(9), "", repeats=True), QueryParameter("n", integer_type(), ""),
    ]  # fmt: skip

    assert parse_query(QueryDict("ids=1,2&ids=-3&n=5"), parameters) == {"ids": [1, 2, -3], "n": 5}
    with pytest.raises(ValidationError) as caught:
        parse_query(QueryDict("n=5&n=6"), parameters)
    assert caught.value.detail == {"n": ["Send this parameter only once."]}


def test_an_unknown_parameter_is_answered_with_the_known_ones() -> None:
    refuse_unknown(QueryDict("n=1"), ["page", "n"])

    with pytest.raises(ValidationError) as caught:
        refuse_unknown(QueryDict("disocvery=1&n=2"), ["page", "n"])
    assert caught.value.detail == {"disocvery": ["Unknown parameter. Known parameters: n, page."]}


def test_an_unknown_parameter_is_answered_with_the_nearest_known_one() -> None:
    with pytest.raises(ValidationError) as caught:
        refuse_unknown(QueryDict("Disocvery=1"), ["discovery", "n"])

    text = "Unknown parameter. Did you mean discovery? Known parameters: discovery, n."
    assert caught.value.detail == {"Disocvery": [text]}


def test_the_openapi_schema_has_ranges_and_defaults() -> None:
    [described] = openapi_parameters([QueryParameter("n", integer_type(1, 100), "How many songs.", 20)])

    assert described.type == {"type": "integer", "minimum": 1, "maximum": 100, "default": 20}
    assert described.description == "How many songs."


@given(raw=st.text(), kind=st.sampled_from(KINDS))
def test_no_text_breaks_a_parser(raw: str, kind: ParameterType) -> None:
    said = ""

    try:
        kind.parse(raw)
    except ValueError as error:
        said = str(error)

    assert said == "" or said.startswith("Expected")

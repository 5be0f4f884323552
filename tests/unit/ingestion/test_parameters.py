"""Query parameters: what is read, what is refused, and what the documentation says of both."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rest_framework.exceptions import ValidationError

from ingestion.api.query_params import (
    Kind,
    Parameter,
    among,
    documented,
    flag,
    identifier,
    ids,
    moment,
    number,
    read,
    text,
    whole,
)

KINDS = [whole(1, 100), number(0, 1), text(5), among("a", "b"), flag(), moment(), ids(3), identifier()]


@pytest.mark.parametrize(
    ("kind", "raw", "value"),
    [
        (whole(1, 100), "100", 100),
        (whole(-5, 5), "-5", -5),
        (whole(), "9223372036854775807", 9223372036854775807),
        (number(0, 1), "0.30", 0.3),
        (number(0, 1), "1e-1", 0.1),
        (text(5), "café", "café"),
        (among("a", "b"), "b", "b"),
        (flag(), "TRUE", True),
        (flag(), "0", False),
        (moment(), "2026-11-01", datetime(2026, 11, 1, tzinfo=UTC)),
        (moment(), "2026-11-01T10:00:00Z", datetime(2026, 11, 1, 10, tzinfo=UTC)),
        (moment(), "2026-11-01T10:00 02:00",
         datetime(2026, 11, 1, 10, tzinfo=timezone(timedelta(hours=2)))),
        (ids(3), "12, 7,12", [12, 7, 12]),
        (ids(3), ",", []),
        (identifier(), "0d3c1f1e-3f0e-4d8a-9a53-0f2f2b1d9c11",
         UUID("0d3c1f1e-3f0e-4d8a-9a53-0f2f2b1d9c11")),
    ],
)  # fmt: skip
def test_a_value_is_read_as_what_it_is(kind: Kind, raw: str, value: Any) -> None:
    assert kind.read(raw) == value


@pytest.mark.parametrize(
    ("kind", "raw", "says"),
    [
        (whole(1, 100), "101", "Expected a whole number from 1 to 100."),
        (whole(1, 100), "1.0", "Expected a whole number from 1 to 100."),
        (whole(1, 100), "٣", "Expected a whole number from 1 to 100."),
        (whole(1, 100), "9" * 5_000, "Expected a whole number from 1 to 100."),
        (number(0, 1), "nan", "Expected a number from 0 to 1."),
        (number(0, 1), "-0.1", "Expected a number from 0 to 1."),
        (text(5), "a\0", "Expected a text of at most 5 characters, all of them valid Unicode."),
        (text(5), "\ud800", "Expected a text of at most 5 characters, all of them valid Unicode."),
        (among("a", "b"), "c", "Expected one of a, b."),
        (flag(), "yes", "Expected true or false."),
        (moment(), "0001-01-01", "Expected a day or a time, such as 2026-11-01 or 2026-11-01T10:00:00Z."),
        (ids(3), "1,2,3,4", "Expected at most 3 ids."),
        (ids(3), "1;2", "Expected ids with commas between them, such as 12,7."),
        (identifier(), "12", "Expected a UUID."),
    ],
)
def test_what_cannot_be_read_is_told_what_was_expected(kind: Kind, raw: str, says: str) -> None:
    with pytest.raises(ValueError, match=r"^Expected") as caught:
        kind.read(raw)

    assert str(caught.value) == says


def test_every_mistake_is_named_at_once() -> None:
    parameters = [Parameter("n", whole(1, 9), "", 5), Parameter("on", flag(), ""), Parameter("q", text(), "")]

    with pytest.raises(ValidationError) as caught:
        read({"n": "0", "on": "?", "q": "fine"}, parameters)

    assert sorted(caught.value.detail) == ["n", "on"]


def test_what_was_not_sent_or_sent_empty_has_its_default() -> None:
    parameters = [Parameter("n", whole(1, 9), "", 5), Parameter("on", flag(), "")]

    assert read({"n": ""}, parameters) == {"n": 5, "on": None}


def test_the_documentation_names_ranges_and_defaults() -> None:
    [described] = documented([Parameter("n", whole(1, 100), "How many songs.", 20)])

    assert described.type == {"type": "integer", "minimum": 1, "maximum": 100, "default": 20}
    assert described.description == "How many songs."


@given(raw=st.text(), kind=st.sampled_from(KINDS))
def test_no_text_whatever_breaks_a_reader(raw: str, kind: Kind) -> None:
    said = ""

    try:
        kind.read(raw)
    except ValueError as error:
        said = str(error)

    assert said == "" or said.startswith("Expected")

"""Validation: rows of the source become records or rejected rows with a reason."""

from collections import Counter
from datetime import UTC
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from ingestion.source.schemas import (
    LISTENING_HISTORY_SCHEMA,
    SONG_SCHEMA,
    USER_SCHEMA,
    RejectedRow,
    ResourceSchema,
    RowValidator,
)
from tests.support.builders.source_rows import make_session, make_track, make_user


def record_of(schema: ResourceSchema, row: Any) -> tuple[Any, ...]:
    (record,) = RowValidator(schema).validate_rows([row])
    assert not isinstance(record, RejectedRow)
    return record


def test_a_track_becomes_a_record_with_plain_values() -> None:
    track = make_track(5, duration="14:10", audio_features={"tempo": 120, "energy": None}, release_year=1999)

    record = record_of(SONG_SCHEMA, track)

    assert record == (
        5, "Song 5", "Artist 5", "A. Writer", 850_000_000, "Rock", "First", "2026-11-01 10:00:00.000001",
        "2026-11-01 10:00:00.000001", '{"energy":null,"tempo":120.0}', 1999,
    )  # fmt: skip


def test_a_session_keeps_the_order_of_its_songs() -> None:
    record = record_of(LISTENING_HISTORY_SCHEMA, make_session(3, [9, 2, 9]))

    assert record[0] == 3
    assert record[4] == "[9,2,9]"


def test_a_session_with_null_items_has_no_songs() -> None:
    record = record_of(LISTENING_HISTORY_SCHEMA, make_session(3, []) | {"items": None})

    assert record[4] == "[]"


@pytest.mark.parametrize(
    ("text", "microseconds"),
    [
        ("00:00", 0),
        ("03:20", 200_000_000),
        ("75:00", 4_500_000_000),
        ("1:02:03", 3_723_000_000),
        (215, 215_000_000),
        (215.25, 215_250_000),
        ("215", 215_000_000),
        ("3:20.5", 200_500_000),
        ("PT3M20S", 200_000_000),
        ("pt1h2m3s", 3_723_000_000),
        ("PT215S", 215_000_000),
        ("3 min 20 s", 200_000_000),
        ("1h03m", 3_780_000_000),
        ("3 minutes 20 seconds", 200_000_000),
        ("200.5s", 200_500_000),
        ("200000 ms", 200_000_000),
    ],
)
def test_durations_are_clock_times_seconds_iso_8601_or_have_units(text: object, microseconds: int) -> None:
    record = record_of(SONG_SCHEMA, make_track(1, duration=text))

    assert record[4] == microseconds


@pytest.mark.parametrize(
    ("fields", "field", "reason"),
    [
        ({"id": "five"}, "id", "should be an integer"),
        ({"id": 1.5}, "id", "should be an integer"),
        ({"id": True}, "id", "should be an integer"),
        ({"id": None}, "id", "should be an integer"),
        ({"id": 2**63}, "id", "should be less than or equal to 9223372036854775807"),
        ({"name": None}, "name", "should be a text"),
        ({"name": "a\0b"}, "name", "contains a NUL character"),
        (
            {"name": "\ud800"},
            "name",
            "should be a valid string, unable to parse raw data as a unicode string",
        ),
        ({"artist": []}, "artist", "should be a text"),
        (
            {"created_at": 5, "updated_at": "yesterday"},
            "created_at",
            "should be a time as ISO 8601, or in seconds since 1970",
        ),
        (
            {"created_at": "0001-01-01T00:00:00+14:00", "updated_at": "9999-12-31T23:59:59-14:00"},
            "created_at",
            "is a time outside the calendar in UTC",
        ),
    ],
)
def test_a_wrong_value_is_rejected_with_its_field_and_the_reason(
    fields: dict[str, Any], field: str, reason: str
) -> None:
    row = make_track(1) | fields

    good, refusal = RowValidator(SONG_SCHEMA).validate_rows([make_track(2), row])

    assert not isinstance(good, RejectedRow)
    assert refusal == RejectedRow(row, field, reason)


def test_a_missing_field_that_identifies_the_row_is_rejected() -> None:
    row = make_track(1)
    del row["artist"]

    assert RowValidator(SONG_SCHEMA).validate_rows([row]) == [RejectedRow(row, "artist", "is missing")]


def test_an_unreadable_field_that_identifies_nothing_becomes_empty_and_is_counted() -> None:
    corrections: Counter[str] = Counter()
    song = make_track(5, album=None, duration="3:75", audio_features="loud", release_year="soon", genres={})
    del song["songwriters"]

    (record,) = RowValidator(SONG_SCHEMA).validate_rows([song], corrections)

    assert record == (
        5, "Song 5", "Artist 5", "", 0, "", "", "2026-11-01 10:00:00.000001", "2026-11-01 10:00:00.000001",
        None, None,
    )  # fmt: skip
    assert corrections == dict.fromkeys(
        ["album left empty", "duration unreadable, left empty", "audio_features unreadable, left empty",
         "release_year unreadable, left empty", "genres left empty", "songwriters absent, left empty"], 1,
    )  # fmt: skip


def test_a_value_in_another_form_is_read_and_counted() -> None:
    corrections: Counter[str] = Counter()
    song = make_track(5) | {
        "id": "5", "name": 1989, "genres": ["Rock", "Jazz"], "album": "a\0b", "release_year": "1999",
        "audio_features": {"tempo": 120, "energy": None, "valence": "high"}, "updated_at": None,
    }  # fmt: skip
    session = make_session(3, []) | {"user_id": "3", "items": ["7", 8.0, None, "x", 9]}

    (record,) = RowValidator(SONG_SCHEMA).validate_rows([song], corrections)
    (played,) = RowValidator(LISTENING_HISTORY_SCHEMA).validate_rows([session], corrections)

    assert record == (
        5, "1989", "Artist 5", "A. Writer", 200_000_000, "Rock, Jazz", "ab", "2026-11-01 10:00:00.000001",
        "2026-11-01 10:00:00.000001", '{"energy":null,"tempo":120.0,"valence":null}', 1999,
    )  # fmt: skip
    assert (*played,)[:1] + (*played,)[4:] == (3, "[7,8,9]")
    assert corrections == dict.fromkeys(
        ["id read from text", "name read from a number", "genres read from a list",
         "album cleaned of unreadable parts", "release_year read from text",
         "audio_features cleaned of unreadable parts", "updated_at taken from created_at",
         "user_id read from text", "items cleaned of unreadable parts"], 1,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("value", "utc"),
    [
        (1_795_903_200, "2026-11-28 22:00:00"),
        (1_795_903_200_250, "2026-11-28 22:00:00.250000"),
        ("1795903200", "2026-11-28 22:00:00"),
        (1_795_903_200_000_001, "2026-11-28 22:00:00.000001"),
        ("2026-11-28", "2026-11-28 00:00:00"),
    ],
)
def test_times_are_read_as_iso_8601_and_since_1970(value: object, utc: str) -> None:
    zone = ZoneInfo("America/New_York") if not isinstance(value, str) else UTC

    (record,) = RowValidator(SONG_SCHEMA, zone).validate_rows([make_track(1, created_at=value)])

    assert (*record,)[7:8] == (utc,)


def test_names_of_unknown_fields_are_cleaned_and_limited() -> None:
    rows = [{"x\0y": 1, "half\ud83d": 1, "k" * 5000: 1}, *({f"made up {n}": 1} for n in range(200))]

    names = RowValidator(SONG_SCHEMA).unknown_fields(rows)

    assert {"x\\x00y", "half\\ud83d", "k" * 99 + "…"} <= names.keys()
    assert len(names) == 51
    assert sum(names.values()) == 203


@pytest.mark.parametrize("row", [None, 5, "x", [], {}])
def test_a_value_that_is_not_an_object_is_rejected(row: Any) -> None:
    (refusal,) = RowValidator(USER_SCHEMA).validate_rows([row])

    assert isinstance(refusal, RejectedRow)


def test_a_reason_quotes_no_personal_data() -> None:
    row = make_user(1, email="ada@example.org", id="ada")

    (refusal,) = RowValidator(USER_SCHEMA).validate_rows([row])

    assert isinstance(refusal, RejectedRow)
    assert "ada" not in refusal.reason


def test_times_without_a_zone_are_read_in_the_zone_of_the_source() -> None:
    session = make_session(1, [], created_at="2026-07-01T12:00:00", updated_at="2026-07-01T12:00:00+01:00")

    in_paris = RowValidator(LISTENING_HISTORY_SCHEMA, ZoneInfo("Europe/Paris")).validate_rows([session])
    in_utc = RowValidator(LISTENING_HISTORY_SCHEMA, UTC).validate_rows([session])

    assert in_paris == [(1, "2026-07-01 10:00:00", 0, "2026-07-01 11:00:00", "[]")]
    assert in_utc == [(1, "2026-07-01 12:00:00", 0, "2026-07-01 11:00:00", "[]")]


def test_unknown_fields_are_counted() -> None:
    rows = [make_track(1, mood="blue"), make_track(2), make_track(3, mood="red", label="X")]

    assert RowValidator(SONG_SCHEMA).unknown_fields(rows) == {"mood": 2, "label": 1}


def test_a_rejected_row_has_a_key_if_its_key_fields_are_valid() -> None:
    validator = RowValidator(SONG_SCHEMA)

    keys = [validator.read_key(row) for row in ({"id": 5}, {"id": "5"}, {"id": True}, {"id": 2**70}, None)]

    assert keys == [(5,), (5,), None, None, None]


def test_a_negative_zero_becomes_zero() -> None:
    record = record_of(SONG_SCHEMA, make_track(1, audio_features={"valence": -0.0}))

    assert record[9] == '{"valence":0.0}'


def test_an_invalid_row_has_a_row_key_too() -> None:
    assert LISTENING_HISTORY_SCHEMA.row_key(make_session(1, [])) == (1, "2026-11-01T10:00:00.000001")
    assert SONG_SCHEMA.row_key({"id": None, "name": "x"}) == b'{"id":null,"name":"x"}'


@pytest.mark.parametrize(("length", "reason"), [(10_000, None), (10_001, "has more than 10000 characters")])
def test_a_text_of_absurd_length_is_rejected(length: int, reason: str | None) -> None:
    (found,) = RowValidator(SONG_SCHEMA).validate_rows([make_track(5, name="x" * length)])

    assert (found.reason if isinstance(found, RejectedRow) else None) == reason

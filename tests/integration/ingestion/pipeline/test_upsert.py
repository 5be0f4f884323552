"""The fast write path of each database does what a plain loop over rows does."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pytest_django.asserts import assertNumQueries

from ingestion.models import IngestionRun, Listener, ListeningHistory, Song
from ingestion.pipeline.upsert import (
    HISTORY_TABLE,
    LISTENER_TABLE,
    SONG_TABLE,
    MirroredTable,
    available_keys,
    normalize_json,
    read_stored,
    upsert,
)
from ingestion.source.schemas import Record, to_json

pytestmark = pytest.mark.django_db

texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
moments = st.datetimes().map(lambda moment: moment.isoformat(" "))
# Beyond 2**53 PostgreSQL gives whole numbers back, which are not the same to the last digit.
numbers = st.floats(-1e15, 1e15).map(lambda value: 0.0 + value)
features = st.none() | st.dictionaries(texts, st.none() | numbers, max_size=4).map(to_json)
song_ids = st.sampled_from([-(2**63), -5, 1, 2, 3, 2**63 - 1])
songs = st.tuples(
    song_ids, texts, texts, texts, st.integers(0, 10**11), texts, texts, moments, moments, features,
    st.none() | st.integers(0, 9999),
)  # fmt: skip
sessions = st.tuples(
    st.sampled_from([1, 2]),
    st.sampled_from(["2026-01-01 00:00:00", "2026-01-01 00:00:00.500000", "2026-01-01 00:00:00.000001"]),
    st.sampled_from([0, 1]),
    moments,
    st.lists(st.integers(-(2**63), 2**63 - 1), max_size=5).map(to_json),
)


def as_fields(table: MirroredTable, record: Record) -> dict[str, Any]:
    fields = dict(zip(table.columns, record, strict=True))
    for name in ("created_at", "updated_at"):
        fields[name] = datetime.fromisoformat(fields[name]).replace(tzinfo=UTC)
    if "duration" in fields:
        fields["duration"] = timedelta(microseconds=fields["duration"])
    for name in {"audio_features", "items"} & fields.keys():
        fields[name] = None if fields[name] is None else orjson.loads(fields[name])
    return fields


def reference(table: MirroredTable, batches: Iterable[list[Record]]) -> dict[tuple[Any, ...], dict[str, Any]]:
    """The rows that a plain loop would store."""
    rows: dict[tuple[Any, ...], dict[str, Any]] = {}
    for batch in batches:
        for record in batch:
            fields = as_fields(table, record)
            rows[tuple(fields[name] for name in table.key)] = fields
    return rows


def in_database(table: MirroredTable) -> dict[tuple[Any, ...], dict[str, Any]]:
    rows = table.model._default_manager.values(*table.columns)
    return {tuple(row[name] for name in table.key): row for row in rows}


@pytest.mark.slow
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(batches=st.lists(st.lists(songs, max_size=6), max_size=3))
def test_songs_are_written_as_a_plain_loop_would(db: None, batches: list[list[Record]]) -> None:
    Song.objects.all().delete()

    for batch in batches:
        upsert(SONG_TABLE, batch)

    assert in_database(SONG_TABLE) == reference(SONG_TABLE, batches)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(batches=st.lists(st.lists(sessions, max_size=6), max_size=3))
def test_sessions_are_written_as_a_plain_loop_would(db: None, batches: list[list[Record]]) -> None:
    ListeningHistory.objects.all().delete()
    make_listeners(1, 2)

    for batch in batches:
        upsert(HISTORY_TABLE, batch)

    assert in_database(HISTORY_TABLE) == reference(HISTORY_TABLE, batches)


@pytest.mark.slow
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(batch=st.lists(songs, max_size=6, unique_by=lambda song: song[0]))
def test_what_was_written_is_read_back_as_it_was_and_not_written_again(db: None, batch: list[Record]) -> None:
    Song.objects.all().delete()

    first, second = upsert(SONG_TABLE, batch), upsert(SONG_TABLE, batch)

    assert (first, second) == (len(batch), 0)
    held = read_stored(SONG_TABLE, [record[:1] for record in batch])
    assert {normalize_json(SONG_TABLE, row.record) for row in held.values()} == set(batch)


def make_listeners(*ids: int) -> None:
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    for pk in ids:
        Listener.objects.get_or_create(pk=pk, defaults={"created_at": moment, "updated_at": moment})


def session(user: int, second: int) -> Record:
    return (user, f"2026-01-01 00:00:{second:02}", 0, "2026-01-01 00:00:00", "[1]")


def test_a_row_that_had_gone_missing_is_written_though_its_content_is_the_same() -> None:
    make_listeners(1)
    upsert(HISTORY_TABLE, [session(1, 0)])
    run = IngestionRun.objects.create(
        trigger="command", started_at="2026-01-01T00:00Z", heartbeat_at="2026-01-01T00:00Z",
        finished_at="2026-01-01T00:00Z", status="succeeded", host="x", pid=1, process_started=0,
    )  # fmt: skip
    ListeningHistory.objects.update(missing_since=run, unavailable_at="2026-01-02T00:00Z")

    assert [row.unavailable for row in read_stored(HISTORY_TABLE, [session(1, 0)[:3]]).values()] == [True]
    assert upsert(HISTORY_TABLE, [session(1, 0)]) == 1
    assert ListeningHistory.objects.filter(missing_since=None, unavailable_at=None).count() == 1


def test_a_guard_that_objects_undoes_its_own_batch_only() -> None:
    make_listeners(1)
    calls: list[int] = []

    def guard() -> None:
        calls.append(1)
        if len(calls) == 2:
            raise RuntimeError("lost")

    records = [
        (1, f"2026-01-01 {n // 3600:02}:{n // 60 % 60:02}:{n % 60:02}", 0, "2026-01-01 00:00:00", "[]")
        for n in range(6000)
    ]

    with pytest.raises(RuntimeError, match="lost"):
        upsert(HISTORY_TABLE, records, guard)

    assert ListeningHistory.objects.count() == 5000


def test_keys_are_read_page_by_page_in_order() -> None:
    make_listeners(*range(1, 12))

    assert list(available_keys(LISTENER_TABLE)) == [(pk, (pk,)) for pk in range(1, 12)]


def test_looking_rows_up_takes_one_query_however_many_they_are() -> None:
    make_listeners(1, 2)
    keys = [session(user, second)[:3] for user in (1, 2) for second in range(50)]
    upsert(HISTORY_TABLE, [session(user, second) for user in (1, 2) for second in range(50)])

    with assertNumQueries(1):
        held = read_stored(HISTORY_TABLE, keys)

    assert set(held) == set(keys)

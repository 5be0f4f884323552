"""Computed rows follow the source's contract."""

from ingestion.demo.bulk import BulkSource
from ingestion.demo.source import RESOURCES, Table, row_key
from ingestion.source.schemas import SCHEMAS, RejectedRow, RowValidator


def rows(source: BulkSource, resource: str) -> Table:
    return source.snapshot().tables[resource]


def test_formula_rows_are_accepted_by_the_ingestion_and_named_once() -> None:
    source = BulkSource(songs=3000, users=500, histories=4000)

    for schema in SCHEMAS:
        table = rows(source, schema.path[1:])[:]
        assert not [
            record for record in RowValidator(schema).validate_rows(table) if isinstance(record, RejectedRow)
        ]
        assert len({schema.row_key(row) for row in table}) == len(table)


def test_formula_sessions_name_songs_and_users_that_exist() -> None:
    source = BulkSource(songs=300, users=50, histories=1000)
    songs, users = ({row["id"] for row in rows(source, name)} for name in ("tracks", "users"))

    sessions = rows(source, "listen_history")

    assert {row["user_id"] for row in sessions} == users
    assert {song for row in sessions for song in row["items"]} <= songs


def test_a_share_of_the_rows_changes_and_the_rest_stays() -> None:
    source = BulkSource(songs=5000, users=5000)
    before = [rows(source, resource)[:] for resource in RESOURCES]
    source.changed_share = 0.01
    after = [rows(source, resource)[:] for resource in RESOURCES]

    changed = [
        sum(a != b for a, b in zip(old, new, strict=True)) for old, new in zip(before, after, strict=True)
    ]

    assert 30 <= changed[0] <= 70
    assert 30 <= changed[1] <= 70


def test_a_million_rows_cost_nothing_until_they_are_looked_at() -> None:
    table = rows(BulkSource(songs=1_000_000), "tracks")

    assert len(table) == 1_000_000
    assert table[999_999]["id"] != table[0]["id"]
    assert table[999_990:1_000_100] == [table[n] for n in range(999_990, 1_000_000)]


def test_a_new_catalogue_keeps_the_ids_and_changes_what_they_mean() -> None:
    source = BulkSource(songs=100)
    before = rows(source, "tracks")[:]

    source.new_catalogue()

    after = rows(source, "tracks")[:]
    assert [row_key("tracks", row) for row in before] == [row_key("tracks", row) for row in after]
    assert not {row["artist"] for row in before} & {row["artist"] for row in after}

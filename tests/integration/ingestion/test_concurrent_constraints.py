"""Migrations of large tables: no index after the last release is built while writers wait."""

from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest
from django.db import connection, models
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.operations import AddConstraint, AddField, AddIndex, CreateModel
from django.db.migrations.operations.base import Operation
from django.db.migrations.state import ProjectState

from ingestion.concurrent_constraints import (
    AddIndexBesideWriters,
    AddUniqueConcurrently,
    AlterFieldInTransaction,
    RemoveConstraintIfPresent,
)

# The last migrations of release 0.1.
RELEASED = {"ingestion": 4, "recommender": 11}
# Tables that grow with listeners, songs or requests.
LARGE = {
    "song", "listener", "listeninghistory", "rejection", "feedback", "servedlist", "shelf", "candidatelist",
    "engagedlist", "scoredlist", "attributedlisten", "songevidence",
}  # fmt: skip

CONCURRENT = (AddUniqueConcurrently, AddIndexBesideWriters)


def new_operations() -> Iterator[tuple[str, Any]]:
    migrations = MigrationLoader(None).disk_migrations
    for (app, name), migration in sorted(migrations.items()):
        if app in RELEASED and int(name[:4]) > RELEASED[app]:
            yield from ((f"{app}.{name}", operation) for operation in migration.operations)


def builds_index(operation: Operation) -> bool:
    if isinstance(operation, AddConstraint):
        return isinstance(operation.constraint, models.UniqueConstraint)
    if isinstance(operation, AddField):
        field: Any = operation.field
        return bool(field.unique or field.db_index)
    return isinstance(operation, AddIndex)


def test_every_index_of_a_large_table_is_built_concurrently() -> None:
    blocking = [
        (name, operation.describe())
        for name, operation in new_operations()
        if getattr(operation, "model_name", "").lower() in LARGE
        and builds_index(operation)
        and not isinstance(operation, CONCURRENT)
    ]
    concurrent = {name for name, one in new_operations() if isinstance(one, CONCURRENT)}

    assert blocking == []
    assert {"ingestion.0014_unique_sessions", "recommender.0023_unique_events_of_keys"} <= concurrent
    for name in concurrent:
        app, _, module = name.partition(".")
        assert import_module(f"{app}.migrations.{module}").Migration.atomic is False


def test_without_a_transaction_each_operation_opens_its_own() -> None:
    """Otherwise SQLite copies a table in statements that are committed alone, and a kill loses rows."""
    own = (*CONCURRENT, AlterFieldInTransaction, RemoveConstraintIfPresent)
    unsafe = [
        (str(migration), operation.describe())
        for migration in MigrationLoader(None).disk_migrations.values()
        if migration.app_label in RELEASED and not migration.atomic
        for operation in migration.operations
        if not isinstance(operation, own)
    ]

    assert unsafe == []


@pytest.fixture
def table(transactional_db: None) -> Iterator[ProjectState]:
    """A table of two columns, outside the apps."""
    state = ProjectState()
    create = CreateModel(
        "Thing", [("id", models.BigAutoField(primary_key=True)), ("code", models.CharField(max_length=9))]
    )
    create.state_forwards("ingestion", state)
    with connection.schema_editor() as editor:
        create.database_forwards("ingestion", editor, ProjectState(), state)
    yield state
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE ingestion_thing")


def test_a_constraint_is_added_beside_writers_and_once(table: ProjectState) -> None:
    operation = AddUniqueConcurrently("thing", models.UniqueConstraint(fields=["code"], name="thing_code"))
    after = table.clone()
    operation.state_forwards("ingestion", after)
    statements: list[str] = []

    def note(execute: Any, sql: str, *rest: Any) -> Any:
        statements.append(sql)
        return execute(sql, *rest)

    with connection.cursor() as cursor:
        # What an interrupted build leaves: an index of that name, which is no constraint.
        cursor.execute("CREATE INDEX thing_code ON ingestion_thing (code)")
    with connection.execute_wrapper(note):
        for _ in range(2):
            with connection.schema_editor(atomic=False) as editor:
                operation.database_forwards("ingestion", editor, table, after)

    built = [sql for sql in statements if sql.startswith("CREATE UNIQUE INDEX CONCURRENTLY")]
    with connection.cursor() as cursor:
        constraints = connection.introspection.get_constraints(cursor, "ingestion_thing")
    assert len(built) == 1
    assert constraints["thing_code"]["unique"]


def test_an_index_is_added_beside_writers_and_once(table: ProjectState) -> None:
    operation = AddIndexBesideWriters("thing", models.Index(fields=["code"], name="thing_of_code"))
    after = table.clone()
    operation.state_forwards("ingestion", after)
    statements: list[str] = []

    def note(execute: Any, sql: Any, *rest: Any) -> Any:
        statements.append(str(sql))
        return execute(sql, *rest)

    with connection.execute_wrapper(note):
        for _ in range(2):
            with connection.schema_editor(atomic=False) as editor:
                operation.database_forwards("ingestion", editor, table, after)

    assert len([sql for sql in statements if sql.startswith("CREATE INDEX CONCURRENTLY")]) == 1
    with connection.cursor() as cursor:
        assert "thing_of_code" in connection.introspection.get_constraints(cursor, "ingestion_thing")


def test_a_field_is_altered_in_a_transaction(table: ProjectState) -> None:
    operation = AlterFieldInTransaction("thing", "code", models.CharField(max_length=20))
    after = table.clone()
    operation.state_forwards("ingestion", after)
    altered: list[bool] = []

    def note(execute: Any, sql: Any, *rest: Any) -> Any:
        if str(sql).startswith("ALTER TABLE"):
            altered.append(connection.in_atomic_block)
        return execute(sql, *rest)

    with connection.execute_wrapper(note), connection.schema_editor(atomic=False) as editor:
        operation.database_forwards("ingestion", editor, table, after)

    assert altered == [True]

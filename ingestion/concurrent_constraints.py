"""Migration operations for large tables; PostgreSQL blocks no writers."""

from typing import Any

from django.db import transaction
from django.db.migrations.operations.fields import AlterField
from django.db.migrations.operations.models import AddConstraint, AddIndex, RemoveConstraint
from django.db.models import UniqueConstraint


class AddUniqueConcurrently(AddConstraint):
    """Adds a unique constraint; PostgreSQL builds its index first, while others read and write.

    May be repeated: an existing constraint stays, and an index of an interrupted build is built again. The
    migration needs `atomic = False`.
    """

    constraint: UniqueConstraint

    def state_forwards(self, app_label: str, state: Any) -> None:
        # The squashed migrations make the constraint with the table.
        options = state.models[app_label, self.model_name_lower].options
        if all(one.name != self.constraint.name for one in options.get("constraints", ())):
            super().state_forwards(app_label, state)

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        model = to_state.apps.get_model(app_label, self.model_name)
        if _has_constraint(schema_editor.connection, model, self.constraint.name):
            return
        if schema_editor.connection.vendor != "postgresql":
            # SQLite copies the table.
            with transaction.atomic(schema_editor.connection.alias):
                super().database_forwards(app_label, schema_editor, from_state, to_state)
            return
        quote = schema_editor.quote_name
        table, name = quote(model._meta.db_table), quote(self.constraint.name)
        columns = ", ".join(quote(model._meta.get_field(field).column) for field in self.constraint.fields)
        schema_editor.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
        schema_editor.execute(f"CREATE UNIQUE INDEX CONCURRENTLY {name} ON {table} ({columns})")
        schema_editor.execute(f"ALTER TABLE {table} ADD CONSTRAINT {name} UNIQUE USING INDEX {name}")


class AddIndexBesideWriters(AddIndex):
    """Adds an index as `AddUniqueConcurrently` adds a constraint. The migration needs `atomic = False`."""

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        model = to_state.apps.get_model(app_label, self.model_name)
        connection, name = schema_editor.connection, self.index.name
        if connection.vendor != "postgresql":
            if not _has_constraint(connection, model, name):
                with transaction.atomic(connection.alias):
                    super().database_forwards(app_label, schema_editor, from_state, to_state)
            return
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1 FROM pg_index WHERE indexrelid = to_regclass(%s) AND indisvalid", [name])
            is_built = cursor.fetchone() is not None
        if not is_built:
            schema_editor.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {schema_editor.quote_name(name)}")
            schema_editor.add_index(model, self.index, concurrently=True)


class AlterFieldInTransaction(AlterField):
    """Alters a field in a transaction even with `atomic = False`, because SQLite copies the table."""

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        with transaction.atomic(schema_editor.connection.alias):
            super().database_forwards(app_label, schema_editor, from_state, to_state)


class RemoveConstraintIfPresent(RemoveConstraint):
    """Removes a constraint that some installations no longer have; may be repeated."""

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        model = from_state.apps.get_model(app_label, self.model_name)
        if _has_constraint(schema_editor.connection, model, self.name):
            with transaction.atomic(schema_editor.connection.alias):
                super().database_forwards(app_label, schema_editor, from_state, to_state)


def _has_constraint(connection: Any, model: Any, name: str) -> bool:
    table = model._meta.db_table
    with connection.cursor() as cursor:
        if connection.vendor != "postgresql":
            return name in connection.introspection.get_constraints(cursor, table)
        # Not an index of that name, which may be the remainder of an interrupted build.
        cursor.execute(
            "SELECT 1 FROM pg_constraint WHERE conname = %s AND conrelid = to_regclass(%s)", [name, table]
        )
        return cursor.fetchone() is not None

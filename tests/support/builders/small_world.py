"""Imports the demo's world (songs, listeners and sessions) into the tables without a server."""

from datetime import date
from functools import lru_cache

from ingestion.demo.world.world import World
from ingestion.pipeline.upsert import TABLES, upsert
from ingestion.source.schemas import SCHEMAS, RowValidator


@lru_cache(maxsize=4)
def small_world(songs: int = 300, listeners: int = 60, days: int = 20) -> World:
    """A world that ends on 31 October 2026; tests must not advance it."""
    return World.ending_on(date(2026, 10, 31), songs=songs, listeners=listeners, days=days)


def fill_tables(world: World) -> None:
    """Write the world's rows into the empty tables."""
    for schema in SCHEMAS:
        rows = world.rows(schema.path.removeprefix("/"))
        upsert(TABLES[schema.resource], RowValidator(schema).validate_rows(rows), into_empty=True)


def update_tables(world: World) -> None:
    """Write the rows of a later day of the same world over the stored ones."""
    for schema in SCHEMAS:
        rows = world.rows(schema.path.removeprefix("/"))
        upsert(TABLES[schema.resource], RowValidator(schema).validate_rows(rows))

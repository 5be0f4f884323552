"""The demo's world in the tables, without a server between: songs, listeners and what they played."""

from datetime import date
from functools import lru_cache

from ingestion.demo.world.world import World
from ingestion.pipeline.upsert import TABLES, upsert
from ingestion.source.schemas import SCHEMAS, RowValidator


@lru_cache(maxsize=4)
def small_world(songs: int = 300, listeners: int = 60, days: int = 20) -> World:
    """A world that ends on the last of October 2026; nobody may move it on."""
    return World.ending_on(date(2026, 10, 31), songs=songs, listeners=listeners, days=days)


def fill_tables(world: World) -> None:
    """Write the world's rows into the empty tables."""
    for schema in SCHEMAS:
        rows = world.rows(schema.path.removeprefix("/"))
        upsert(TABLES[schema.resource], RowValidator(schema).validate_rows(rows), into_empty=True)


def update_tables(world: World) -> None:
    """Write what a later day of the same world has, over what is there."""
    for schema in SCHEMAS:
        rows = world.rows(schema.path.removeprefix("/"))
        upsert(TABLES[schema.resource], RowValidator(schema).validate_rows(rows))

"""Interface of a source that the demo server can serve, and a source of recorded pages."""

from collections.abc import Hashable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

import orjson

Row = dict[str, Any]
Table = Sequence[Row]
TRACKS: Final = "tracks"
USERS: Final = "users"
LISTEN_HISTORY: Final = "listen_history"
RESOURCES: Final = (TRACKS, USERS, LISTEN_HISTORY)


class Snapshot(NamedTuple):
    """All rows of the source at one moment; `version` changes whenever a row does."""

    version: Hashable
    tables: Mapping[str, Table]


class Source(Protocol):
    def snapshot(self) -> Snapshot:
        """The rows as they are now. The server calls it for every page, so it must be cheap."""

    def new_catalogue(self) -> None:
        """Give the ids to other songs and listeners, as a reset of the real source does."""


def row_key(resource: str, row: Row) -> tuple[Any, ...]:
    return (row["user_id"], row["created_at"]) if resource == LISTEN_HISTORY else (row["id"],)


def format_timestamp(moment: datetime) -> str:
    """A time as the source sends it: always six decimals, never a time zone."""
    return moment.isoformat(timespec="microseconds")


class RecordedSource:
    """Serves the recorded pages `tracks_01.json`, `tracks_02.json`, `users_01.json` ... in a folder.

    Raises:
        ValueError: the folder has no page of a resource.
    """

    def __init__(self, folder: Path) -> None:
        self._version = 0
        self._tables: dict[str, Table] = {
            resource: _read_recorded_rows(folder, resource) for resource in RESOURCES
        }

    def snapshot(self) -> Snapshot:
        return Snapshot(self._version, self._tables)

    def new_catalogue(self) -> None:
        self._tables = {
            resource: _swap_ids(rows, "user_id" if resource == LISTEN_HISTORY else "id")
            for resource, rows in self._tables.items()
        }
        self._version += 1


def record_pages(tables: Mapping[str, Table], folder: Path) -> None:
    """Write the rows as files, one page a resource, so that `RecordedSource` serves them."""
    folder.mkdir(parents=True, exist_ok=True)
    for resource, rows in tables.items():
        (folder / f"{resource}_01.json").write_bytes(orjson.dumps({"items": list(rows)}))


def _read_recorded_rows(folder: Path, resource: str) -> list[Row]:
    pages = sorted(folder.glob(f"{resource}_*.json"))
    if not pages:
        raise ValueError(f"{folder} holds no {resource}_*.json")
    return [row for page in pages for row in orjson.loads(page.read_bytes())["items"]]


def _swap_ids(rows: Table, name: str) -> list[Row]:
    step = len(rows) // 2
    return [{**row, name: rows[(at + step) % len(rows)][name]} for at, row in enumerate(rows)]

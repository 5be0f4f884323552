"""What the server serves: three tables of rows that stay as they are while a page is cut from them."""

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
    """All rows at one moment; `version` differs whenever any row does."""

    version: Hashable
    tables: Mapping[str, Table]


class Source(Protocol):
    """Anything that can be served."""

    def snapshot(self) -> Snapshot:
        """The rows as they are now; called for every page, so it must be cheap."""

    def new_catalogue(self) -> None:
        """Give the known ids to other songs and listeners, as a restart of the real source does."""


def row_key(resource: str, row: Row) -> tuple[Any, ...]:
    """What names a row: its id, or for a session its listener and time."""
    return (row["user_id"], row["created_at"]) if resource == LISTEN_HISTORY else (row["id"],)


def format_timestamp(moment: datetime) -> str:
    """A time as the source writes it: always six digits of microseconds, never a zone."""
    return moment.isoformat(timespec="microseconds")


class RecordedSource:
    """The rows of `tracks_01.json`, `tracks_02.json`, `users_01.json` ... in one folder.

    Raises:
        ValueError: a resource has no page there.
    """

    def __init__(self, folder: Path) -> None:
        self._version = 0
        self._tables: dict[str, Table] = {
            resource: _read_recorded_rows(folder, resource) for resource in RESOURCES
        }

    def snapshot(self) -> Snapshot:
        """All recorded rows."""
        return Snapshot(self._version, self._tables)

    def new_catalogue(self) -> None:
        """Exchange what stands under the ids: each row gets the id of another one."""
        self._tables = {
            resource: _swap_ids(rows, "user_id" if resource == LISTEN_HISTORY else "id")
            for resource, rows in self._tables.items()
        }
        self._version += 1


def _read_recorded_rows(folder: Path, resource: str) -> list[Row]:
    pages = sorted(folder.glob(f"{resource}_*.json"))
    if not pages:
        raise ValueError(f"{folder} holds no {resource}_*.json")
    return [row for page in pages for row in orjson.loads(page.read_bytes())["items"]]


def _swap_ids(rows: Table, name: str) -> list[Row]:
    step = len(rows) // 2
    return [{**row, name: rows[(at + step) % len(rows)][name]} for at, row in enumerate(rows)]

"""Pages that were recorded from a source, served again at any page size."""

from pathlib import Path

import orjson

from ingestion.demo.source import LISTEN_HISTORY, RESOURCES, Row, Snapshot, Table


class PagesSource:
    """The rows of `tracks_01.json`, `tracks_02.json`, `users_01.json` ... in one folder.

    Raises:
        ValueError: a resource has no page there.
    """

    def __init__(self, folder: Path) -> None:
        self._version = 0
        self._tables: dict[str, Table] = {resource: _rows(folder, resource) for resource in RESOURCES}

    def snapshot(self) -> Snapshot:
        """All recorded rows."""
        return Snapshot(self._version, self._tables)

    def new_catalogue(self) -> None:
        """Exchange what stands under the ids: each row gets the id of another one."""
        self._tables = {
            resource: _exchanged(rows, "user_id" if resource == LISTEN_HISTORY else "id")
            for resource, rows in self._tables.items()
        }
        self._version += 1


def _rows(folder: Path, resource: str) -> list[Row]:
    pages = sorted(folder.glob(f"{resource}_*.json"))
    if not pages:
        raise ValueError(f"{folder} holds no {resource}_*.json")
    return [row for page in pages for row in orjson.loads(page.read_bytes())["items"]]


def _exchanged(rows: Table, name: str) -> list[Row]:
    step = len(rows) // 2
    return [{**row, name: rows[(at + step) % len(rows)][name]} for at, row in enumerate(rows)]

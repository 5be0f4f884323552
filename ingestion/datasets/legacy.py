"""Reads a SQLite database of the original project (the seed) as rows in the source's format.

The seed stored times, durations and lists as text, and every session again in each run.
"""

import ast
import sqlite3
from collections.abc import Callable, Hashable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import orjson

ROWS_A_PAGE: Final = 1_000
TABLES_BY_PATH: Final = {"/tracks": "songs", "/users": "users", "/listen_history": "listening_history"}


class NotLegacyDatabase(Exception):
    """The file lacks the seed's schema."""


@dataclass(frozen=True)
class LegacyPage:
    number: int
    rows: list[Any]
    body: bytes


@dataclass
class LegacyTableReader:
    """Reads one table page by page, with the interface of a reader of the source."""

    file: Path
    table: str
    total: int
    pages: int = 0
    requests: int = 0
    retries: int = 0
    bytes: int = 0
    shifts: int = 0
    stable: bool = True
    one_answer: bool = True
    errors: dict[str, int] = field(default_factory=dict)

    def request_first_page(self) -> None:
        """Do nothing: a file is available at once."""

    def close(self) -> None:
        """Do nothing: each iteration closes the file."""

    def __iter__(self) -> Iterator[LegacyPage]:
        with closing(_open(self.file)) as database:
            cursor = database.execute(f"SELECT * FROM {self.table} ORDER BY rowid")  # noqa: S608
            names = [column[0] for column in cursor.description]
            while rows := cursor.fetchmany(ROWS_A_PAGE):
                items = [_as_sent(dict(zip(names, row, strict=True))) for row in rows]
                self.pages += 1
                body = orjson.dumps({"items": items}, default=repr)
                self.bytes += len(body)
                yield LegacyPage(self.pages, items, body)


class LegacyDatabase:
    """A database of the original project, with the interface of a source client.

    Raises:
        NotLegacyDatabase: the file does not exist or lacks one of the seed's tables.
    """

    def __init__(self, file: Path) -> None:
        if not file.is_file():
            raise NotLegacyDatabase(f"There is no file {file}.")
        self._file = file
        self._totals = {table: self._count(table) for table in TABLES_BY_PATH.values()}

    @property
    def base_url(self) -> str:
        return self._file.resolve().as_uri()

    def read_pages(
        self, path: str, *, key: Callable[[Any], Hashable], on_wait: Callable[[], None] | None = None
    ) -> LegacyTableReader:
        return LegacyTableReader(self._file, TABLES_BY_PATH[path], self._totals[TABLES_BY_PATH[path]])

    def _count(self, table: str) -> int:
        try:
            with closing(_open(self._file)) as database:
                return int(database.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0])  # noqa: S608
        except sqlite3.DatabaseError as error:
            wanted = ", ".join(TABLES_BY_PATH.values())
            raise NotLegacyDatabase(
                f"{self._file} is not a database with the tables {wanted}: {error}."
            ) from error


def _open(file: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True)


def _as_sent(row: dict[str, Any]) -> dict[str, Any]:
    if "items" in row:
        row["items"] = _as_list(row["items"])
    if "user_id" in row:
        row.pop("id", None)
    if isinstance(row.get("audio_features"), str):
        row["audio_features"] = _parsed(row["audio_features"])
    return row


def _as_list(text: Any) -> Any:
    if not isinstance(text, str):
        return text
    bare = text.strip()
    return _parsed(bare if bare.startswith("[") else f"[{bare}]")


def _parsed(text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        pass
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text

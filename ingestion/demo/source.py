"""What the server serves: three tables of rows that stay as they are while a page is cut from them."""

from collections.abc import Hashable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple, Protocol

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


def key_of(resource: str, row: Row) -> tuple[Any, ...]:
    """What names a row: its id, or for a session its listener and time."""
    return (row["user_id"], row["created_at"]) if resource == LISTEN_HISTORY else (row["id"],)


def stamp(moment: datetime) -> str:
    """A time as the source writes it: always six digits of microseconds, never a zone."""
    return moment.isoformat(timespec="microseconds")

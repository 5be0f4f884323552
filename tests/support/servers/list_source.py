"""Sources for the demo server with rows that the test sets."""

from typing import Any

from ingestion.demo.source import Snapshot
from tests.support.builders.source_rows import make_session, make_track, make_user


class ListSource:
    """Serves plain lists; the next page contains every change to them."""

    def __init__(
        self,
        tracks: list[dict[str, Any]] | None = None,
        users: list[dict[str, Any]] | None = None,
        sessions: list[dict[str, Any]] | None = None,
    ) -> None:
        self.tracks = tracks if tracks is not None else [make_track(pk) for pk in range(1, 31)]
        self.users = users if users is not None else [make_user(pk) for pk in range(1, 11)]
        self.sessions = (
            sessions if sessions is not None else [make_session(pk, [pk, pk + 1]) for pk in range(1, 11)]
        )
        self._version = 0

    def snapshot(self) -> Snapshot:
        # Every snapshot is a new one, so that the server never answers from what it cached before.
        self._version += 1
        tables = {
            "tracks": list(self.tracks), "users": list(self.users), "listen_history": list(self.sessions)
        }  # fmt: skip
        return Snapshot(self._version, tables)

    def new_catalogue(self) -> None:
        self.tracks = [make_track(row["id"], name="Another", artist="Stranger") for row in self.tracks]

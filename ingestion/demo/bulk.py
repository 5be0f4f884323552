"""A source with millions of rows, computed from their position, to measure throughput."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Final, overload

from ingestion.demo.source import LISTEN_HISTORY, TRACKS, USERS, Row, Snapshot, format_timestamp
from ingestion.demo.world.styles import FEATURES, STYLES

# A prime, so that n * ID_MULTIPLIER % ID_MODULUS differs for each n below it.
ID_MODULUS: Final = 2_147_483_647
ID_MULTIPLIER: Final = 742_938_285
TITLES: Final = tuple(f"{word} {noun}" for style in STYLES for word in style.adjectives.split()
                     for noun in style.nouns.split())  # fmt: skip
CREATION_TIMES: Final = tuple(
    format_timestamp(datetime(2025, 1, 1) + timedelta(seconds=9973.123457 * n))  # noqa: DTZ001
    for n in range(4001)
)
FIRST_UPDATE: Final = datetime(2026, 1, 1)  # noqa: DTZ001


class FormulaTable(Sequence[Row]):
    def __init__(self, length: int, make: Callable[[int], Row]) -> None:
        self._length = length
        self._make = make

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, at: int) -> Row: ...
    @overload
    def __getitem__(self, at: slice) -> list[Row]: ...
    def __getitem__(self, at: int | slice) -> Row | list[Row]:
        positions = range(self._length)[at]
        return self._make(positions) if isinstance(positions, int) else [self._make(n) for n in positions]


class BulkSource:
    """A source of computed rows that follow the source's contract, are not realistic and need no memory.

    Args:
        histories: rows of /listen_history, with five songs each.
        audio: whether songs have the fields that only the demo source sends.
    """

    def __init__(
        self, songs: int = 1_000_000, users: int = 0, histories: int = 0, *, audio: bool = True
    ) -> None:
        if max(songs, users, histories) >= ID_MODULUS:
            raise ValueError(f"ids are given for fewer than {ID_MODULUS} rows")
        self._lengths = {TRACKS: songs, USERS: users, LISTEN_HISTORY: histories}
        self._audio = audio
        self._updated = 0.0
        self._version = 0
        self._salt = 0

    @property
    def changed_share(self) -> float:
        """Share of songs and users, 0 to 1, that change in the next read."""
        return self._updated

    @changed_share.setter
    def changed_share(self, share: float) -> None:
        self._updated = share
        self._version += 1

    def snapshot(self) -> Snapshot:
        makers = {TRACKS: self._track, USERS: self._user, LISTEN_HISTORY: self._history}
        tables = {name: FormulaTable(length, makers[name]) for name, length in self._lengths.items()}
        return Snapshot(self._version, tables)

    def new_catalogue(self) -> None:
        self._salt += 1_000_003
        self._version += 1

    def _track(self, n: int) -> Row:
        salted = n + self._salt
        changed = self._is_updated(n)
        row: Row = {
            "id": row_id(n),
            "name": TITLES[salted % len(TITLES)],
            "artist": f"The {TITLES[salted // 9 % len(TITLES)]}s {salted // 9}",
            "songwriters": f"Writer {salted % 5003}",
            "duration": f"{2 + n % 6:02}:{n * 7 % 60:02}",
            "genres": STYLES[n // 9 % len(STYLES)].name,
            "album": TITLES[salted // 3 % len(TITLES)]
            + (f" (Remastered {self._version})" if changed else ""),
            "created_at": CREATION_TIMES[n % len(CREATION_TIMES)],
            "updated_at": self._update_time(n) if changed else CREATION_TIMES[n * 31 % len(CREATION_TIMES)],
        }
        if self._audio:
            row["audio_features"] = _features(n)
            row["release_year"] = 1960 + n // 9 % 65
        return row

    def _user(self, n: int) -> Row:
        salted = n + self._salt
        changed = self._is_updated(n)
        return {
            "id": row_id(n),
            "first_name": f"First{salted % 997}",
            "last_name": f"Last{salted % 1009}",
            "email": f"listener{salted}{f'.{self._version}' if changed else ''}@example.org",
            "gender": "Agender",
            "favorite_genres": STYLES[salted % len(STYLES)].name,
            "created_at": CREATION_TIMES[n % len(CREATION_TIMES)],
            "updated_at": self._update_time(n) if changed else CREATION_TIMES[n * 31 % len(CREATION_TIMES)],
        }

    def _history(self, n: int) -> Row:
        songs, users = max(1, self._lengths[TRACKS]), max(1, self._lengths[USERS])
        # A user's sessions are one second apart, because (user_id, created_at) identifies a row.
        at = datetime(2025, 6, 1, microsecond=n % users % 1_000_000) + timedelta(seconds=n // users)  # noqa: DTZ001
        return {
            "user_id": row_id(n % users),
            "items": [row_id((n * 7 + k * 7919) % songs) for k in range(5)],
            "created_at": format_timestamp(at),
            "updated_at": format_timestamp(at + timedelta(minutes=20)),
        }

    def _is_updated(self, n: int) -> bool:
        # The changed rows are spread over all pages; the same share always selects the same rows.
        return n * ID_MULTIPLIER % ID_MODULUS < self._updated * ID_MODULUS

    def _update_time(self, n: int) -> str:
        return format_timestamp(FIRST_UPDATE + timedelta(days=self._version, seconds=n % 86_400))


def row_id(n: int) -> int:
    return n * ID_MULTIPLIER % ID_MODULUS + 1


def _features(n: int) -> dict[str, float]:
    values = {name: (n * (7 + 2 * k) % 1000) / 1000 for k, name in enumerate(FEATURES[:-2])}
    return {**values, "loudness": -(n * 11 % 2500) / 100, "tempo": 60 + n * 13 % 1200 / 10}

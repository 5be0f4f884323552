"""What a random source holds: songs, users and sessions with their meaning, and how they change.

Nothing here knows the product: a row is a dict of plain values, times are naive UTC, durations microseconds.
"""

import random
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

Row = dict[str, Any]
SONGS, USERS, SESSIONS = "songs", "users", "listening_history"
LISTS: Final = (SONGS, USERS, SESSIONS)
EPOCH: Final = datetime.fromisoformat("2020-01-01")
TEXTS: Final = (
    "", " ", "Émile", "naïve", "emoji 🎵", "O'Brien \"x\"", "comma, separated", "back\\slash", "null",
    "0", "line\nbreak", "\u2028", "ß", "İstanbul", "المغني", "日本", "e\u0301", "a" * 300, "<b>&amp;",
    "%s", "\ufeffbom",
)  # fmt: skip


@dataclass
class Habits:
    """What holds for all rows of one source.

    Attributes:
        resolution: of all times: "micro", "second" or "day". With "day" several sessions share their time.
        window: the source keeps only so many of the latest sessions; 0 for all.
        song_id, user_id: a function of the row's number.
    """

    resolution: str
    window: int
    song_id: Callable[[int], int]
    user_id: Callable[[int], int]


@dataclass
class Content:
    rows: dict[str, list[Row]] = field(default_factory=lambda: {name: [] for name in LISTS})

    def copy(self) -> "Content":
        return Content({name: [deepcopy(row) for row in rows] for name, rows in self.rows.items()})


class World:
    """Makes rows and changes them; the same random numbers make the same rows."""

    def __init__(self, rng: random.Random, songs: int, users: int, sessions: int) -> None:
        self.rng = rng
        base = rng.choice((0, 0, 0, 10**6, 2**53, 2**62, -(2**61)))
        self.habits = Habits(
            resolution=rng.choice(("micro", "micro", "second", "day")),
            window=sessions if sessions > 8 and rng.random() < 0.25 else 0,
            song_id=lambda number: base + number,
            user_id=lambda number: number if base < 0 else base + 2 * number,
        )
        self._made = dict.fromkeys(LISTS, 0)
        self.content = Content()
        for name, count in zip(LISTS, (songs, users, sessions), strict=True):
            for _ in range(count):
                self.append(name)

    def append(self, name: str, place: int | None = None) -> None:
        rows = self.content.rows[name]
        rows.insert(len(rows) if place is None else place, self.make_row(name))

    def make_row(self, name: str) -> Row:
        self._made[name] += 1
        number = self._made[name]
        if name == SONGS:
            return self._make_song(number)
        return self._make_user(number) if name == USERS else self._make_session(number)

    def edit(self, row: Row) -> None:
        """Change some fields of a song or user that identify nothing, or at most one that does."""
        names = [name for name in row if name not in {"id", "uid", "created_at", "user_id"}]
        for name in self.rng.sample(names, self.rng.randint(1, 2)):
            if name in {"name", "artist", "first_name", "last_name", "email", "album", "duration"}:
                continue
            row[name] = self._value(name)
        row["updated_at"] = self._time(self._made[SONGS] + 400)

    def edit_session(self, row: Row) -> None:
        """Add another song to a session."""
        row["items"] = [*row["items"], self.habits.song_id(self.rng.randint(1, 9))]
        row["updated_at"] = max(row["updated_at"], self._time(self._made[SESSIONS] * 3 + 3))

    def next_day(self, churn: float) -> None:
        """Insert, delete and edit about this share of the rows; sessions leave a window at its far end."""
        for name in LISTS:
            rows = self.content.rows[name]
            for _ in range(self._draw(len(rows) * churn)):
                self.append(name)
            if name != SESSIONS or not self.habits.window:
                for _ in range(min(self._draw(len(rows) * churn / 2), max(len(rows) - 2, 0))):
                    rows.pop(self.rng.randrange(len(rows)))
            for row in rows:
                if self.rng.random() < churn:
                    self.edit(row) if name != SESSIONS else self.edit_session(row)
        if self.habits.window:
            sessions = self.content.rows[SESSIONS]
            del sessions[: max(len(sessions) - self.habits.window, 0)]

    def replace_catalogue(self) -> None:
        """Give the ids to another catalogue."""
        for row in self.content.rows[SONGS]:
            row |= {
                "name": f"Other {row['name']}",
                "artist": "Stranger",
                "album": "Unknown",
                "duration": 1_000_000,
            }

    def _make_song(self, number: int) -> Row:
        row = {
            "id": self.habits.song_id(number), "name": f"Song {number}{self._text(0.1)}",
            "artist": f"Artist {number % 7}", "songwriters": self._value("songwriters"),
            "duration": self._value("duration"), "genres": self._value("genres"),
            "album": f"Album {number % 9}", "audio_features": self._value("audio_features"),
            "release_year": self._value("release_year"),
        }  # fmt: skip
        return row | self._times(number)

    def _make_user(self, number: int) -> Row:
        row = {
            "id": self.habits.user_id(number), "first_name": f"First{number}{self._text(0.1)}",
            "last_name": f"Last{number}", "email": f"User{number}@Example.org",
            "gender": self._value("gender"), "favorite_genres": self._value("favorite_genres"),
        }  # fmt: skip
        return row | self._times(number)

    def _make_session(self, number: int) -> Row:
        songs, users = self.content.rows[SONGS], self.content.rows[USERS]
        # "uid" is the session's identity, which the source does not send.
        moment = self._time(number * 3)
        items = [self.rng.choice(songs)["id"] for _ in range(self.rng.randint(0, 4))] if songs else []
        if self.rng.random() < 0.05:
            items.append(self.habits.song_id(9_999))
        user = self.rng.choice(users)["id"] if users else 1
        later = self._time(number * 3 + self.rng.randint(0, 2))
        return {"uid": number, "user_id": user, "items": items, "created_at": moment, "updated_at": later}

    def _times(self, number: int) -> Row:
        return {"created_at": self._time(number), "updated_at": self._time(self.rng.randint(0, 300))}

    def _time(self, hours: int) -> datetime:
        moment = EPOCH + timedelta(hours=hours)
        if self.habits.resolution == "day":
            return EPOCH + timedelta(days=hours // 24)
        if self.habits.resolution == "second":
            return moment + timedelta(seconds=hours * 7 % 60)
        return moment + timedelta(microseconds=hours * 7919 % 1_000_000)

    def _value(self, name: str) -> Any:
        rng = self.rng
        if name == "duration":
            return rng.choice((0, rng.randint(1, 5_999), rng.randint(30, 400))) * 1_000_000
        if name in {"genres", "favorite_genres"}:
            return ", ".join(rng.sample(("Rock", "Jazz", "Metal", "Pop", "R&B"), rng.randint(1, 3)))
        if name == "audio_features":
            return rng.choice((None, {"tempo": 120.5, "energy": 0.0}, {"valence": None}, {}))
        if name == "release_year":
            return rng.choice((None, 0, 1999, 9999))
        if name == "items":
            return []
        return f"{name}{self._text(0.5)}"

    def _text(self, share: float) -> str:
        return self.rng.choice(TEXTS) if self.rng.random() < share else ""

    def _draw(self, mean: float) -> int:
        return int(mean) + (self.rng.random() < mean % 1)

"""Writes a music_data.db of the original project."""

import sqlite3
from contextlib import closing
from pathlib import Path


def make_original_database(file: Path) -> Path:
    """Write what three daily runs of the original project stored: 10 songs, 3 listeners, 9 sessions."""
    when = "2026-01-01T10:00:00.000001"
    with closing(sqlite3.connect(file)) as database, database:
        database.executescript(
            """
            CREATE TABLE songs (id INTEGER PRIMARY KEY, name TEXT, artist TEXT, songwriters TEXT,
                                duration TEXT, genres TEXT, album TEXT, created_at TEXT, updated_at TEXT);
            CREATE TABLE users (id INTEGER PRIMARY KEY, first_name TEXT, last_name TEXT, email TEXT,
                                gender TEXT, favorite_genres TEXT, created_at TEXT, updated_at TEXT);
            CREATE TABLE listening_history (id INTEGER PRIMARY KEY AUTOINCREMENT, user_id INTEGER,
                                            items TEXT, created_at TEXT, updated_at TEXT);
            """
        )
        songs = [(pk, f"Song {pk}", "A", "W", "03:20", "Rock", "B", when, when) for pk in range(1, 11)]
        database.executemany("INSERT INTO songs VALUES (?,?,?,?,?,?,?,?,?)", songs)
        users = [(pk, "Ada", "E", f"u{pk}@example.org", "F", "Rock", when, when) for pk in (1, 2, 3)]
        database.executemany("INSERT INTO users VALUES (?,?,?,?,?,?,?,?)", users)
        items = {1: "[1, 2, 3]", 2: "4,5", 3: "['6', 7]"}
        for _ in range(3):
            database.executemany(
                "INSERT INTO listening_history (user_id, items, created_at, updated_at) VALUES (?,?,?,?)",
                [(user, text, when, when) for user, text in items.items()],
            )
    return file

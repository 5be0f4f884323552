"""Rows as the source sends them, valid in every field that a test does not set."""

from typing import Any

MOMENT = "2026-11-01T10:00:00.000001"


def make_track(pk: int, **fields: Any) -> dict[str, Any]:
    row = {"id": pk, "name": f"Song {pk}", "artist": f"Artist {pk % 7}", "songwriters": "A. Writer",
           "duration": "03:20", "genres": "Rock", "album": "First", "created_at": MOMENT,
           "updated_at": MOMENT}  # fmt: skip
    return row | fields


def make_user(pk: int, **fields: Any) -> dict[str, Any]:
    row = {
        "id": pk,
        "first_name": "Ada",
        "last_name": "Example",
        "email": f"user{pk}@example.org",
        "gender": "Female",
        "favorite_genres": "Rock",
        "created_at": MOMENT,
        "updated_at": MOMENT,
    }
    return row | fields


def make_session(user_id: int, items: list[int], **fields: Any) -> dict[str, Any]:
    row = {"user_id": user_id, "items": items, "created_at": MOMENT, "updated_at": MOMENT}
    return row | fields

"""Playlist files, compared with what players read."""

import json
from datetime import UTC, datetime
from typing import Any

from recommender.dashboard.listen.playlists import write_jspf, write_m3u

PLAYER = "https://player.example.org/{id}/{name}"


def make_song(**fields: Any) -> dict[str, Any]:
    return {"id": 7, "name": "Blue", "artist": "Ada", "album": "First", "duration": 185, **fields}


def test_m3u_has_length_title_and_address() -> None:
    assert write_m3u([make_song()], PLAYER).decode().splitlines() == [
        "#EXTM3U", "#PLAYLIST:Your mix", "#EXTINF:185,Ada - Blue", "#EXTALB:First",
        "https://player.example.org/7/Blue",
    ]  # fmt: skip


def test_names_of_m3u_stay_on_their_line() -> None:
    song = make_song(name="Blue\n#EXTINF:1,no\r\nno", artist="#1 AC/DC", duration=0)

    lines = write_m3u([song], "").decode().splitlines()

    assert lines[2:] == [
        "#EXTINF:-1,#1 AC/DC - Blue #EXTINF:1,no no", "#EXTALB:First", "1 AC-DC - Blue #EXTINF:1,no no"
    ]  # fmt: skip


def test_jspf_has_milliseconds_and_a_list_of_addresses() -> None:
    written = json.loads(write_jspf([make_song()], PLAYER, datetime(2026, 11, 1, tzinfo=UTC)))

    assert written["playlist"]["date"] == "2026-11-01T00:00:00+00:00"
    assert written["playlist"]["track"] == [
        {
            "title": "Blue", "creator": "Ada", "album": "First", "trackNum": 1, "duration": 185_000,
            "location": ["https://player.example.org/7/Blue"],
        }
    ]  # fmt: skip
    bare = json.loads(write_jspf([make_song()], "", datetime(2026, 11, 1, tzinfo=UTC)))
    assert "location" not in bare["playlist"]["track"][0]

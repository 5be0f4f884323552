"""Playlist files of a list: extended M3U, and JSPF (the JSON form of XSPF)."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import orjson
from django.utils.translation import gettext as _

from recommender.dashboard.listen.rows import play_link

CREATOR: Final = "MoovitaMix"
Songs = Sequence[Mapping[str, Any]]


def write_m3u(songs: Songs, player: str) -> bytes:
    """An extended M3U playlist in UTF-8; without a player's URLs, lines are file names of the songs.

    Source: https://en.wikipedia.org/wiki/M3U#Extended_M3U
    """
    lines = ["#EXTM3U", f"#PLAYLIST:{_('Your mix')}"]
    for song in songs:
        title = _one_line(f"{song['artist']} - {song['name']}")
        lines += [f"#EXTINF:{int(song['duration']) or -1},{title}", f"#EXTALB:{_one_line(song['album'])}"]
        # A line that starts with # would be a comment.
        lines.append(play_link(player, song) or title.lstrip("#").strip().replace("/", "-") or "song")
    return "\n".join([*lines, ""]).encode()


def write_jspf(songs: Songs, player: str, at: datetime) -> bytes:
    """A JSPF playlist in UTF-8.

    Source: https:
    www.xspf.org/jspf
    """
    tracks = []
    for number, song in enumerate(songs, 1):
        link = play_link(player, song)
        tracks.append({
            "title": song["name"], "creator": song["artist"], "album": song["album"], "trackNum": number,
            "duration": 1_000 * int(song["duration"]), **({"location": [link]} if link else {}),
        })  # fmt: skip
    playlist = {"title": _("Your mix"), "creator": CREATOR, "date": at.isoformat(), "track": tracks}
    return orjson.dumps({"playlist": playlist}, option=orjson.OPT_INDENT_2)


def _one_line(text: str) -> str:
    return " ".join(text.split())

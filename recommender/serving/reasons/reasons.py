"""Why a song or list is as it is: codes with parameters, and sentences in the active language.

Lists store them beside the English sentence, so that apps and pages can word them themselves.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from django.utils.translation import get_language, gettext_noop
from django.utils.translation import gettext as _

from recommender.serving.list_limits import Limit
from recommender.serving.reasons.cluster_name_translation import join_names, translate_name

MIN_SHOWN_SHARE: Final = 0.005  # a smaller share would read "0 %"
# "You have not heard it since" is said only of songs that were last played longer ago.
HEARD_LATELY: Final = timedelta(days=60)
MAX_ARTISTS: Final = 2
# Django brings their translations.
MONTH_NAMES: Final = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
    "November", "December",
)  # fmt: skip


class ReasonCode(StrEnum):
    CLUSTER = "cluster"
    CLUSTER_LIKED = "cluster_liked"
    ARTISTS = "artists"
    FAVOURITE = "favourite"
    LAST_HEARD = "last_heard"
    NOT_HEARD_SINCE = "not_heard_since"
    NOT_HEARD_SINCE_YEAR = "not_heard_since_year"
    POPULAR = "popular"
    POPULAR_IN_GENRE = "popular_in_genre"
    NEW_IN_GENRE = "new_in_genre"
    NEW_SONG = "new_song"
    NEW_SONG_BY_PLAYED_ARTIST = "new_song_by_played_artist"
    DIFFERENT = "different"


class DiscoveryCode(StrEnum):
    FEW_NEW_ARTISTS = "few_new_artists"
    FEW_PLAYED_ARTISTS = "few_played_artists"


SENTENCES: Final[Mapping[ReasonCode, str]] = {
    ReasonCode.CLUSTER: gettext_noop("From {cluster}: {share} of what you play"),
    ReasonCode.CLUSTER_LIKED: gettext_noop("From {cluster}: {share} of what you play and like"),
    ReasonCode.ARTISTS: gettext_noop("Because you play {artists}"),
    ReasonCode.FAVOURITE: gettext_noop("One of the songs that you play most"),
    ReasonCode.LAST_HEARD: gettext_noop("You last heard it on {day} {month}"),
    ReasonCode.NOT_HEARD_SINCE: gettext_noop("You have not heard it since {month}"),
    ReasonCode.NOT_HEARD_SINCE_YEAR: gettext_noop("You have not heard it since {month} {year}"),
    ReasonCode.POPULAR: gettext_noop("Popular with all listeners"),
    ReasonCode.POPULAR_IN_GENRE: gettext_noop("Popular in {genre}, one of your favourite genres"),
    ReasonCode.NEW_IN_GENRE: gettext_noop("New in {genre}, one of your favourite genres"),
    ReasonCode.NEW_SONG: gettext_noop("Hardly anyone has played it yet"),
    ReasonCode.NEW_SONG_BY_PLAYED_ARTIST: gettext_noop(
        "By an artist you play: hardly anyone has played it yet"
    ),
    ReasonCode.DIFFERENT: gettext_noop("Something different to try"),
}
# About a limit that was relaxed, for one song and for several.
RELAXED_SENTENCES: Final[Mapping[Limit, tuple[str, str]]] = {
    Limit.HEARD: (
        gettext_noop("1 song was heard before: too few others are left."),
        gettext_noop("{n} songs were heard before: too few others are left."),
    ),
    Limit.ARTIST_CAP: (
        gettext_noop("1 song exceeds the limit of songs by one artist: too few others are left."),
        gettext_noop("{n} songs exceed the limit of songs by one artist: too few others are left."),
    ),
    Limit.FAVOURITES: (
        gettext_noop("1 song is no favourite: you have not played enough songs."),
        gettext_noop("{n} songs are no favourites: you have not played enough songs."),
    ),
    Limit.REPEATED: (
        gettext_noop("1 song was given in the last two hours: no others are left."),
        gettext_noop("{n} songs were given in the last two hours: no others are left."),
    ),
}
# About a discovery that was not reached; the second sentence is for no songs at all.
DISCOVERY_SENTENCES: Final[Mapping[DiscoveryCode, tuple[str, str]]] = {
    DiscoveryCode.FEW_NEW_ARTISTS: (
        gettext_noop(
            "This list of {songs} songs has only {found} by artists that are new "
            "to you: no more could be recommended."
        ),
        gettext_noop(
            "This list of {songs} songs has none by artists that are new to you: none could be recommended."
        ),
    ),
    DiscoveryCode.FEW_PLAYED_ARTISTS: (
        gettext_noop(
            "This list of {songs} songs has only {found} by artists that you have "
            "played: no more could be recommended."
        ),
        gettext_noop(
            "This list of {songs} songs has none by artists that you have played: none could be recommended."
        ),
    ),
}


@dataclass(frozen=True)
class Reason:
    code: ReasonCode
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @property
    def sentence(self) -> str:
        return _(SENTENCES[self.code]).format(
            **{name: _word_parameter(name, value) for name, value in self.parameters.items()}
        )


def reason_of(item: Mapping[str, Any]) -> Reason | None:
    """The reason of a stored list's item; None if a release before reason codes stored it."""
    code = item.get("reason_code")
    return Reason(ReasonCode(code), item["reason_parameters"]) if code else None


def reason_sentence(item: Mapping[str, Any]) -> str:
    """The reason of a stored list's item in the active language; in English without a code."""
    # The stored sentence is in English.
    reason = None if get_language() == "en" else reason_of(item)
    return reason.sentence if reason else str(item["reason"])


def relaxed_sentence(limit: Limit, songs: int) -> str:
    one, several = RELAXED_SENTENCES[limit]
    return _(one if songs == 1 else several).format(n=songs)


def discovery_sentence(code: DiscoveryCode, *, found: int, songs: int) -> str:
    some, none = DISCOVERY_SENTENCES[code]
    return _(some if found else none).format(found=found, songs=songs)


def share_text(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= MIN_SHOWN_SHARE or share == 0 else "< 1 %"


def cluster_reason(name: str, affinity: float, *, counts_likes: bool = False) -> Reason:
    """The reason that the listener plays the song's cluster; `affinity` is its share of plays, 0 to 1.

    With `counts_likes` the share also counts likes.
    """
    code = ReasonCode.CLUSTER_LIKED if counts_likes else ReasonCode.CLUSTER
    return Reason(code, {"cluster": name, "share": affinity})


def artist_reason(artists: list[str]) -> Reason:
    return Reason(ReasonCode.ARTISTS, {"artists": artists[:MAX_ARTISTS]})


def popularity_reason(genre: str, *, is_played: bool = True) -> Reason:
    if genre:
        code = ReasonCode.POPULAR_IN_GENRE if is_played else ReasonCode.NEW_IN_GENRE
        return Reason(code, {"genre": genre})
    return Reason(ReasonCode.POPULAR if is_played else ReasonCode.DIFFERENT)


def new_song_reason(*, familiar: bool) -> Reason:
    return Reason(ReasonCode.NEW_SONG_BY_PLAYED_ARTIST if familiar else ReasonCode.NEW_SONG)


def last_played_reason(played_at: float, now: datetime) -> Reason:
    """The reason that says when the listener last played the song, at `played_at` (seconds since 1970).

    It names the day, or the month if that is long ago, with the year unless it is the current one.
    """
    at = datetime.fromtimestamp(played_at, UTC)
    if now - at < HEARD_LATELY:
        return Reason(ReasonCode.LAST_HEARD, {"day": at.day, "month": at.month})
    if at.year == now.year:
        return Reason(ReasonCode.NOT_HEARD_SINCE, {"month": at.month})
    return Reason(ReasonCode.NOT_HEARD_SINCE_YEAR, {"month": at.month, "year": at.year})


def _word_parameter(name: str, value: Any) -> str:
    match name:
        case "cluster":
            return translate_name(value)
        case "share":
            return share_text(value)
        case "artists":
            return join_names(value)
        case "month":
            return _(MONTH_NAMES[value - 1])
    return str(value)

"""Reasons for recommended songs, the JSON of served lists, and score contributions of model terms."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import numpy as np

from ingestion.models import Listener
from recommender import listener_profiles
from recommender.engine.identity.credits import ArtistCredits, artist_key, shared_artist
from recommender.engine.identity.genres import genre_keys
from recommender.engine.identity.text import fold_key
from recommender.engine.sampling.candidate_codec import CandidateArrays
from recommender.listener_profiles import ListenerProfile, find_columns
from recommender.models import Cluster, ServedList
from recommender.models.naming import known_genre_names
from recommender.models.served import SongCard
from recommender.registry.model_loader import LoadedModel, ServingModel
from recommender.serving.list_limits import Limit, Mode
from recommender.serving.list_sampler import PickedSong
from recommender.serving.popular_and_similar_songs import shared_genre

# Additional keys of an interleaved list's item.
INTERLEAVED_FIELDS: Final = ("by_challenger", "p_champion", "p_challenger")
# A favourite that was played within a month is not one that was "not heard since" that month.
RECENT_SECONDS: Final = 31 * 86_400.0
FAVOURITE: Final = "One of the songs that you play most"
DIFFERENT: Final = "Something different to try"
MIN_SHOWN_SHARE: Final = 0.005  # a smaller share would read "0 %"
MIN_SHOWN_CONTRIBUTION: Final = 0.005  # a smaller contribution would read "0.00"
# "You have not heard it since" is said only of songs that were last played longer ago.
HEARD_LATELY: Final = timedelta(days=60)
# What a list says about a limit that was relaxed, for one song and for several.
RELAXED_TEXTS: Final = {
    Limit.HEARD: (
        "1 song was heard before: too few others are left.",
        "{n} songs were heard before: too few others are left.",
    ),
    Limit.ARTIST_CAP: (
        "1 song exceeds the limit of songs by one artist: too few others are left.",
        "{n} songs exceed the limit of songs by one artist: too few others are left.",
    ),
    Limit.FAVOURITES: (
        "1 song is no favourite: the user has not played enough songs.",
        "{n} songs are no favourites: the user has not played enough songs.",
    ),
    Limit.REPEATED: (
        "1 song was given in the last two hours: no others are left.",
        "{n} songs were given in the last two hours: no others are left.",
    ),
}
MONTH_NAMES: Final = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
    "November", "December",
)  # fmt: skip


def build_items(
    picks: Sequence[PickedSong],
    cards: Mapping[int, SongCard],
    names: Mapping[int, str],
    context: "ReasonContext",
) -> list[dict[str, Any]]:
    """The picks in order, as `ServedList.items` stores them; `names` has the cluster names by number."""
    items = []
    for pick in picks:
        name = "" if pick.cluster is None else names.get(pick.cluster, f"Cluster {pick.cluster}")
        items.append({
            "song": pick.song, "cluster": pick.cluster, "cluster_name": name, "affinity": pick.affinity,
            "propensity": pick.propensity, "familiar": pick.familiar, "heard": pick.rerecommended,
            "reason": context.reason_for(pick, cards[pick.song], name),
            **({"relaxed": [str(limit) for limit in pick.relaxed]} if pick.relaxed else {}),
            **(dict(zip(INTERLEAVED_FIELDS, pick.interleaved, strict=True)) if pick.interleaved else {}),
        })  # fmt: skip
    return items


class ReasonContext:
    """Facts about the listener for the reasons of a list, read only if a reason needs them.

    A reason is given only if it is true of the song and of the listener: both have the genre that it names,
    or the listener plays the artists that it names.
    """

    def __init__(
        self,
        listener_id: int,
        now: datetime,
        candidates: Sequence[CandidateArrays],
        profile: ListenerProfile | None = None,
    ) -> None:
        self._listener_id = listener_id
        self._now = now
        self._profile = profile
        self._last_played_at = {song: at for one in candidates for song, at in one.last_played_at.items()}
        self._by_artist = {song: at for one in candidates for song, at in one.played_by_artist.items()}
        self._in_cluster = {key: songs for one in candidates for key, songs in one.played_in_cluster.items()}
        self._favorite_genres: str | None = profile.genres if profile else None
        self._played_cards: Mapping[int, SongCard] = {}

    def named_songs(self, picks: Sequence[PickedSong]) -> set[int]:
        """Played songs whose artists may be named in the reasons for these picks."""
        by_artist = {self._by_artist[pick.song] for pick in picks if pick.song in self._by_artist}
        clusters = {pick.cluster for pick in picks if pick.cluster is not None}
        return by_artist.union(*(self._in_cluster.get(cluster, ()) for cluster in clusters))

    def use_cards(self, cards: Mapping[int, SongCard]) -> None:
        self._played_cards = cards

    def reason_for(self, pick: PickedSong, card: SongCard, cluster_name: str) -> str:
        if heard := self._heard_reason(pick):
            return heard
        if pick.new_song:
            return new_song_reason(familiar=pick.familiar)
        if pick.cold_start:
            genres = known_genre_names().normalise(card.genres)
            return popularity_reason(shared_genre(genres, self._favorites()), is_played=not pick.unplayed)
        played = self._cards_in_cluster(pick)
        if pick.affinity >= MIN_SHOWN_SHARE and self._shares_genre(card, cluster_name, played):
            return cluster_reason(cluster_name, pick.affinity, counts_likes=pick.counts_likes)
        artists = [artist] if (artist := self._played_artist(pick, card)) else lead_artists(played)
        if artists and (pick.familiar or pick.affinity >= MIN_SHOWN_SHARE):
            return artist_reason(artists)
        return DIFFERENT

    def _heard_reason(self, pick: PickedSong) -> str:
        played_at = self._last_played(pick.song) if pick.rerecommended else None
        if played_at is None:
            return ""
        if self._now.timestamp() - played_at < RECENT_SECONDS:
            return FAVOURITE
        return last_played_reason(played_at, self._now)

    def _cards_in_cluster(self, pick: PickedSong) -> list[SongCard]:
        songs = () if pick.cluster is None else self._in_cluster.get(pick.cluster, ())
        return [self._played_cards[song] for song in songs if song in self._played_cards]

    def _shares_genre(self, card: SongCard, cluster_name: str, played: Sequence[SongCard]) -> bool:
        """Whether the name has a genre of the song and of what the listener plays in the cluster."""
        names = known_genre_names()
        shared = name_keys(cluster_name).intersection(genre_keys(names.normalise(card.genres)))
        heard = {key for one in played for key in genre_keys(names.normalise(one.genres))}
        # Candidate lists stored before format 4 do not say what the listener plays.
        return bool(shared & heard) if played else bool(shared) and not self._in_cluster

    def _played_artist(self, pick: PickedSong, card: SongCard) -> str:
        """The artist of the song whom the listener plays; '' if there is none."""
        song = self._by_artist.get(pick.song)
        played = None if song is None else self._played_cards.get(song)
        return shared_artist(card.artist, played.artist) if played else ""

    def _favorites(self) -> str:
        if self._favorite_genres is None:
            listener = Listener.objects.filter(pk=self._listener_id)
            text = listener.values_list("favorite_genres", flat=True).get()
            self._favorite_genres = known_genre_names().normalise(text)
        return self._favorite_genres

    def _last_played(self, song: int) -> float | None:
        if song not in self._last_played_at:
            # Candidate lists stored before format 3 lack the times.
            profile = self._profile or listener_profiles.read_profile(self._listener_id, self._now)
            if profile is not None:
                self._last_played_at |= profile.last_plays_of(profile.songs)
        return self._last_played_at.get(song)


def name_keys(cluster_name: str) -> set[str]:
    return {fold_key(part) for chunk in cluster_name.split(", ") for part in chunk.split(" and ")}


def lead_artists(cards: Sequence[SongCard]) -> list[str]:
    leads = [ArtistCredits([card.artist]).lead(card.artist) for card in cards]
    return list({artist_key(lead): lead for lead in leads if lead}.values())


def cluster_reason(name: str, affinity: float, *, counts_likes: bool = False) -> str:
    """The reason for a song by its cluster.

    `affinity` is the cluster's share of what the listener plays, from 0 to 1; with `counts_likes`, of what
    they play and like.
    """
    return f"From {name}: {share_text(affinity)} of what you play{' and like' if counts_likes else ''}"


def share_text(share: float) -> str:
    """A share of a listener's engagement in whole percent."""
    return f"{100 * share:.0f} %" if share >= MIN_SHOWN_SHARE or share == 0 else "< 1 %"


def artist_reason(artists: Sequence[str]) -> str:
    return f"Because you play {' and '.join(artists[:2])}"


def popularity_reason(genre: str, *, is_played: bool = True) -> str:
    """The reason for a cold-start song; `genre` is a favourite genre of the listener, or ''."""
    if not is_played:
        return f"New in {genre}, one of your favourite genres" if genre else DIFFERENT
    return f"Popular in {genre}, one of your favourite genres" if genre else "Popular with all listeners"


def new_song_reason(*, familiar: bool) -> str:
    return f"{'By an artist you play: h' if familiar else 'H'}ardly anyone has played it yet"


def last_played_reason(played_at: float, now: datetime) -> str:
    """The reason for a song that is recommended again; `played_at` is in seconds since 1970.

    The year is given only if it is not the current one.
    """
    month = datetime.fromtimestamp(played_at, UTC)
    if now - month < HEARD_LATELY:
        return f"You last heard it on {month.day} {MONTH_NAMES[month.month - 1]}"
    year = "" if month.year == now.year else f" {month.year}"
    return f"You have not heard it since {MONTH_NAMES[month.month - 1]}{year}"


def cluster_names_for(loaded: LoadedModel, version_id: int | None) -> Mapping[int, str]:
    if version_id is None:
        return {}
    if loaded.model is not None and loaded.model.version.pk == version_id:
        return loaded.model.cluster_names
    return dict(Cluster.objects.filter(version=version_id).values_list("number", "name"))


def serialize_list(served: ServedList) -> dict[str, Any]:
    new = sum(not item["familiar"] for item in served.items)
    heard = sum(item.get("heard", False) for item in served.items)
    return {
        "recommendation_id": str(served.pk),
        "user_id": served.listener_id,
        "model_version": version_labels(served),
        "arm": str(served.arm),
        "generated_at": served.generated_at.isoformat(),
        "stale": served.stale,
        "stored": served.is_stored,
        "discovery": {
            "asked": served.discovery,
            "given": round(new / len(served.items), 4) if served.items else 0.0,
            "reason": _discovery_reason(served, new),
        },
        "mode": str(served.mode),
        "repeats": {
            "asked": 1.0 if served.mode == Mode.FAVOURITES else served.repeats,
            "given": round(heard / len(served.items), 4) if served.items else 0.0,
        },
        "relaxed": relaxed_limits(served.items),
        "items": [
            {
                "rank": rank,
                "song": serialize_song(served.cards[item["song"]]),
                "cluster": serialize_cluster(item["cluster"], item["cluster_name"]),
                "affinity": item["affinity"],
                "propensity": item["propensity"],
                "familiar": item["familiar"],
                "heard": item.get("heard", False),
                "reason": item["reason"],
            }
            for rank, item in enumerate(served.items, 1)
        ],
    }


def relaxed_limits(items: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The limits that were relaxed to fill a list, each with its number of songs and a sentence."""
    counts = Counter(limit for item in items for limit in item.get("relaxed", ()))
    return [
        {
            "limit": str(limit),
            "songs": counts[limit],
            "message": (one if counts[limit] == 1 else several).format(n=counts[limit]),
        }
        for limit, (one, several) in RELAXED_TEXTS.items()
        if counts[limit]
    ]


def _discovery_reason(served: ServedList, new: int) -> str | None:
    """Why the share of new artists differs by more than one song from the request; None if it does not."""
    if served.mode == Mode.FAVOURITES:
        return None
    asked, songs = min(served.discovery, 1 - served.repeats), len(served.items)
    if abs(new - asked * songs) <= 1:
        return None
    too_few_new = new < asked * songs
    artists = "artists that are new to the user" if too_few_new else "artists that the user has played"
    found = new if too_few_new else songs - new
    return f"{found or 'None'} of the {songs} songs by {artists}: no more of them could be recommended."


def version_labels(served: ServedList) -> str | None:
    """The label of the version that drew the list; "CHAMPION+CHALLENGER" for an interleaved list."""
    if served.version is None:
        return None
    challenger_list = served.challenger_candidate_list
    challenger = challenger_list.version if challenger_list else None
    return f"{served.version.label}+{challenger.label}" if challenger else served.version.label


def serialize_song(card: SongCard) -> dict[str, Any]:
    return {
        "id": card.id, "name": card.name, "artist": card.artist, "album": card.album, "genres": card.genres,
        "duration": card.duration,
    }  # fmt: skip


def serialize_cluster(number: int | None, name: str) -> dict[str, Any] | None:
    return None if number is None else {"id": number, "name": name}


def explain_scores(
    profile: ListenerProfile, model: ServingModel, songs: Sequence[int]
) -> dict[int, dict[str, float]]:
    """Contribution of each model term to a song's current score, by song id and term name.

    The contributions add up to the score. Unknown songs and contributions of about 0 are left out.
    """
    ids = np.array(sorted(songs), dtype=np.int64)
    columns, there = find_columns(model.song_ids, ids)
    # Songs that are recommended again are scored as if the listener had never played them.
    row = profile.without_songs(ids).model_profile(model.song_ids)
    terms = model.scorer.explain_scores(row, columns[there].astype(np.int32))
    return {
        int(song): {
            name: float(values[place])
            for name, values in terms.items()
            if abs(values[place]) >= MIN_SHOWN_CONTRIBUTION
        }
        for place, song in enumerate(ids[there])
    }

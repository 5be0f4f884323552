"""Reasons for recommended songs, the JSON of served lists, and score contributions of model terms."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any, Final

import numpy as np

from ingestion.models import Listener
from recommender import listener_profiles
from recommender.engine.identity.genres import GenreNames
from recommender.engine.sampling.candidate_codec import CandidateArrays
from recommender.listener_profiles import ListenerProfile, find_columns
from recommender.models import Cluster, ServedList
from recommender.models.naming import read_genre_names
from recommender.models.served import SongCard
from recommender.registry.model_loader import LoadedModel, ServingModel
from recommender.serving.list_limits import Limit
from recommender.serving.list_sampler import PickedSong
from recommender.serving.popular_and_similar_songs import shared_genre

# Additional keys of an interleaved list's item.
INTERLEAVED_FIELDS: Final = ("by_challenger", "p_champion", "p_challenger")
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
            "propensity": pick.propensity, "familiar": pick.familiar,
            "reason": context.reason_for(pick, cards[pick.song].genres, name),
            **({"relaxed": [str(limit) for limit in pick.relaxed]} if pick.relaxed else {}),
            **(dict(zip(INTERLEAVED_FIELDS, pick.interleaved, strict=True)) if pick.interleaved else {}),
        })  # fmt: skip
    return items


class ReasonContext:
    """Facts about the listener for the reasons of a list, read only if a reason needs them."""

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
        self._favorite_genres: str | None = profile.genres if profile else None

    @cached_property
    def _genre_names(self) -> GenreNames:
        return read_genre_names()

    def reason_for(self, pick: PickedSong, genres: str, cluster_name: str) -> str:
        played_at = self._last_played(pick.song) if pick.rerecommended else None
        if played_at is not None:
            return last_played_reason(played_at, self._now)
        if pick.cold_start:
            return popularity_reason(shared_genre(self._genre_names.normalise(genres), self._favorites()))
        return cluster_reason(cluster_name, pick.affinity)

    def _favorites(self) -> str:
        if self._favorite_genres is None:
            listener = Listener.objects.filter(pk=self._listener_id)
            text = listener.values_list("favorite_genres", flat=True).get()
            self._favorite_genres = self._genre_names.normalise(text)
        return self._favorite_genres

    def _last_played(self, song: int) -> float | None:
        if song not in self._last_played_at:
            # Candidate lists stored before format 3 lack the times.
            profile = self._profile or listener_profiles.read_profile(self._listener_id, self._now)
            if profile is not None:
                self._last_played_at |= profile.last_plays_of(profile.songs)
        return self._last_played_at.get(song)


def cluster_reason(name: str, affinity: float) -> str:
    """The reason for a song from a cluster; `affinity` is the cluster's share of plays."""
    if affinity < MIN_SHOWN_SHARE:
        return f"From {name}: new to you, close to what you listen to"
    return f"From {name}: {100 * affinity:.0f} % of your listening"


def popularity_reason(genre: str) -> str:
    """The reason for a cold-start song; `genre` is a favourite genre of the listener, or ''."""
    return f"Popular in {genre}, one of your favourite genres" if genre else "Popular with all listeners"


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
                "reason": item["reason"],
            }
            for rank, item in enumerate(served.items, 1)
        ],
    }


def relaxed_limits(items: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The limits that a list relaxed, each with its number of songs and a sentence."""
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

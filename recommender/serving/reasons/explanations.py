"""Reasons for songs, the JSON of served lists, and score contributions of model terms."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, Final

import numpy as np
from django.utils.translation import override

from ingestion.models import Listener
from recommender import listener_profiles
from recommender.engine.identity.credits import artist_key, name_lead, shared_artist
from recommender.engine.identity.genres import genre_keys, shared_genre, split_genres
from recommender.engine.identity.name_words import BUILT_IN_WORDS
from recommender.engine.identity.text import fold_key
from recommender.engine.sampling.candidate_codec import CandidateArrays
from recommender.engine.song_columns import find_columns
from recommender.listener_profiles import ListenerProfile
from recommender.models import Cluster, ServedList
from recommender.models.naming import known_names
from recommender.models.served import SongCard
from recommender.registry.model_loader import LoadedModel, ServingModel
from recommender.serving.list_limits import Limit, Mode
from recommender.serving.list_sampler import PickedSong
from recommender.serving.reasons.reasons import (
    MIN_SHOWN_SHARE,
    RELAXED_SENTENCES,
    DiscoveryCode,
    Reason,
    ReasonCode,
    artist_reason,
    cluster_reason,
    discovery_sentence,
    last_played_reason,
    new_song_reason,
    popularity_reason,
    reason_sentence,
    relaxed_sentence,
)

# Additional keys of an interleaved list's item.
INTERLEAVED_FIELDS: Final = ("by_challenger", "p_champion", "p_challenger")
# A favourite that was played within a month is not one that was "not heard since" that month.
RECENT_SECONDS: Final = 31 * 86_400.0
MIN_SHOWN_CONTRIBUTION: Final = 0.005  # a smaller contribution would read "0.00"


def build_items(
    picks: Sequence[PickedSong],
    cards: Mapping[int, SongCard],
    names: Mapping[int, str],
    context: "ReasonContext",
) -> list[dict[str, Any]]:
    """The items of a list as `ServedList.items` stores them; `names` has cluster names by number."""
    # One override for the list: each costs as much as the sentence itself.
    with override("en"):
        return [_build_item(pick, cards[pick.song], names, context) for pick in picks]


def _build_item(
    pick: PickedSong, card: SongCard, names: Mapping[int, str], context: "ReasonContext"
) -> dict[str, Any]:
    name = "" if pick.cluster is None else names.get(pick.cluster, f"Cluster {pick.cluster}")
    reason = context.reason_for(pick, card, name)
    return {
        "song": pick.song, "cluster": pick.cluster, "cluster_name": name, "affinity": pick.affinity,
        "propensity": pick.propensity, "familiar": pick.familiar, "heard": pick.rerecommended,
        "reason": reason.sentence, "reason_code": str(reason.code),
        "reason_parameters": dict(reason.parameters),
        **({"relaxed": [str(limit) for limit in pick.relaxed]} if pick.relaxed else {}),
        **(dict(zip(INTERLEAVED_FIELDS, pick.interleaved, strict=True)) if pick.interleaved else {}),
    }  # fmt: skip


class ReasonContext:
    """Facts about the listener for reasons, read only if needed.

    A reason must be true of both: song and listener have the genre that it names, or the listener plays the
    artists that it names.
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
        self._related = {song: by for one in candidates for song, by in one.related.items()}
        self._in_cluster = {key: songs for one in candidates for key, songs in one.played_in_cluster.items()}
        self._favorite_genres: str | None = profile.genres if profile else None
        self._played_cards: Mapping[int, SongCard] = {}

    def named_songs(self, picks: Sequence[PickedSong]) -> set[int]:
        clusters = {pick.cluster for pick in picks if pick.cluster is not None}
        return {
            song
            for songs in (
                *(self._related.get(pick.song, ()) for pick in picks),
                *(self._in_cluster.get(cluster, ()) for cluster in clusters),
            )
            for song in songs
        }

    def use_cards(self, cards: Mapping[int, SongCard]) -> None:
        self._played_cards = cards

    def reason_for(self, pick: PickedSong, card: SongCard, cluster_name: str) -> Reason:
        if heard := self._heard_reason(pick):
            return heard
        if pick.new_song:
            return new_song_reason(familiar=pick.familiar)
        if pick.cold_start:
            genre = shared_genre(known_names().genres.normalise(card.genres), self._favorites())
            artists = self._artists_behind(pick, card, ()) if pick.familiar and not genre else []
            return (
                artist_reason(artists) if artists else popularity_reason(genre, is_played=not pick.unplayed)
            )
        played = self._cards_in_cluster(pick)
        if self._is_played(pick) and self._shares_genre(card, cluster_name, played):
            return cluster_reason(cluster_name, pick.affinity, counts_likes=pick.counts_likes)
        artists = self._artists_behind(pick, card, played)
        return artist_reason(artists) if artists else Reason(ReasonCode.DIFFERENT)

    def _heard_reason(self, pick: PickedSong) -> Reason | None:
        played_at = self._last_played(pick.song) if pick.rerecommended else None
        if played_at is None:
            return None
        # A heard song that fills a list because no others are left may have been played only once.
        is_favourite = Limit.HEARD not in pick.relaxed
        if is_favourite and self._now.timestamp() - played_at < RECENT_SECONDS:
            return Reason(ReasonCode.FAVOURITE)
        return last_played_reason(played_at, self._now)

    def _cards_in_cluster(self, pick: PickedSong) -> list[SongCard]:
        songs = () if pick.cluster is None else self._in_cluster.get(pick.cluster, ())
        return [self._played_cards[song] for song in songs if song in self._played_cards]

    def _shares_genre(self, card: SongCard, cluster_name: str, played: Sequence[SongCard]) -> bool:
        """Whether the name has a genre of the song and of what the listener plays in the cluster."""
        names = known_names().genres
        shared = name_keys(cluster_name).intersection(genre_keys(names.normalise(card.genres)))
        heard = {key for one in played for key in genre_keys(names.normalise(one.genres))}
        # Candidate lists stored before format 4 do not say what the listener plays.
        return bool(shared & heard) if played else bool(shared) and not self._in_cluster

    def _artists_behind(self, pick: PickedSong, card: SongCard, in_cluster: Sequence[SongCard]) -> list[str]:
        """Played artists for whom the song was picked: its own, else those of songs near it."""
        related = [self._played_cards[one] for one in self._related.get(pick.song, ())
                   if one in self._played_cards]  # fmt: skip
        if pick.familiar:
            shared = [artist for one in related if (artist := shared_artist(card.artist, one.artist))]
            return shared[:1] or lead_artists(in_cluster)
        if near := lead_artists([one for one in related if not _differ_in_genres(card, one)]):
            return near
        # That the songs are in one cluster does not mean that they are alike.
        with_shared_genre = [one for one in in_cluster if _share_genre(card, one)]
        return lead_artists(with_shared_genre) if self._is_played(pick) else []

    @staticmethod
    def _is_played(pick: PickedSong) -> bool:
        return pick.affinity >= MIN_SHOWN_SHARE

    def _favorites(self) -> str:
        """The favourite genres that a reason may name, normalised."""
        if self._favorite_genres is None:
            listener = Listener.objects.filter(pk=self._listener_id)
            text = listener.values_list("favorite_genres", flat=True).get()
            self._favorite_genres = known_names().genres.normalise(text)
        words = known_names().words
        genres = split_genres(self._favorite_genres)
        return ", ".join(genre for genre in genres if not words.has_bad_word(genre))

    def _last_played(self, song: int) -> float | None:
        if song not in self._last_played_at:
            # Candidate lists stored before format 3 lack the times.
            profile = self._profile or listener_profiles.read_profile(self._listener_id, self._now)
            if profile is not None:
                self._last_played_at |= profile.last_plays_of(profile.songs)
        return self._last_played_at.get(song)


def _differ_in_genres(one: SongCard, other: SongCard) -> bool:
    """Whether both songs have genres, but share none that the field knows."""
    has_genres = all(known_names().genres.normalise(card.genres) for card in (one, other))
    return has_genres and not _share_genre(one, other)


def _share_genre(one: SongCard, other: SongCard) -> bool:
    normalise = known_names().genres.normalise
    return _texts_share_genre(normalise(one.genres), normalise(other.genres))


@lru_cache(maxsize=16_384)
def _texts_share_genre(one: str, other: str) -> bool:
    # Without the words of staff, which decide what people read, and not which songs are alike.
    return BUILT_IN_WORDS.share_genre(one, other)


def name_keys(cluster_name: str) -> set[str]:
    return {fold_key(part) for chunk in cluster_name.split(", ") for part in chunk.split(" and ")}


def lead_artists(cards: Sequence[SongCard]) -> list[str]:
    leads = [name_lead(card.artist) for card in cards]
    return list({artist_key(lead): lead for lead in leads if lead}.values())


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
            **_describe_discovery(served, new),
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
                "reason": reason_sentence(item),
                "reason_code": item.get("reason_code"),
                "reason_parameters": item.get("reason_parameters", {}),
            }
            for rank, item in enumerate(served.items, 1)
        ],
    }


def relaxed_limits(items: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Limits that were relaxed to fill a list, each with its number of songs and a sentence."""
    counts = Counter(limit for item in items for limit in item.get("relaxed", ()))
    return [
        {
            "limit": str(limit),
            "songs": counts[limit],
            "message": relaxed_sentence(limit, counts[limit]),
        }
        for limit in RELAXED_SENTENCES
        if counts[limit]
    ]


def _describe_discovery(served: ServedList, new: int) -> dict[str, Any]:
    """The reason why new artists miss the requested share by more than one song; all None if they do not."""
    asked, songs = min(served.discovery, 1 - served.repeats), len(served.items)
    if served.mode == Mode.FAVOURITES or abs(new - asked * songs) <= 1:
        return {"reason": None, "reason_code": None, "reason_parameters": {}}
    too_few_new = new < asked * songs
    code = DiscoveryCode.FEW_NEW_ARTISTS if too_few_new else DiscoveryCode.FEW_PLAYED_ARTISTS
    counts = {"found": new if too_few_new else songs - new, "songs": songs}
    return {
        "reason": discovery_sentence(code, **counts), "reason_code": str(code), "reason_parameters": counts
    }  # fmt: skip


def version_labels(served: ServedList) -> str | None:
    """The labels of a list's versions, "CHAMPION+CHALLENGER" if it is interleaved; None without a model."""
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
    """Contribution of each term to a song's score, by song id and term name.

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

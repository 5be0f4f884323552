"""Why a song scores as it does for a listener: what each term of the model adds."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np

from ingestion.models import Listener
from recommender import listener_profiles
from recommender.listener_profiles import ListenerProfile, find_columns
from recommender.models import Cluster, ServedList
from recommender.models.served import SongCard
from recommender.registry.model_loader import LoadedModel, ServingModel
from recommender.serving.list_sampler import PickedSong
from recommender.serving.non_personalized import shared_genre

MIN_SHOWN_CONTRIBUTION: Final = 0.005  # what would be shown as 0.00


def explain_scores(
    known: ListenerProfile, model: ServingModel, songs: Sequence[int]
) -> dict[int, dict[str, float]]:
    """By song id, then by term: what it adds to the score; songs the model does not know are left out.

    Terms that add nothing are left out; those there are sum up to the score. As things are now, which may
    not be as they were when a list was served.
    """
    ids = np.array(sorted(songs), dtype=np.int64)
    columns, there = find_columns(model.song_ids, ids)
    # Songs that come back are scored as if they had never been heard.
    profile = known.without_songs(ids).model_profile(model.song_ids)
    terms = model.scorer.explain_scores(profile, columns[there].astype(np.int32))
    return {
        int(song): {
            name: float(values[place])
            for name, values in terms.items()
            if abs(values[place]) >= MIN_SHOWN_CONTRIBUTION
        }
        for place, song in enumerate(ids[there])
    }


INTERLEAVED_FIELDS: Final = (
    "by_challenger",
    "p_champion",
    "p_challenger",
)  # what an interleaved list's item has besides
# Below half a percent the share would be shown as nothing.
MIN_SHOWN_SHARE: Final = 0.005
MONTH_NAMES: Final = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
    "November", "December",
)  # fmt: skip


def cluster_names_for(loaded: LoadedModel, version_id: int | None) -> Mapping[int, str]:
    """Clusters' names by number, of the version that a shelf was made by."""
    if version_id is None:
        return {}
    if loaded.model is not None and loaded.model.version.pk == version_id:
        return loaded.model.cluster_names
    return dict(Cluster.objects.filter(version=version_id).values_list("number", "name"))


def build_items(
    picks: Sequence[PickedSong],
    cards: Mapping[int, SongCard],
    listener: int,
    names: Mapping[int, str],
    now: datetime,
) -> list[dict[str, Any]]:
    """The picks as they are stored, in their order."""
    # Asked for only where a reason needs it.
    favorites = _favorite_genres(listener) if any(pick.cold_start for pick in picks) else ""
    heard = _last_played(listener, now) if any(pick.rerecommended for pick in picks) else {}
    items = []
    for pick in picks:
        name = _cluster_name(pick.cluster, names)
        if pick.song in heard:
            reason = last_played_reason(heard[pick.song], now)
        elif pick.cold_start:
            reason = popularity_reason(shared_genre(cards[pick.song].genres, favorites))
        else:
            reason = cluster_reason(name, pick.affinity)
        items.append({
            "song": pick.song, "cluster": pick.cluster, "cluster_name": name, "affinity": pick.affinity,
            "propensity": pick.propensity, "familiar": pick.familiar, "reason": reason,
            **(dict(zip(INTERLEAVED_FIELDS, pick.interleaved, strict=True)) if pick.interleaved else {}),
        })  # fmt: skip
    return items


def serialize_list(served: ServedList) -> dict[str, Any]:
    """The list as the API answers it; JSON can hold it."""
    new = sum(not item["familiar"] for item in served.items)
    return {
        "recommendation_id": str(served.pk),
        "user_id": served.listener_id,
        "model_version": version_labels(served),
        "arm": str(served.arm),
        "generated_at": served.generated_at.isoformat(),
        "stale": served.stale,
        "discovery": {
            "asked": served.discovery,
            "given": round(new / len(served.items), 4) if served.items else 0.0,
        },
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


def version_labels(served: ServedList) -> str | None:
    """The label of the version that drew it; of both, the champion's first, where they took turns."""
    if served.version is None:
        return None
    rival = served.challenger_candidate_list.version if served.challenger_candidate_list else None
    return f"{served.version.label}+{rival.label}" if rival else served.version.label


def serialize_song(card: SongCard) -> dict[str, Any]:
    return {
        "id": card.id, "name": card.name, "artist": card.artist, "album": card.album, "genres": card.genres,
        "duration": card.duration,
    }  # fmt: skip


def serialize_cluster(number: int | None, name: str) -> dict[str, Any] | None:
    return None if number is None else {"id": number, "name": name}


def cluster_reason(name: str, affinity: float) -> str:
    """The reason of a song that its cluster offered; `affinity` is a share, 0 to 1."""
    if affinity < MIN_SHOWN_SHARE:
        return f"From {name}: new to you, close to what you listen to"
    return f"From {name}: {100 * affinity:.0f} % of your listening"


def popularity_reason(genre: str) -> str:
    """The reason where nothing is known of the listener; `genre` is a favourite one, '' for none."""
    return f"Popular in {genre}, one of your favourite genres" if genre else "Popular with all listeners"


def last_played_reason(played_at: float, now: datetime) -> str:
    """The reason of a song heard long ago, in seconds since 1970; the year is named unless it is this one."""
    month = datetime.fromtimestamp(played_at, UTC)
    year = "" if month.year == now.year else f" {month.year}"
    return f"You have not heard it since {MONTH_NAMES[month.month - 1]}{year}"


def _cluster_name(number: int | None, names: Mapping[int, str]) -> str:
    return "" if number is None else names.get(number, f"Cluster {number}")


def _favorite_genres(listener_id: int) -> str:
    return str(Listener.objects.values_list("favorite_genres", flat=True).get(pk=listener_id))


def _last_played(listener_id: int, now: datetime) -> dict[int, float]:
    known = listener_profiles.read_profiles([listener_id], now)[listener_id]
    return dict(zip(known.songs.tolist(), known.heard_at.tolist(), strict=True))

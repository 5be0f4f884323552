"""Why a song scores as it does for a listener: what each term of the model adds."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np

from ingestion.models import Listener
from recommender import listener_profiles
from recommender.listener_profiles import Known, columns_of
from recommender.models import Cluster, ServedList
from recommender.models.served import Card
from recommender.registry.model_loader import Loaded, Model
from recommender.serving.list_sampler import Picked
from recommender.serving.non_personalized import shared_genre

LEAST: Final = 0.005  # what would be shown as 0.00


def contributions(known: Known, model: Model, songs: Sequence[int]) -> dict[int, dict[str, float]]:
    """By song id, then by term: what it adds to the score; songs the model does not know are left out.

    Terms that add nothing are left out; those there are sum up to the score. As things are now, which may
    not be as they were when a list was served.
    """
    ids = np.array(sorted(songs), dtype=np.int64)
    columns, there = columns_of(model.song_ids, ids)
    # Songs that come back are scored as if they had never been heard.
    profile = known.without(ids).profile(model.song_ids)
    terms = model.learnt.explained(profile, columns[there].astype(np.int32))
    return {
        int(song): {
            name: float(values[place]) for name, values in terms.items() if abs(values[place]) >= LEAST
        }
        for place, song in enumerate(ids[there])
    }


PAIR: Final = ("by_challenger", "p_champion", "p_challenger")  # what an interleaved list's item has besides
# Below half a percent the share would be shown as nothing.
LEAST_SHARE: Final = 0.005
MONTHS: Final = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
    "November", "December",
)  # fmt: skip


def names_of(loaded: Loaded, version_id: int | None) -> Mapping[int, str]:
    """Clusters' names by number, of the version that a shelf was made by."""
    if version_id is None:
        return {}
    if loaded.model is not None and loaded.model.version.pk == version_id:
        return loaded.model.names
    return dict(Cluster.objects.filter(version=version_id).values_list("number", "name"))


def items_of(
    picks: Sequence[Picked],
    cards: Mapping[int, Card],
    listener: int,
    names: Mapping[int, str],
    now: datetime,
) -> list[dict[str, Any]]:
    """The picks as they are stored, in their order."""
    # Asked for only where a reason needs it.
    favorites = _favorites(listener) if any(pick.cold for pick in picks) else ""
    heard = _last_heard(listener, now) if any(pick.resurfaced for pick in picks) else {}
    items = []
    for pick in picks:
        name = _name(pick.cluster, names)
        if pick.song in heard:
            reason = since(heard[pick.song], now)
        elif pick.cold:
            reason = from_popularity(shared_genre(cards[pick.song].genres, favorites))
        else:
            reason = from_cluster(name, pick.affinity)
        items.append({
            "song": pick.song, "cluster": pick.cluster, "cluster_name": name, "affinity": pick.affinity,
            "propensity": pick.propensity, "familiar": pick.familiar, "reason": reason,
            **(dict(zip(PAIR, pick.pair, strict=True)) if pick.pair else {}),
        })  # fmt: skip
    return items


def told(served: ServedList) -> dict[str, Any]:
    """The list as the API answers it; JSON can hold it."""
    new = sum(not item["familiar"] for item in served.items)
    return {
        "recommendation_id": str(served.pk),
        "user_id": served.listener_id,
        "model_version": versions_of(served),
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
                "song": shown(served.cards[item["song"]]),
                "cluster": cluster_shown(item["cluster"], item["cluster_name"]),
                "affinity": item["affinity"],
                "propensity": item["propensity"],
                "familiar": item["familiar"],
                "reason": item["reason"],
            }
            for rank, item in enumerate(served.items, 1)
        ],
    }


def versions_of(served: ServedList) -> str | None:
    """The label of the version that drew it; of both, the champion's first, where they took turns."""
    if served.version is None:
        return None
    rival = served.challenger_candidate_list.version if served.challenger_candidate_list else None
    return f"{served.version.label}+{rival.label}" if rival else served.version.label


def shown(card: Card) -> dict[str, Any]:
    return {
        "id": card.id, "name": card.name, "artist": card.artist, "album": card.album, "genres": card.genres,
        "duration": card.duration,
    }  # fmt: skip


def cluster_shown(number: int | None, name: str) -> dict[str, Any] | None:
    return None if number is None else {"id": number, "name": name}


def from_cluster(name: str, affinity: float) -> str:
    """The reason of a song that its cluster offered; `affinity` is a share, 0 to 1."""
    if affinity < LEAST_SHARE:
        return f"From {name}: new to you, close to what you listen to"
    return f"From {name}: {100 * affinity:.0f} % of your listening"


def from_popularity(genre: str) -> str:
    """The reason where nothing is known of the listener; `genre` is a favourite one, '' for none."""
    return f"Popular in {genre}, one of your favourite genres" if genre else "Popular with all listeners"


def since(heard_at: float, now: datetime) -> str:
    """The reason of a song heard long ago, in seconds since 1970; the year is named unless it is this one."""
    month = datetime.fromtimestamp(heard_at, UTC)
    year = "" if month.year == now.year else f" {month.year}"
    return f"You have not heard it since {MONTHS[month.month - 1]}{year}"


def _name(number: int | None, names: Mapping[int, str]) -> str:
    return "" if number is None else names.get(number, f"Cluster {number}")


def _favorites(listener_id: int) -> str:
    return str(Listener.objects.values_list("favorite_genres", flat=True).get(pk=listener_id))


def _last_heard(listener_id: int, now: datetime) -> dict[int, float]:
    known = listener_profiles.read([listener_id], now)[listener_id]
    return dict(zip(known.songs.tolist(), known.heard_at.tolist(), strict=True))

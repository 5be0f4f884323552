"""Lists of recommendations: drawn from a shelf, stored as they were served, continued and repeated."""

import secrets
from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import numpy as np
from django.db import transaction
from django.utils import timezone

from ingestion.models import Song
from recommender import listener_profiles
from recommender.engine.sampling.sampler import discovery_to_temperature
from recommender.models import ServedList
from recommender.models.served import read_song_cards
from recommender.registry import model_loader
from recommender.registry.model_loader import LoadedModel
from recommender.serving import candidate_cache, challenger, non_personalized, served_lists
from recommender.serving.candidate_cache import ServingCandidates
from recommender.serving.explanations import serialize_song
from recommender.serving.list_sampler import DrawOptions, ListPage
from recommender.serving.options import DISCOVERY, LIST_LENGTH, ServingOptions

# A player that asks for one song after another does not hear one twice within this time.
NO_REPEAT_WITHIN: Final = timedelta(hours=2)
MAX_RECENT_LISTS: Final = 100  # lists of one song
# So many more songs than asked for are looked at, for some may have gone since they were counted.
SPARE_SONGS: Final = 20


class UnknownListener(LookupError):
    """Nobody has this id."""

    def __init__(self, listener_id: int) -> None:
        super().__init__(f"There is no user {listener_id}.")
        self.listener_id = listener_id


class UnknownSong(LookupError):
    """No song has this id."""

    def __init__(self, song_id: int) -> None:
        super().__init__(f"There is no song {song_id}.")
        self.song_id = song_id


class UnknownList(LookupError):
    """No list was served under this id."""

    def __init__(self, list_id: UUID) -> None:
        super().__init__(f"There is no list {list_id}.")
        self.list_id = list_id


@dataclass(frozen=True)
class ClusterAffinity:
    """Attributes: affinity: share of what the listener plays, recent plays counting more; 0 to 1."""

    cluster_id: int
    name: str
    affinity: float
    plays: int


@dataclass(frozen=True)
class ReplayedPick:
    """What the draw decided of one item; its reason is told from it."""

    song: int
    cluster: int | None
    affinity: float
    propensity: float
    familiar: bool


@dataclass(frozen=True)
class ListReplay:
    """A list drawn a second time.

    Attributes:
        same: every pick and its propensity, to the last bit.
    """

    same: bool
    stored: list[ReplayedPick]
    drawn: list[ReplayedPick]


def recommend(
    listener_id: int,
    *,
    options: ServingOptions,
    n: int = LIST_LENGTH,
    discovery: float = DISCOVERY,
    exclude: Collection[int] = (),
    seed: str | None = None,
    now: datetime | None = None,
) -> ServedList:
    """Draw a list for a listener and store it as served; fewer than n songs where no more are eligible.

    Args:
        discovery: 0 familiar to 1 new; 0 is the ranking itself, without chance.
        exclude: song ids that may not be in it; unknown ones do no harm.
        seed: fixes the draw; None: a new one.

    Raises:
        UnknownListener: nobody has this id.
    """
    now = now or timezone.now()
    stocked = _load_candidates(listener_id, options, now)
    return _draw_and_store(
        stocked, _draw_options(options, discovery, seed), ListPage(n, tuple(exclude)), options, now
    )


def preview_list(
    listener_id: int,
    *,
    options: ServingOptions,
    n: int = LIST_LENGTH,
    discovery: float = DISCOVERY,
    seed: str | None = None,
) -> ServedList:
    """What `recommend` would serve; it is not stored, and does not count as served.

    Raises:
        UnknownListener: nobody has this id.
    """
    now = timezone.now()
    stocked = _load_candidates(listener_id, options, now)
    page = ListPage(n, served_lists.restrict_to_candidates(stocked.candidates, ()))
    return served_lists.draw_list(stocked, _draw_options(options, discovery, seed), page, now)


def continue_list(list_id: UUID, *, upto: int, options: ServingOptions) -> ServedList:
    """The list with at least `upto` songs, if as many are eligible: what was served stays, the draw goes on.

    Two requests for the same page get the same page.

    Raises:
        UnknownList: no list was served under this id.
    """
    with transaction.atomic():
        # Held: the second of two requests for a page finds it drawn.
        served = ServedList.objects.select_for_update().filter(pk=list_id).first()
        if served is None:
            raise UnknownList(list_id)
        if upto > len(served.items):
            loaded = model_loader.current_model(options.storage)
            served_lists.extend_list(served, upto - len(served.items), loaded, timezone.now())
    return served


def next_song(
    listener_id: int,
    *,
    after: int | None = None,
    discovery: float = DISCOVERY,
    options: ServingOptions,
    now: datetime | None = None,
) -> ServedList:
    """A list of one song: in the mood of the song `after`, and none that was given so within two hours.

    Raises:
        UnknownListener: nobody has this id.
        UnknownSong: no song has the id `after`.
    """
    now = now or timezone.now()
    stocked = _load_candidates(listener_id, options, now)
    excluded = _recently_given_songs(listener_id, now) | ({after} if after is not None else set())
    page = ListPage(1, tuple(excluded), _preferred_cluster(after, stocked.loaded))
    return _draw_and_store(stocked, _draw_options(options, discovery, None), page, options, now)


def replay_list(list_id: UUID) -> ListReplay:
    """Draw a served list again from its shelf as it was; whatever happened since changes nothing.

    Raises:
        UnknownList: no list was served under this id.
    """
    served = (
        ServedList.objects.select_related("candidate_list", "challenger_candidate_list")
        .filter(pk=list_id)
        .first()
    )
    if served is None:
        raise UnknownList(list_id)
    drawn = [
        ReplayedPick(pick.song, pick.cluster, pick.affinity, pick.propensity, pick.familiar)
        for pick in served_lists.redraw_list(served)
    ]
    stored = [
        ReplayedPick(item["song"], item["cluster"], item["affinity"], item["propensity"], item["familiar"])
        for item in served.items
    ]
    return ListReplay(drawn == stored, stored, drawn)


def listener_affinities(
    listener_id: int, *, options: ServingOptions, now: datetime | None = None
) -> list[ClusterAffinity]:
    """The clusters a listener plays, the dearest first; none without a model or without plays.

    Raises:
        UnknownListener: nobody has this id.
    """
    known = listener_profiles.read_profiles([listener_id], now or timezone.now()).get(listener_id)
    if known is None:
        raise UnknownListener(listener_id)
    model = model_loader.current_model(options.storage).model
    profile = known.model_profile(model.song_ids) if model else None
    if model is None or profile is None or not profile.plays.nnz:
        return []
    labels = model.scorer.labels[profile.plays.indices]
    plays = np.bincount(labels, profile.plays.data, len(model.clusters))
    return [
        ClusterAffinity(
            number, model.cluster_names[number], round(share, 4), round(plays[model.label_by_number[number]])
        )
        for number, share in model.cluster_affinities(profile).items()
    ]


def similar_songs(song_id: int, *, n: int = LIST_LENGTH, options: ServingOptions) -> list[dict[str, Any]]:
    """Songs for who likes this one, best first, each with its rank, song, cluster and score.

    Raises:
        UnknownSong: no song has this id.
    """
    found = non_personalized.find_similar_songs(
        song_id, model_loader.current_model(options.storage).model, timezone.now()
    )
    if found is None:
        raise UnknownSong(song_id)
    cards = read_song_cards(row.song for row in found)
    best = [row for row in found if cards[row.song].is_available][:n]
    return [
        {
            "rank": rank,
            "song": serialize_song(cards[row.song]),
            "cluster": row.cluster and {"id": row.cluster.number, "name": row.cluster.name},
            "score": round(row.score, 4),
        }
        for rank, row in enumerate(best, 1)
    ]


def popular_songs(
    *, n: int = LIST_LENGTH, days: int | None = None, now: datetime | None = None
) -> list[dict[str, Any]]:
    """The songs played most, each with its rank and plays; `days`: only what was played in so many counts."""
    charts = non_personalized.most_played_songs(now or timezone.now(), days)
    cards = read_song_cards(row.song for row in charts[: n + SPARE_SONGS])
    # A chart is minutes old: a song may have gone since.
    there = [row for row in charts[: n + SPARE_SONGS] if row.song in cards and cards[row.song].is_available][
        :n
    ]
    return [
        {"rank": rank, "song": serialize_song(cards[row.song]), "plays": row.plays}
        for rank, row in enumerate(there, 1)
    ]


def _load_candidates(listener_id: int, options: ServingOptions, now: datetime) -> ServingCandidates:
    stocked = candidate_cache.load_fresh(
        listener_id, model_loader.current_model(options.storage), options.storage, now
    )
    if stocked is None:
        raise UnknownListener(listener_id)
    return stocked


def _draw_and_store(
    stocked: ServingCandidates, terms: DrawOptions, page: ListPage, options: ServingOptions, now: datetime
) -> ServedList:
    """Draw and store a list as the test that it belongs to wants it."""
    rival = challenger.challenger_for(stocked.row.listener_id, stocked.loaded, options.storage, now)
    excluded = set(served_lists.restrict_to_candidates(stocked.candidates, page.excluded))
    if rival is not None and rival.candidates is not None:
        excluded |= set(served_lists.restrict_to_candidates(rival.candidates.candidates, page.excluded))
    page = replace(page, excluded=tuple(sorted(excluded)))
    served = served_lists.draw_and_store(stocked, terms, page, now, rival)
    challenger.record_exposure(served, rival)
    return served


def _draw_options(options: ServingOptions, discovery: float, seed: str | None) -> DrawOptions:
    return DrawOptions(
        seed or secrets.token_hex(16), discovery, discovery_to_temperature(discovery), options.artist_cap
    )


def _recently_given_songs(listener_id: int, now: datetime) -> set[int]:
    """Songs that were given one by one, as a player asks for them."""
    lately = ServedList.objects.filter(listener_id=listener_id, generated_at__gte=now - NO_REPEAT_WITHIN)
    items = lately.order_by("-generated_at").values_list("items", flat=True)[:MAX_RECENT_LISTS]
    return {of_one[0]["song"] for of_one in items if len(of_one) == 1}


def _preferred_cluster(after: int | None, loaded: LoadedModel) -> int | None:
    """The number of a song's cluster; None where no model knows the song."""
    if after is None:
        return None
    group = loaded.model.cluster_of(after) if loaded.model else None
    if group is None and not Song.objects.filter(pk=after).exists():
        raise UnknownSong(after)
    return group.number if group else None

"""Lists of recommendations: drawn from a shelf, stored as they were served, continued and repeated."""

import secrets
from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import numpy as np
from django.db import transaction
from django.utils import timezone

from ingestion.models import Song
from recommender import listener_profiles
from recommender.engine.sampling.sampler import temperature_of
from recommender.models import ServedList
from recommender.models.served import cards_of
from recommender.registry import model_loader
from recommender.registry.model_loader import Loaded
from recommender.serving import candidate_cache, challenger, non_personalized, served_lists
from recommender.serving.candidate_cache import Stocked
from recommender.serving.explanations import shown, told
from recommender.serving.list_sampler import Page, Terms

# A player that asks for one song after another does not hear one twice within this time.
NOT_AGAIN_WITHIN: Final = timedelta(hours=2)
MOST_REMEMBERED: Final = 100  # lists of one song
# So many more songs than asked for are looked at, for some may have gone since they were counted.
SPARE: Final = 20


@dataclass(frozen=True)
class Options:
    """What does not change from request to request.

    Attributes:
        storage: where the models' artifacts are.
        artist_cap: at most so many songs an artist in a list; None: any number.
    """

    storage: Path
    artist_cap: int | None = 2


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
class Drawn:
    """What the draw decided of one item; its reason is told from it."""

    song: int
    cluster: int | None
    affinity: float
    propensity: float
    familiar: bool


@dataclass(frozen=True)
class Replay:
    """A list drawn a second time.

    Attributes:
        same: every pick and its propensity, to the last bit.
    """

    same: bool
    stored: list[Drawn]
    drawn: list[Drawn]


def recommend(
    listener_id: int,
    *,
    options: Options,
    n: int = 20,
    discovery: float = 0.3,
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
    stocked = _stocked(listener_id, options, now)
    return _served(stocked, _terms(options, discovery, seed), Page(n, tuple(exclude)), options, now)


def preview(
    listener_id: int, *, options: Options, n: int = 20, discovery: float = 0.3, seed: str | None = None
) -> ServedList:
    """What `recommend` would serve; it is not stored, and does not count as served.

    Raises:
        UnknownListener: nobody has this id.
    """
    now = timezone.now()
    stocked = _stocked(listener_id, options, now)
    page = Page(n, served_lists.on_shelf(stocked.content, ()))
    return served_lists.drawn(stocked, _terms(options, discovery, seed), page, now)


def more(list_id: UUID, *, upto: int, options: Options) -> ServedList:
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
            loaded = model_loader.current(options.storage)
            served_lists.go_on(served, upto - len(served.items), loaded, timezone.now())
    return served


def next_song(
    listener_id: int,
    *,
    after: int | None = None,
    discovery: float = 0.3,
    options: Options,
    now: datetime | None = None,
) -> ServedList:
    """A list of one song: in the mood of the song `after`, and none that was given so within two hours.

    Raises:
        UnknownListener: nobody has this id.
        UnknownSong: no song has the id `after`.
    """
    now = now or timezone.now()
    stocked = _stocked(listener_id, options, now)
    excluded = _given_lately(listener_id, now) | ({after} if after is not None else set())
    page = Page(1, tuple(excluded), _mood(after, stocked.loaded))
    return _served(stocked, _terms(options, discovery, None), page, options, now)


def replay(list_id: UUID) -> Replay:
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
        Drawn(pick.song, pick.cluster, pick.affinity, pick.propensity, pick.familiar)
        for pick in served_lists.redraw(served)
    ]
    stored = [
        Drawn(item["song"], item["cluster"], item["affinity"], item["propensity"], item["familiar"])
        for item in served.items
    ]
    return Replay(drawn == stored, stored, drawn)


def affinities_of(
    listener_id: int, *, options: Options, now: datetime | None = None
) -> list[ClusterAffinity]:
    """The clusters a listener plays, the dearest first; none without a model or without plays.

    Raises:
        UnknownListener: nobody has this id.
    """
    known = listener_profiles.read([listener_id], now or timezone.now()).get(listener_id)
    if known is None:
        raise UnknownListener(listener_id)
    model = model_loader.current(options.storage).model
    profile = known.profile(model.song_ids) if model else None
    if model is None or profile is None or not profile.plays.nnz:
        return []
    labels = model.learnt.labels[profile.plays.indices]
    plays = np.bincount(labels, profile.plays.data, len(model.groups))
    return [
        ClusterAffinity(number, model.names[number], round(share, 4), round(plays[model.labels[number]]))
        for number, share in model.shares(profile).items()
    ]


def similar(song_id: int, *, n: int = 20, options: Options) -> list[dict[str, Any]]:
    """Songs for who likes this one, best first, each with its rank, song, cluster and score.

    Raises:
        UnknownSong: no song has this id.
    """
    found = non_personalized.similar(song_id, model_loader.current(options.storage).model, timezone.now())
    if found is None:
        raise UnknownSong(song_id)
    cards = cards_of(row.song for row in found)
    best = [row for row in found if cards[row.song].is_available][:n]
    return [
        {
            "rank": rank,
            "song": shown(cards[row.song]),
            "cluster": row.group and {"id": row.group.number, "name": row.group.name},
            "score": round(row.score, 4),
        }
        for rank, row in enumerate(best, 1)
    ]


def popular(*, n: int = 20, days: int | None = None, now: datetime | None = None) -> list[dict[str, Any]]:
    """The songs played most, each with its rank and plays; `days`: only what was played in so many counts."""
    charts = non_personalized.charts(now or timezone.now(), days)
    cards = cards_of(row.song for row in charts[: n + SPARE])
    # A chart is minutes old: a song may have gone since.
    there = [row for row in charts[: n + SPARE] if row.song in cards and cards[row.song].is_available][:n]
    return [
        {"rank": rank, "song": shown(cards[row.song]), "plays": row.plays}
        for rank, row in enumerate(there, 1)
    ]


def describe(served: ServedList) -> dict[str, Any]:
    """The list as the API answers it; JSON can hold it."""
    return told(served)


def _stocked(listener_id: int, options: Options, now: datetime) -> Stocked:
    stocked = candidate_cache.fresh(listener_id, model_loader.current(options.storage), options.storage, now)
    if stocked is None:
        raise UnknownListener(listener_id)
    return stocked


def _served(stocked: Stocked, terms: Terms, page: Page, options: Options, now: datetime) -> ServedList:
    """Draw and store a list as the test that it belongs to wants it."""
    rival = challenger.of(stocked.row.listener_id, stocked.loaded, options.storage, now)
    excluded = set(served_lists.on_shelf(stocked.content, page.excluded))
    if rival is not None and rival.stocked is not None:
        excluded |= set(served_lists.on_shelf(rival.stocked.content, page.excluded))
    page = replace(page, excluded=tuple(sorted(excluded)))
    served = served_lists.serve(stocked, terms, page, now, rival)
    challenger.note(served, rival)
    return served


def _terms(options: Options, discovery: float, seed: str | None) -> Terms:
    return Terms(seed or secrets.token_hex(16), discovery, temperature_of(discovery), options.artist_cap)


def _given_lately(listener_id: int, now: datetime) -> set[int]:
    """Songs that were given one by one, as a player asks for them."""
    lately = ServedList.objects.filter(listener_id=listener_id, generated_at__gte=now - NOT_AGAIN_WITHIN)
    items = lately.order_by("-generated_at").values_list("items", flat=True)[:MOST_REMEMBERED]
    return {of_one[0]["song"] for of_one in items if len(of_one) == 1}


def _mood(after: int | None, loaded: Loaded) -> int | None:
    """The number of a song's cluster; None where no model knows the song."""
    if after is None:
        return None
    group = loaded.model.group_of(after) if loaded.model else None
    if group is None and not Song.objects.filter(pk=after).exists():
        raise UnknownSong(after)
    return group.number if group else None

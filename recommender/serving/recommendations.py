"""Recommendations for a listener: lists, next pages, next songs, previews, replays."""

import logging
import secrets
from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple
from uuid import UUID

import numpy as np
from django.db import DatabaseError, transaction
from django.db.models import QuerySet
from django.utils import timezone

from ingestion.api.query_params import is_possible_id
from ingestion.jobs.database_patience import is_unwritable
from ingestion.models import Song
from recommender import listener_profiles
from recommender.engine.sampling.impressions import WINDOW_DAYS, sum_impressions
from recommender.engine.sampling.sampler import discovery_to_temperature
from recommender.models import ServedList, sql
from recommender.models.served import read_song_cards
from recommender.registry import model_loader
from recommender.registry.model_loader import LoadedModel
from recommender.serving import challenger, served_lists
from recommender.serving.candidates import candidate_cache, popular_and_similar_songs
from recommender.serving.candidates.candidate_cache import ServingCandidates
from recommender.serving.candidates.new_songs import new_songs_of, songs_by_played_artists
from recommender.serving.list_limits import DISCOVERY, LIST_LENGTH, MAX_CANDIDATES, Mode, ServingOptions
from recommender.serving.list_sampler import DrawOptions, ListPage
from recommender.serving.reasons.explanations import serialize_song

logger = logging.getLogger(__name__)

# A player that requests one song after another gets no song twice within this time.
NO_REPEAT_WITHIN: Final = timedelta(hours=2)
MAX_RECENT_LISTS: Final = 100  # lists of one song
# Number of lists that count as impressions; at one list a day more than the whole window.
MAX_IMPRESSION_LISTS: Final = 100
# This many more popular songs are read than needed, since some may have become unavailable.
SPARE_SONGS: Final = 20
# A list of n songs is drawn from at least so many times n candidates, if the catalogue has them: most are
# kept out by the artist cap.
CANDIDATES_PER_SONG: Final = 4


class UnknownListener(LookupError):
    def __init__(self, listener_id: int) -> None:
        super().__init__(f"There is no user {listener_id}.")
        self.listener_id = listener_id


class UnknownSong(LookupError):
    def __init__(self, song_id: int) -> None:
        super().__init__(f"There is no song {song_id}.")
        self.song_id = song_id


class UnknownList(LookupError):
    def __init__(self, list_id: UUID) -> None:
        super().__init__(f"There is no list {list_id}.")
        self.list_id = list_id


@dataclass(frozen=True)
class ClusterAffinity:
    cluster_id: int
    name: str
    affinity: float  # the cluster's share of the listener's plays, weighted by recency; 0 to 1
    plays: int


@dataclass(frozen=True)
class ReplayedPick:
    song: int
    cluster: int | None
    affinity: float
    propensity: float
    familiar: bool


@dataclass(frozen=True)
class ListReplay:
    same: bool  # whether every pick and its propensity agree to the last bit
    stored: list[ReplayedPick]
    drawn: list[ReplayedPick]


def recommend(
    listener_id: int,
    *,
    options: ServingOptions,
    n: int = LIST_LENGTH,
    discovery: float = DISCOVERY,
    mode: Mode = Mode.MIX,
    repeats: float = 0.0,
    exclude: Collection[int] = (),
    seed: str | None = None,
    now: datetime | None = None,
    asked_by: str = "",
    store: bool = True,
) -> ServedList:
    """Draw a list for a listener and store it.

    Limits are relaxed if too few songs are eligible (`Limit`); recently shown songs are less likely
    (`engine.sampling.impressions`).

    Args:
        discovery: share of new artists, 0 to 1; at 0 the list is the ranking itself, without chance.
        repeats: share of favourites in a mix, 0 to 1; the other modes ignore it.
        exclude: song ids; unknown ones are ignored.
        asked_by: who asked for the list; stored with it.
        store: if False, nothing is stored, and the listener takes part in no experiment.

    Raises:
        UnknownListener: there is no listener with this id.
    """
    now = now or timezone.now()
    candidates = _load_candidates(listener_id, options, now, store=store)
    page = ListPage(n, tuple(exclude))
    if store and exclude and _excludes_too_many(candidates, exclude, n):
        candidates = candidate_cache.generate_without(candidates, exclude, now) or candidates
    draw_options = _draw_options(listener_id, options, discovery, seed, now, mode, repeats)
    return _draw_and_store(candidates, draw_options, page, options, now, asked_by, store=store)


def preview_list(
    listener_id: int,
    *,
    options: ServingOptions,
    n: int = LIST_LENGTH,
    discovery: float = DISCOVERY,
    seed: str | None = None,
) -> ServedList:
    """The list that `recommend` would draw outside experiments, without storing it."""
    return recommend(listener_id, options=options, n=n, discovery=discovery, seed=seed, store=False)


def continue_list(list_id: UUID, *, upto: int, options: ServingOptions) -> ServedList:
    """Extend a list to at least `upto` songs, if enough are eligible; songs served before stay.

    Two requests for the same page get the same page. `is_stored` is False if the database can't store it.

    Raises:
        UnknownList: there is no list with this id.
    """
    try:
        with transaction.atomic():
            # Locked, so that the second of two requests for the same page finds the page drawn.
            rows = ServedList.objects.select_for_update()
            return _extend_to(rows, list_id, upto, options, store=True)
    except DatabaseError as error:
        if not is_unwritable(error):
            raise
        logger.warning("list_not_stored list=%s reason=%s", list_id, type(error).__name__)
    return _extend_to(ServedList.objects.all(), list_id, upto, options, store=False)


def _extend_to(
    rows: QuerySet[ServedList], list_id: UUID, upto: int, options: ServingOptions, *, store: bool
) -> ServedList:
    served = rows.filter(pk=list_id).first()
    if served is None:
        raise UnknownList(list_id)
    if upto > len(served.items):
        loaded = model_loader.current_model(options.storage)
        count = upto - len(served.items)
        served_lists.extend_list(served, count, loaded, timezone.now(), store=store)
        served.is_stored = store
    return served


def next_song(
    listener_id: int,
    *,
    after: int | None = None,
    discovery: float = DISCOVERY,
    mode: Mode = Mode.MIX,
    repeats: float = 0.0,
    options: ServingOptions,
    now: datetime | None = None,
    asked_by: str = "",
    store: bool = True,
) -> ServedList:
    """A list of one song, preferably from the cluster of the song `after`.

    Songs returned in the last two hours are left out as long as others remain.

    Raises:
        UnknownListener: there is no listener with this id.
        UnknownSong: no song has the id `after`.
    """
    now = now or timezone.now()
    candidates = _load_candidates(listener_id, options, now, store=store)
    given = _recently_given_songs(listener_id, now)
    avoided = [song for song in given if song != after]
    if after is not None:
        avoided.append(after)
    # Songs served one by one keep the share of new artists together, like the places of a list.
    asked = (discovery, mode.value, repeats if mode == Mode.MIX else 0.0)
    before = [one for one in given.values() if one.asked == asked]
    page = ListPage(
        1, (), _preferred_cluster(after, candidates.loaded), tuple(avoided),
        given_before=(len(before), sum(one.is_new for one in before), sum(one.is_heard for one in before)),
    )  # fmt: skip
    draw_options = _draw_options(listener_id, options, discovery, None, now, mode, repeats)
    return _draw_and_store(candidates, draw_options, page, options, now, asked_by, store=store)


def replay_list(list_id: UUID) -> ListReplay:
    """Draw a served list again from its stored candidates; later events do not change the result.

    Raises:
        UnknownList: there is no list with this id.
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
    """A listener's cluster affinities, highest first; empty without a model or plays.

    Raises:
        UnknownListener: there is no listener with this id.
    """
    profile = None
    if is_possible_id(listener_id):
        profile = listener_profiles.read_profile(listener_id, now or timezone.now())
    if profile is None:
        raise UnknownListener(listener_id)
    model = model_loader.current_model(options.storage).model
    row = profile.model_profile(model.song_ids) if model else None
    if model is None or row is None or not row.plays.nnz:
        return []
    labels = model.scorer.labels[row.plays.indices]
    counts = listener_profiles.build_sparse_row(model.song_ids, profile.songs, profile.play_counts)
    plays = np.bincount(labels, counts.data, len(model.clusters))
    return [
        ClusterAffinity(
            number, model.cluster_names[number], round(share, 6), round(plays[model.label_by_number[number]])
        )
        for number, share in model.cluster_affinities(row).items()
    ]


def similar_songs(song_id: int, *, n: int = LIST_LENGTH, options: ServingOptions) -> list[dict[str, Any]]:
    """Available songs similar to a song, best first, with rank, song, cluster and score.

    Raises:
        UnknownSong: there is no song with this id.
    """
    model = model_loader.current_model(options.storage).model
    found = popular_and_similar_songs.find_similar_songs(song_id, model, timezone.now())
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


def new_releases(
    listener_id: int, *, n: int = LIST_LENGTH, options: ServingOptions, now: datetime | None = None
) -> list[dict[str, Any]]:
    """Unplayed new songs by played artists, with rank, song, cluster and artist share.

    Raises:
        UnknownListener: there is no listener with this id.
    """
    profile = listener_profiles.read_profile(listener_id, now or timezone.now())
    if profile is None:
        raise UnknownListener(listener_id)
    model = model_loader.current_model(options.storage).model
    catalogue = new_songs_of(model, profile.run_id) if model else None
    if model is None or catalogue is None:
        return []
    found = songs_by_played_artists(catalogue, profile, model)
    ids = catalogue.ids[found.places].tolist()
    cards = read_song_cards(ids)
    rows = [
        (song, place, share)
        for song, place, share in zip(ids, found.places, found.values, strict=True)
        if cards[song].is_available
    ]
    clusters = [model.clusters[label] for label in catalogue.songs.labels.tolist()]
    return [
        {
            "rank": rank,
            "song": serialize_song(cards[song]),
            "cluster": {"id": clusters[place].number, "name": clusters[place].name},
            "artist_share": round(float(share), 4),
        }
        for rank, (song, place, share) in enumerate(rows[:n], 1)
    ]


def popular_songs(
    *, n: int = LIST_LENGTH, days: int | None = None, now: datetime | None = None
) -> list[dict[str, Any]]:
    """The songs with the most listeners, with rank, listeners and plays.

    Args:
        days: only the last days; None: a listener counts less the older their last play is.
    """
    rows = popular_and_similar_songs.most_played_songs(now or timezone.now(), days)[: n + SPARE_SONGS]
    cards = read_song_cards(row.song for row in rows)
    # The counts are up to ten minutes old, and a song may have become unavailable since.
    available = [row for row in rows if row.song in cards and cards[row.song].is_available]
    return [
        {
            "rank": rank,
            "song": serialize_song(cards[row.song]),
            "listeners": row.listeners,
            "plays": row.plays,
        }
        for rank, row in enumerate(available[:n], 1)
    ]


def renew_candidates(listener_id: int, *, options: ServingOptions, now: datetime) -> None:
    """Renew lists that lack events, also the challenger's of a running experiment."""
    loaded = model_loader.current_model(options.storage)
    candidates = candidate_cache.load_fresh(listener_id, loaded, options.storage, now)
    if candidates is not None and candidates.row.pk is not None:
        challenger.challenger_for(candidates, options.storage, now)


def _load_candidates(
    listener_id: int, options: ServingOptions, now: datetime, *, store: bool = True
) -> ServingCandidates:
    loaded = model_loader.current_model(options.storage)
    candidates = None
    if is_possible_id(listener_id):
        candidates = candidate_cache.load_fresh(
            listener_id, loaded, options.storage, now, store=store,
            request_renewal=options.request_renewal if store else None,
        )  # fmt: skip
    if candidates is None:
        raise UnknownListener(listener_id)
    return candidates


def _excludes_too_many(candidates: ServingCandidates, exclude: Collection[int], n: int) -> bool:
    songs = candidates.candidates.songs
    left = len(songs) - len(set(songs.tolist()).intersection(exclude))
    # A shorter candidate list has all songs of the catalogue already.
    return left < min(CANDIDATES_PER_SONG * n, MAX_CANDIDATES // 2) and len(songs) == MAX_CANDIDATES


def _draw_and_store(
    candidates: ServingCandidates,
    draw_options: DrawOptions,
    page: ListPage,
    options: ServingOptions,
    now: datetime,
    asked_by: str,
    *,
    store: bool,
) -> ServedList:
    """Draw and store a list, with the challenger's part if an experiment includes the listener.

    If nothing can be stored, the list is served all the same, and belongs to no experiment.
    """
    can_store = store and candidates.row.pk is not None
    # Favourites do not depend on the model.
    is_tested = can_store and draw_options.mode != Mode.FAVOURITES
    part = challenger.challenger_for(candidates, options.storage, now) if is_tested else None
    arrays = [candidates.candidates]
    if part is not None and part.candidates is not None:
        arrays.append(part.candidates.candidates)
    if page.excluded or page.avoided:
        known = served_lists.all_songs(arrays)
        page = replace(
            page,
            excluded=tuple(sorted(known.intersection(page.excluded))),
            avoided=tuple(song for song in page.avoided if song in known),
        )
    if not store:
        served = served_lists.draw_list(candidates, draw_options, page, now)
        served.is_stored = False
        return served
    served = served_lists.draw_and_store(candidates, draw_options, page, now, part, asked_by=asked_by)
    if served.is_stored:
        challenger.record_exposure(served, part)
    return served


def _draw_options(
    listener_id: int,
    options: ServingOptions,
    discovery: float,
    seed: str | None,
    now: datetime,
    mode: Mode = Mode.MIX,
    repeats: float = 0.0,
) -> DrawOptions:
    shown = sql.recently_shown_songs(listener_id, now, WINDOW_DAYS, MAX_IMPRESSION_LISTS)
    return DrawOptions(
        seed or secrets.token_hex(16), discovery, discovery_to_temperature(discovery), options.artist_cap,
        sum_impressions(shown), mode, repeats if mode == Mode.MIX else 0.0,
    )  # fmt: skip


class GivenSong(NamedTuple):
    asked: tuple[float, str, float]  # discovery, mode and repeats
    is_new: bool  # whether its artist was new to the listener
    is_heard: bool


def _recently_given_songs(listener_id: int, now: datetime) -> dict[int, GivenSong]:
    """Songs of one-song lists served within NO_REPEAT_WITHIN, the one served longest ago first."""
    recent = ServedList.objects.filter(listener_id=listener_id, generated_at__gte=now - NO_REPEAT_WITHIN)
    lists = recent.order_by("-generated_at").values_list("items", "discovery", "mode", "repeats")
    given: dict[int, GivenSong] = {}
    for items, discovery, mode, repeats in lists[:MAX_RECENT_LISTS]:
        if len(items) == 1:
            # Of a song that was given twice, the later time counts.
            item = items[0]
            asked = (discovery, mode, repeats)
            song = GivenSong(asked, is_new=not item["familiar"], is_heard=item.get("heard", False))
            given.setdefault(item["song"], song)
    return dict(reversed(given.items()))


def _preferred_cluster(after: int | None, loaded: LoadedModel) -> int | None:
    if after is None:
        return None
    cluster = loaded.model.cluster_of(after) if loaded.model else None
    if cluster is None and not Song.objects.filter(pk=after).exists():
        raise UnknownSong(after)
    return cluster.number if cluster else None

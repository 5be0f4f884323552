"""Draws, stores, continues and replays served lists."""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from django.db import DatabaseError

from ingestion.jobs.database_patience import is_unwritable
from recommender import listener_profiles
from recommender.engine.sampling import candidate_codec
from recommender.engine.sampling.candidate_codec import CandidateArrays
from recommender.models import CandidateList, Experiment, ServedList, sql
from recommender.models.served import SongCard, read_song_cards
from recommender.registry.model_loader import LoadedModel, ServingModel
from recommender.serving.candidates.candidate_cache import ServingCandidates
from recommender.serving.list_limits import Mode
from recommender.serving.list_sampler import (
    DrawOptions,
    InterleavedSampler,
    ListPage,
    ListSampler,
    PageSampler,
    PickedSong,
)
from recommender.serving.reasons.explanations import ReasonContext, build_items, cluster_names_for

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ChallengerPart:
    experiment: Experiment
    arm: ServedList.Arm  # interleaved, or the challenger or the champion alone
    candidates: ServingCandidates | None = None  # the challenger's; None if the champion serves alone
    seconds: float = 0.0  # how long loading the candidates took

    @property
    def is_interleaved(self) -> bool:
        return self.arm == ServedList.Arm.INTERLEAVED


def draw_and_store(
    candidates: ServingCandidates,
    options: DrawOptions,
    page: ListPage,
    now: datetime,
    challenger: ChallengerPart | None = None,
    *,
    asked_by: str = "",
) -> ServedList:
    """Draw the first page and store it with one insert, if the disk is not full.

    Lists of an experiment are timed.
    """
    begun = time.perf_counter()
    served = draw_list(candidates, options, page, now, challenger)
    if challenger is not None:
        took = time.perf_counter() - begun + challenger.seconds
        served.milliseconds = round(1_000 * took, 3)
        served.challenger_milliseconds = round(1_000 * challenger.seconds, 3)
    served.asked_by = asked_by
    _store(served)
    return served


def _store(served: ServedList) -> None:
    rows = [served.candidate_list, served.challenger_candidate_list]
    if all(row is None or row.pk is not None for row in rows):
        try:
            sql.insert_row(served)
            return
        except DatabaseError as error:
            if not is_unwritable(error):
                raise
            logger.warning("list_not_stored listener=%s reason=%s", served.listener_id, type(error).__name__)
    served.is_stored = False


def draw_list(
    candidates: ServingCandidates,
    options: DrawOptions,
    page: ListPage,
    now: datetime,
    challenger: ChallengerPart | None = None,
) -> ServedList:
    drawn_from, interleaved_with = candidates, None
    if challenger is not None and challenger.candidates is not None:
        if challenger.is_interleaved:
            interleaved_with = challenger.candidates
        else:
            drawn_from = challenger.candidates
    row, loaded = drawn_from.row, drawn_from.loaded
    sources = [one for one in (drawn_from, interleaved_with) if one is not None]
    arrays = [one.candidates for one in sources]
    songs = all_songs(arrays)
    for source in sources:
        if source.lacks_events:
            page = page.excluding(sorted(songs & _excluded_since(source.row)))
    shown = options.impressions
    shown_candidates = sorted(shown.keys() & songs)
    options = replace(
        options, impressions={song: shown[song] for song in shown_candidates}, drawn_at=now.timestamp()
    )
    context = ReasonContext(row.listener_id, now, arrays, candidates.profile)
    page, picks, cards = _draw_available(_sampler_for(arrays, options), page, arrays, context)
    for source in sources:
        _set_version(source)
    model = loaded.model if loaded.model and loaded.model.version.pk == row.version_id else None
    names = _cluster_names([(one.loaded, one.row.version_id) for one in sources])
    served = ServedList(
        listener_id=row.listener_id,
        candidate_list=row,
        version=model.version if model else row.version,
        arm=_arm(model, loaded, challenger),
        generated_at=now,
        stale=drawn_from.stale,
        discovery=options.discovery,
        mode=options.mode.value,
        repeats=options.repeats,
        temperature=options.temperature,
        artist_cap=options.artist_cap,
        seed=options.seed,
        impressions={str(song): count for song, count in options.impressions.items()},
        experiment=challenger.experiment if challenger else None,
        challenger_candidate_list=interleaved_with.row if interleaved_with else None,
        pages=[page.as_json()],
        items=build_items(picks, cards, names, context),
        song_ids=[pick.song for pick in picks],
    )
    served.cards = cards
    return served


def extend_list(
    served: ServedList, count: int, loaded: LoadedModel, now: datetime, *, store: bool = True
) -> None:
    """Draw and store `count` more songs, without songs played or rated since the first page.

    Args:
        store: False while the database can't store anything: drawn for this answer alone.
    """
    arrays = _stored_candidates(served)
    sampler = _sampler_for(arrays, stored_draw_options(served))
    pages = [ListPage.from_json(page) for page in served.pages]
    for page in pages:
        sampler.draw_page(page)
    row = served.candidate_list
    excluded = listener_profiles.excluded_since(row.listener_id, row.history_at, row.feedback_id)
    page = ListPage(count, pages[0].excluded, given_before=pages[0].given_before)
    page = page.excluding(excluded.intersection(all_songs(arrays)))
    context = ReasonContext(served.listener_id, now, arrays)
    page, picks, cards = _draw_available(sampler, page, arrays, context)
    if picks:
        rows = [one for one in (row, served.challenger_candidate_list) if one is not None]
        names = _cluster_names([(loaded, one.version_id) for one in rows])
        served.pages = [*served.pages, page.as_json()]
        served.items = [*served.items, *build_items(picks, cards, names, context)]
        served.song_ids = [item["song"] for item in served.items]
        if store:
            served.save(update_fields=["pages", "items", "song_ids"])


def redraw_list(served: ServedList) -> list[PickedSong]:
    sampler = _sampler_for(_stored_candidates(served), stored_draw_options(served))
    return [pick for page in served.pages for pick in sampler.draw_page(ListPage.from_json(page))]


def _stored_candidates(served: ServedList) -> list[CandidateArrays]:
    rows = (served.candidate_list, served.challenger_candidate_list)
    return [candidate_codec.decode_candidates(bytes(row.candidates)) for row in rows if row is not None]


def stored_draw_options(served: ServedList) -> DrawOptions:
    impressions = {int(song): count for song, count in (served.impressions or {}).items()}
    return DrawOptions(
        served.seed, served.discovery, served.temperature, served.artist_cap, impressions, Mode(served.mode),
        served.repeats, served.generated_at.timestamp(),
    )  # fmt: skip


def _sampler_for(arrays: Sequence[CandidateArrays], options: DrawOptions) -> PageSampler:
    if len(arrays) == 1:
        return ListSampler(arrays[0], options)
    champion, challenger = arrays
    return InterleavedSampler(champion, challenger, options)


def all_songs(arrays: Sequence[CandidateArrays]) -> set[int]:
    return {song for one in arrays for song in one.songs.tolist()}


def _cluster_names(sources: Sequence[tuple[LoadedModel, int | None]]) -> dict[int, str]:
    return {
        number: name
        for loaded, version_id in reversed(sources)
        for number, name in cluster_names_for(loaded, version_id).items()
    }


def _set_version(candidates: ServingCandidates) -> None:
    """Set the version of the candidates' row, so that nothing queries it."""
    model = candidates.loaded.model
    if model is not None and model.version.pk == candidates.row.version_id:
        candidates.row.version = model.version


def _arm(
    model: ServingModel | None, loaded: LoadedModel, challenger: ChallengerPart | None
) -> ServedList.Arm:
    if model is None or loaded.degraded is not None:
        return ServedList.Arm.FALLBACK
    return challenger.arm if challenger else ServedList.Arm.CHAMPION


def _draw_available(
    sampler: PageSampler, page: ListPage, arrays: Sequence[CandidateArrays], context: ReasonContext
) -> tuple[ListPage, list[PickedSong], dict[int, SongCard]]:
    """A page of available songs, with the details of these songs and of those in their reasons."""
    picks = sampler.draw_page(page)
    cards = read_song_cards({*(pick.song for pick in picks), *context.named_songs(picks)})
    if not all(pick.song in cards and cards[pick.song].is_available for pick in picks):
        # If one song is unavailable, others may be too: one query for all candidates replaces one per draw.
        sampler.undo_last(len(picks))
        songs = sorted(all_songs(arrays))
        known = read_song_cards(songs)
        page = page.excluding(song for song in songs if song not in known or not known[song].is_available)
        picks = sampler.draw_page(page)
        cards = known | read_song_cards(context.named_songs(picks))
    context.use_cards(cards)
    return page, picks, cards


def _excluded_since(row: CandidateList) -> set[int]:
    return listener_profiles.excluded_since(row.listener_id, row.history_at, row.feedback_id)

"""A list as it is drawn and stored, continued and drawn again."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from recommender import listener_profiles
from recommender.engine.sampling import candidate_codec as packing
from recommender.models import Experiment, ServedList, sql
from recommender.models.served import SongCard, read_song_cards
from recommender.registry.model_loader import LoadedModel, ServingModel
from recommender.serving.candidate_cache import ServingCandidates
from recommender.serving.explanations import build_items, cluster_names_for
from recommender.serving.list_sampler import (
    DrawOptions,
    InterleavedSampler,
    ListPage,
    ListSampler,
    PageSampler,
    PickedSong,
)


def restrict_to_candidates(content: packing.CandidateArrays, songs: Iterable[int]) -> tuple[int, ...]:
    """Those that could be drawn at all: what is stored for a replay stays small, whatever was sent."""
    wanted = set(songs)
    return tuple(sorted(wanted.intersection(content.songs.tolist()))) if wanted else ()


@dataclass(frozen=True)
class ChallengerPart:
    """What a list has to do with a test.

    Attributes:
        arm: interleaved, or the challenger or the champion alone.
        stocked: the challenger's shelf; None where the champion serves alone.
        seconds: how long that took.
    """

    experiment: Experiment
    arm: ServedList.Arm
    candidates: ServingCandidates | None = None
    seconds: float = 0.0

    @property
    def is_interleaved(self) -> bool:
        return self.arm == ServedList.Arm.INTERLEAVED


def draw_and_store(
    candidates: ServingCandidates,
    options: DrawOptions,
    page: ListPage,
    now: datetime,
    challenger: ChallengerPart | None = None,
) -> ServedList:
    """Draw a list's first page and store it, in one insert; `rival`: as a test wants it."""
    begun = time.perf_counter()
    served = draw_list(candidates, options, page, now, challenger)
    if challenger is not None:
        took = time.perf_counter() - begun + challenger.seconds
        served.milliseconds = round(1_000 * took, 3)
        served.challenger_milliseconds = round(1_000 * challenger.seconds, 3)
    sql.insert_row(served)
    return served


def draw_list(
    candidates: ServingCandidates,
    options: DrawOptions,
    page: ListPage,
    now: datetime,
    challenger: ChallengerPart | None = None,
) -> ServedList:
    """A list's first page, not stored."""
    other = challenger.candidates if challenger else None
    if challenger is not None and other is not None and not challenger.is_interleaved:
        candidates, other = other, None
    row, loaded = candidates.row, candidates.loaded
    if candidates.stale:
        page = page.excluding(_excluded_since(candidates))
    drawing, songs = _build_sampler(candidates.candidates, other.candidates if other else None, options)
    page, picks, cards = _draw_available(drawing, page, songs)
    model = loaded.model if loaded.model and loaded.model.version.pk == row.version_id else None
    names = cluster_names_for(loaded, row.version_id)
    if other is not None:
        names = {**cluster_names_for(other.loaded, other.row.version_id), **names}
    served = ServedList(
        listener_id=row.listener_id,
        candidate_list=row,
        version=model.version if model else row.version,
        arm=_arm(model, loaded, challenger),
        generated_at=now,
        stale=candidates.stale,
        discovery=options.discovery,
        temperature=options.temperature,
        artist_cap=options.artist_cap,
        seed=options.seed,
        experiment=challenger.experiment if challenger else None,
        challenger_candidate_list=other.row if other else None,
        pages=[page.as_json()],
        items=build_items(picks, cards, row.listener_id, names, now),
    )
    served.cards = cards
    return served


def extend_list(served: ServedList, count: int, loaded: LoadedModel, now: datetime) -> None:
    """Draw and store `count` more songs; what the listener said since the first is respected."""
    drawing, songs = _stored_sampler(served)
    pages = [ListPage.from_json(page) for page in served.pages]
    for page in pages:
        drawing.draw_page(page)
    row = served.candidate_list
    barred = listener_profiles.excluded_since(row.listener_id, row.history_at, row.feedback_id)
    page = ListPage(count, pages[0].excluded).excluding(barred.intersection(songs))
    page, picks, cards = _draw_available(drawing, page, songs)
    if picks:
        names = cluster_names_for(loaded, served.candidate_list.version_id)
        if served.challenger_candidate_list is not None:
            names = {**cluster_names_for(loaded, served.challenger_candidate_list.version_id), **names}
        served.pages = [*served.pages, page.as_json()]
        served.items = [*served.items, *build_items(picks, cards, served.listener_id, names, now)]
        served.save(update_fields=["pages", "items"])


def redraw_list(served: ServedList) -> list[PickedSong]:
    """Draw every page again, from the shelves as they were."""
    drawing, _ = _stored_sampler(served)
    return [pick for page in served.pages for pick in drawing.draw_page(ListPage.from_json(page))]


def _stored_sampler(served: ServedList) -> tuple[PageSampler, list[int]]:
    other = served.challenger_candidate_list
    return _build_sampler(
        packing.decode_candidates(bytes(served.candidate_list.candidates)),
        packing.decode_candidates(bytes(other.candidates)) if other else None,
        _stored_draw_options(served),
    )


def _build_sampler(
    content: packing.CandidateArrays, other: packing.CandidateArrays | None, options: DrawOptions
) -> tuple[PageSampler, list[int]]:
    """What draws from one shelf or from two, and all songs on them."""
    if other is None:
        return ListSampler(content, options), content.songs.tolist()
    songs = sorted({*content.songs.tolist(), *other.songs.tolist()})
    return InterleavedSampler(content, other, options), songs


def _arm(
    model: ServingModel | None, loaded: LoadedModel, challenger: ChallengerPart | None
) -> ServedList.Arm:
    if model is None or loaded.degraded is not None:
        return ServedList.Arm.FALLBACK
    return challenger.arm if challenger else ServedList.Arm.CHAMPION


def _draw_available(
    drawing: PageSampler, page: ListPage, songs: Sequence[int]
) -> tuple[ListPage, list[PickedSong], dict[int, SongCard]]:
    """The page's songs, all of them available: those that are gone are excluded, and the page drawn again."""
    picks = drawing.draw_page(page)
    cards = _available_cards(pick.song for pick in picks)
    if len(cards) == len(picks):
        return page, picks, cards
    # Where one song is gone others may be: all are looked at, rather than one draw after another.
    drawing.undo_last(len(picks))
    cards = _available_cards(songs)
    page = page.excluding(set(songs).difference(cards))
    return page, drawing.draw_page(page), cards


def _available_cards(songs: Iterable[int]) -> dict[int, SongCard]:
    return {song: card for song, card in read_song_cards(songs).items() if card.is_available}


def _excluded_since(candidates: ServingCandidates) -> tuple[int, ...]:
    """What was heard, skipped or disliked since the shelf was made."""
    row = candidates.row
    barred = listener_profiles.excluded_since(row.listener_id, row.history_at, row.feedback_id)
    return restrict_to_candidates(candidates.candidates, barred)


def _stored_draw_options(served: ServedList) -> DrawOptions:
    return DrawOptions(served.seed, served.discovery, served.temperature, served.artist_cap)

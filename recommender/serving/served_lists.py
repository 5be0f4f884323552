"""A list as it is drawn and stored, continued and drawn again."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import orjson
from django.db import connection
from django.db.models import DateTimeField, Field, JSONField, UUIDField

from recommender import listener_profiles
from recommender.engine.sampling import candidate_codec as packing
from recommender.models import Experiment, ServedList
from recommender.models.served import Card, cards_of
from recommender.registry.model_loader import Loaded, Model
from recommender.serving.candidate_cache import Stocked
from recommender.serving.explanations import items_of, names_of
from recommender.serving.list_sampler import Drawing, Draws, Page, PairDrawing, Picked, Terms

FIELDS: Final = ServedList._meta.concrete_fields
# Every list is stored by this. The ORM would write it anew each time, in as much time as the draw takes.
INSERT: Final = (
    f"INSERT INTO {ServedList._meta.db_table} ({', '.join(str(field.column) for field in FIELDS)}) "  # noqa: S608
    f"VALUES ({', '.join(['%s'] * len(FIELDS))})"
)


def on_shelf(content: packing.Shelf, songs: Iterable[int]) -> tuple[int, ...]:
    """Those that could be drawn at all: what is stored for a replay stays small, whatever was sent."""
    wanted = set(songs)
    return tuple(sorted(wanted.intersection(content.songs.tolist()))) if wanted else ()


@dataclass(frozen=True)
class Rival:
    """What a list has to do with a test.

    Attributes:
        arm: interleaved, or the challenger or the champion alone.
        stocked: the challenger's shelf; None where the champion serves alone.
        seconds: how long that took.
    """

    experiment: Experiment
    arm: ServedList.Arm
    stocked: Stocked | None = None
    seconds: float = 0.0

    @property
    def takes_turns(self) -> bool:
        return self.arm == ServedList.Arm.INTERLEAVED


def serve(
    stocked: Stocked, terms: Terms, page: Page, now: datetime, rival: Rival | None = None
) -> ServedList:
    """Draw a list's first page and store it, in one insert; `rival`: as a test wants it."""
    begun = time.perf_counter()
    served = drawn(stocked, terms, page, now, rival)
    if rival is not None:
        took = time.perf_counter() - begun + rival.seconds
        served.milliseconds = round(1_000 * took, 3)
        served.challenger_milliseconds = round(1_000 * rival.seconds, 3)
    _store(served)
    return served


def drawn(
    stocked: Stocked, terms: Terms, page: Page, now: datetime, rival: Rival | None = None
) -> ServedList:
    """A list's first page, not stored."""
    other = rival.stocked if rival else None
    if rival is not None and other is not None and not rival.takes_turns:
        stocked, other = other, None
    row, loaded = stocked.row, stocked.loaded
    if stocked.stale:
        page = page.without(_since(stocked))
    drawing, songs = _drawing(stocked.content, other.content if other else None, terms)
    page, picks, cards = _draw_available(drawing, page, songs)
    model = loaded.model if loaded.model and loaded.model.version.pk == row.version_id else None
    names = names_of(loaded, row.version_id)
    if other is not None:
        names = {**names_of(other.loaded, other.row.version_id), **names}
    served = ServedList(
        listener_id=row.listener_id,
        candidate_list=row,
        version=model.version if model else row.version,
        arm=_arm(model, loaded, rival),
        generated_at=now,
        stale=stocked.stale,
        discovery=terms.discovery,
        temperature=terms.temperature,
        artist_cap=terms.artist_cap,
        seed=terms.seed,
        experiment=rival.experiment if rival else None,
        challenger_candidate_list=other.row if other else None,
        pages=[page.as_json()],
        items=items_of(picks, cards, row.listener_id, names, now),
    )
    served.cards = cards
    return served


def go_on(served: ServedList, count: int, loaded: Loaded, now: datetime) -> None:
    """Draw and store `count` more songs; what the listener said since the first is respected."""
    drawing, songs = _again(served)
    pages = [Page.from_json(page) for page in served.pages]
    for page in pages:
        drawing.page(page)
    row = served.candidate_list
    barred = listener_profiles.barred_since(row.listener_id, row.history_at, row.feedback_id)
    page = Page(count, pages[0].excluded).without(barred.intersection(songs))
    page, picks, cards = _draw_available(drawing, page, songs)
    if picks:
        names = names_of(loaded, served.candidate_list.version_id)
        if served.challenger_candidate_list is not None:
            names = {**names_of(loaded, served.challenger_candidate_list.version_id), **names}
        served.pages = [*served.pages, page.as_json()]
        served.items = [*served.items, *items_of(picks, cards, served.listener_id, names, now)]
        served.save(update_fields=["pages", "items"])


def redraw(served: ServedList) -> list[Picked]:
    """Draw every page again, from the shelves as they were."""
    drawing, _ = _again(served)
    return [pick for page in served.pages for pick in drawing.page(Page.from_json(page))]


def _again(served: ServedList) -> tuple[Draws, list[int]]:
    other = served.challenger_candidate_list
    return _drawing(
        packing.unpack(bytes(served.candidate_list.candidates)),
        packing.unpack(bytes(other.candidates)) if other else None,
        _terms_of(served),
    )


def _drawing(content: packing.Shelf, other: packing.Shelf | None, terms: Terms) -> tuple[Draws, list[int]]:
    """What draws from one shelf or from two, and all songs on them."""
    if other is None:
        return Drawing(content, terms), content.songs.tolist()
    songs = sorted({*content.songs.tolist(), *other.songs.tolist()})
    return PairDrawing(content, other, terms), songs


def _arm(model: Model | None, loaded: Loaded, rival: Rival | None) -> ServedList.Arm:
    if model is None or loaded.degraded is not None:
        return ServedList.Arm.FALLBACK
    return rival.arm if rival else ServedList.Arm.CHAMPION


def _store(served: ServedList) -> None:
    with connection.cursor() as cursor:
        cursor.execute(INSERT, [_column(field, served) for field in FIELDS])
    served._state.adding, served._state.db = False, connection.alias  # noqa: SLF001 - as save() leaves it


def _column(field: "Field[Any, Any]", served: ServedList) -> Any:
    """A field's value as the database takes it."""
    value = getattr(served, field.attname)
    if isinstance(field, JSONField):
        return orjson.dumps(value).decode()
    if isinstance(field, DateTimeField | UUIDField):
        return field.get_db_prep_save(value, connection)
    return value


def _draw_available(
    drawing: Draws, page: Page, songs: Sequence[int]
) -> tuple[Page, list[Picked], dict[int, Card]]:
    """The page's songs, all of them available: those that are gone are excluded, and the page drawn again."""
    picks = drawing.page(page)
    cards = _available(pick.song for pick in picks)
    if len(cards) == len(picks):
        return page, picks, cards
    # Where one song is gone others may be: all are looked at, rather than one draw after another.
    drawing.drop(len(picks))
    cards = _available(songs)
    page = page.without(set(songs).difference(cards))
    return page, drawing.page(page), cards


def _available(songs: Iterable[int]) -> dict[int, Card]:
    return {song: card for song, card in cards_of(songs).items() if card.is_available}


def _since(stocked: Stocked) -> tuple[int, ...]:
    """What was heard, skipped or disliked since the shelf was made."""
    row = stocked.row
    barred = listener_profiles.barred_since(row.listener_id, row.history_at, row.feedback_id)
    return on_shelf(stocked.content, barred)


def _terms_of(served: ServedList) -> Terms:
    return Terms(served.seed, served.discovery, served.temperature, served.artist_cap)

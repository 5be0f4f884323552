"""A list as it is drawn and stored, continued and drawn again."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final

import orjson
from django.db import connection
from django.db.models import DateTimeField, Field, JSONField, UUIDField

from recommender import profiles
from recommender.cards import Card, cards_of
from recommender.champion import Loaded
from recommender.drawing import Drawing, Page, Picked, Terms
from recommender.engine import shelf as packing
from recommender.explaining import items_of, names_of
from recommender.models import ServedList
from recommender.shelves import Stocked

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


def serve(stocked: Stocked, terms: Terms, page: Page, now: datetime) -> ServedList:
    """Draw a list's first page and store it, in one insert."""
    served = drawn(stocked, terms, page, now)
    _store(served)
    return served


def drawn(stocked: Stocked, terms: Terms, page: Page, now: datetime) -> ServedList:
    """A list's first page, not stored."""
    row, content, loaded = stocked.row, stocked.content, stocked.loaded
    if stocked.stale:
        page = page.without(_since(stocked))
    page, picks, cards = _draw_available(Drawing(content, terms), page, content)
    model = loaded.model if loaded.model and loaded.model.version.pk == row.version_id else None
    is_champion = model is not None and loaded.degraded is None
    served = ServedList(
        listener_id=row.listener_id,
        shelf=row,
        version=model.version if model else row.version,
        arm=ServedList.Arm.CHAMPION if is_champion else ServedList.Arm.FALLBACK,
        generated_at=now,
        stale=stocked.stale,
        discovery=terms.discovery,
        temperature=terms.temperature,
        artist_cap=terms.artist_cap,
        seed=terms.seed,
        pages=[page.as_json()],
        items=items_of(picks, cards, row.listener_id, names_of(loaded, row.version_id), now),
    )
    served.cards = cards
    return served


def go_on(served: ServedList, count: int, loaded: Loaded, now: datetime) -> None:
    """Draw and store `count` more songs; what the listener said since the first is respected."""
    stocked = Stocked(served.shelf, packing.unpack(bytes(served.shelf.candidates)), loaded)
    drawing = Drawing(stocked.content, _terms_of(served))
    pages = [Page.from_json(page) for page in served.pages]
    for page in pages:
        drawing.page(page)
    page = Page(count, pages[0].excluded).without(_since(stocked))
    page, picks, cards = _draw_available(drawing, page, stocked.content)
    if picks:
        names = names_of(loaded, served.shelf.version_id)
        served.pages = [*served.pages, page.as_json()]
        served.items = [*served.items, *items_of(picks, cards, served.listener_id, names, now)]
        served.save(update_fields=["pages", "items"])


def redraw(served: ServedList) -> list[Picked]:
    """Draw every page again, from the shelf as it was."""
    drawing = Drawing(packing.unpack(bytes(served.shelf.candidates)), _terms_of(served))
    return [pick for page in served.pages for pick in drawing.page(Page.from_json(page))]


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
    drawing: Drawing, page: Page, content: packing.Shelf
) -> tuple[Page, list[Picked], dict[int, Card]]:
    """The page's songs, all of them available: those that are gone are excluded, and the page drawn again."""
    picks = drawing.page(page)
    cards = _available(pick.song for pick in picks)
    if len(cards) == len(picks):
        return page, picks, cards
    # Where one song is gone others may be: all are looked at, rather than one draw after another.
    drawing.drop(len(picks))
    songs = content.songs.tolist()
    cards = _available(songs)
    page = page.without(set(songs).difference(cards))
    return page, drawing.page(page), cards


def _available(songs: Iterable[int]) -> dict[int, Card]:
    return {song: card for song, card in cards_of(songs).items() if card.is_available}


def _since(stocked: Stocked) -> tuple[int, ...]:
    """What was heard, skipped or disliked since the shelf was made."""
    row = stocked.row
    barred = profiles.barred_since(row.listener_id, row.history_at, row.feedback_id)
    return on_shelf(stocked.content, barred)


def _terms_of(served: ServedList) -> Terms:
    return Terms(served.seed, served.discovery, served.temperature, served.artist_cap)

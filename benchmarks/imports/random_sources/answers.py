"""How a random source answers: pages doubled, dropped, reordered or shifted, wrong totals, passing errors."""

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from benchmarks.imports.random_sources.content import LISTS, SESSIONS, SONGS, USERS, Content, World
from benchmarks.imports.random_sources.forms import ListForm
from tests.support.servers.scripted_server import Reply, Request

PATHS: Final = {"/tracks": SONGS, "/users": USERS, "/listen_history": SESSIONS}
# With more pages, an insert and a delete can cancel out between two anchors: a documented limit.
PAGES_OF_ANY_CHANGE: Final = 8
PASSING_ERRORS: Final = (500, 502, 503, 504, 520, 429, 403, 404, 408)


@dataclass
class Paging:
    """How one list is paged on one day.

    Attributes:
        order: order of the rows: "kept", "reversed", "shuffled" (once a day), "ties" (anew in each answer).
        doubled: page to the page that is sent in its place.
        dropped: pages that are sent without rows.
        cut: page to the number of its last rows that are left out.
        total: change of the total; `total_answers` is how many answers have it.
        pages: change of the number of pages.
        past_end: "empty", "404", "last" (the last page again).
        one_page: everything in one response, for any page and size.
        errors: page to the statuses that its first requests get.
        echoed_size: rows a page as reported; 0 for the true number.
        charset: charset of the body: "ascii", "utf-8", "latin-1", "utf-16", "utf-8 as latin-1", "bom".
    """

    size: int = 20
    order: str = "kept"
    seed: int = 0
    doubled: dict[int, int] = field(default_factory=dict)
    dropped: set[int] = field(default_factory=set)
    cut: dict[int, int] = field(default_factory=dict)
    total: int = 0
    total_answers: int = 10**9
    pages: int = 0
    past_end: str = "empty"
    one_page: bool = False
    ignores_page: bool = False
    errors: dict[int, list[int]] = field(default_factory=dict)
    echoed_size: int = 0
    charset: str = "ascii"
    labels: list[str] = field(default_factory=list)
    is_harmless: bool = True


@dataclass
class Event:
    """A change of the content while it is read: after so many requests for the list."""

    list: str
    after: int
    change: Callable[[World], None]


@dataclass
class DaySource:
    """One day of a source; called for each request, by one thread at a time.

    Attributes:
        versions: every state of the content during the day.
        is_upheaval: much of the content was replaced or deleted since the day before.
    """

    world: World
    forms: dict[str, ListForm]
    pagings: dict[str, Paging]
    events: list[Event]
    is_upheaval: bool = False
    versions: list[Content] = field(default_factory=list)
    _requests: dict[str, int] = field(default_factory=lambda: dict.fromkeys(LISTS, 0))
    _errors: dict[tuple[str, int], list[int]] = field(default_factory=dict)
    _bodies: dict[Any, list[Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.versions.append(self.world.content.copy())
        self._errors = {
            (name, page): list(statuses)
            for name, paging in self.pagings.items()
            for page, statuses in paging.errors.items()
        }

    @property
    def was_read(self) -> bool:
        return any(self._requests.values())

    def __call__(self, request: Request) -> Reply:
        name = PATHS[request.path]
        self._requests[name] += 1
        for event in [one for one in self.events if one.list == name and self._requests[name] > one.after]:
            self.events.remove(event)
            event.change(self.world)
            self.versions.append(self.world.content.copy())
        waiting = self._errors.get((name, request.page))
        if waiting:
            return Reply(status=waiting.pop(0), body=b"<html>not now</html>")
        return self._answer(name, request.page)

    def _answer(self, name: str, page: int) -> Reply:
        paging = self.pagings[name]
        rows = self._rows(name, paging)
        size = max(len(rows), 1) if paging.one_page else paging.size
        last = max(-(-len(rows) // size), 1)
        if page > last and paging.past_end == "404":
            return Reply(status=404, body=b'{"detail":"Not found"}')
        source_page = 1 if paging.ignores_page else paging.doubled.get(page, page)
        if page > last and paging.past_end == "last":
            source_page = last
        items = rows[(source_page - 1) * size : source_page * size]
        if page in paging.dropped:
            items = []
        if page in paging.cut:
            items = items[: max(len(items) - paging.cut[page], 0)]
        total = len(rows)
        if self._requests[name] <= paging.total_answers:
            total = max(total + paging.total, 0)
        pages = (
            max(-(-total // size) + paging.pages, 0)
            if paging.pages or paging.total
            else -(-len(rows) // size)
        )
        pages = min(pages, max(total, 1))
        document = {
            "items": items,
            "total": total,
            "page": page,
            "size": paging.echoed_size or size,
            "pages": pages,
        }
        body, content_type = _encode(document, paging.charset)
        return Reply(body=body, headers={"Content-Type": content_type})

    def _rows(self, name: str, paging: Paging) -> list[Any]:
        version = len(self.versions)
        key = (name, version)
        if key not in self._bodies:
            rows = [self.forms[name].write(row) for row in self.world.content.rows[name]]
            if paging.order == "reversed":
                rows.reverse()
            elif paging.order == "shuffled":
                random.Random(paging.seed).shuffle(rows)
            self._bodies[key] = rows
        rows = self._bodies[key]
        if paging.order == "ties":
            # Rows without a strict order: neighbours change places from answer to answer.
            rows = list(rows)
            rng = random.Random(paging.seed + self._requests[name])
            for place in range(0, len(rows) - 5, 5):
                tied = rows[place : place + 7]
                rng.shuffle(tied)
                rows[place : place + 7] = tied
        return rows


def _encode(document: dict[str, Any], charset: str) -> tuple[bytes, str]:
    plain = "application/json"
    if charset != "ascii":
        text = json.dumps(document, ensure_ascii=False)
        try:
            if charset == "latin-1":
                return text.encode("iso-8859-1"), f"{plain}; charset=ISO-8859-1"
            if charset == "utf-16":
                return text.encode("utf-16"), f"{plain}; charset=utf-16"
            if charset == "bom":
                return text.encode("utf-8-sig"), plain
            declared = f"{plain}; charset=iso-8859-1" if charset == "utf-8 as latin-1" else plain
            return text.encode(), declared
        except UnicodeEncodeError:
            pass
    return json.dumps(document).encode(), plain


def draw_paging(rng: random.Random, rows: int, wildness: float) -> Paging:
    """A paging for a list of about so many rows; with a `wildness` of 0 nothing is unusual."""
    paging = Paging(size=rng.choice((5, 7, 10, 20, 100)), seed=rng.getrandbits(30))
    last = max(-(-rows // paging.size), 1)
    if rng.random() < wildness:
        _draw_harmless(rng, paging, last)
    if rng.random() < wildness / 2:
        _draw_fault(rng, paging, last)
    return paging


def _draw_harmless(rng: random.Random, paging: Paging, last: int) -> None:
    kind = rng.choice(("order", "past_end", "one_page", "errors", "charset", "charset"))
    if kind == "order":
        paging.order = rng.choice(("reversed", "shuffled"))
    elif kind == "past_end":
        paging.past_end = rng.choice(("404", "last"))
    elif kind == "one_page":
        paging.one_page = True
    elif kind == "errors":
        for page in rng.sample(range(1, last + 2), min(last, 2)):
            paging.errors[page] = rng.choices(PASSING_ERRORS, k=rng.randint(1, 2))
    else:
        paging.charset = rng.choice(("utf-8", "latin-1", "utf-16", "utf-8 as latin-1", "bom"))
    paging.labels.append(f"{kind} {getattr(paging, kind)}")


def _draw_fault(rng: random.Random, paging: Paging, last: int) -> None:
    paging.is_harmless = False
    kind = rng.choice(("doubled", "dropped", "cut", "ties", "total", "late total", "pages", "ignores_page"))
    page = rng.randint(1, last)
    if kind == "doubled":
        paging.doubled = {page: rng.randint(1, last)}
    elif kind == "dropped":
        paging.dropped = set(rng.sample(range(1, last + 1), min(last, rng.randint(1, 3))))
    elif kind == "cut":
        paging.cut = {page: rng.randint(1, paging.size)}
    elif kind == "ties":
        paging.order = "ties"
    elif kind in {"total", "late total"}:
        paging.total = rng.choice((-paging.size, -3, -1, 1, 2, paging.size, 3 * paging.size, 200))
        if kind == "late total":
            paging.total_answers = rng.randint(1, 2 * last)
    elif kind == "pages":
        paging.pages = rng.choice((-2, -1, 1, 2, 5))
    else:
        paging.ignores_page = True
    paging.labels.append(f"{kind} {page}/{last} {paging.total or paging.pages or ''}".strip())


def draw_events(rng: random.Random, world: World, pagings: dict[str, Paging], wildness: float) -> list[Event]:
    """Inserts and deletes while lists are read; some songs and users are edited too."""
    events: list[Event] = []
    for name in LISTS:
        if rng.random() >= wildness / 3:
            continue
        rows = len(world.content.rows[name])
        pages = max(-(-rows // pagings[name].size), 1)
        # Up to the whole second reading.
        moments = [rng.randint(1, 2 * pages) for _ in range(rng.randint(1, 3))]
        one_kind = pages > PAGES_OF_ANY_CHANGE
        kinds = [rng.choice(("insert", "delete"))] * 3 if one_kind else ["insert", "delete", "edit"]
        events += [Event(name, moment, _change(rng, name, rng.choice(kinds))) for moment in moments]
    return events


def _change(rng: random.Random, name: str, kind: str) -> Callable[[World], None]:
    luck, twice = rng.random(), rng.random() < 0.3

    def change(world: World) -> None:
        rows = world.content.rows[name]
        for _ in range(2 if twice else 1):
            place = int(luck * len(rows))
            if kind == "insert":
                world.append(name, place)
            elif kind == "delete" and len(rows) > 3:
                rows.pop(min(place, len(rows) - 1))
            elif kind == "edit" and rows and name != SESSIONS:
                world.edit(rows[min(place, len(rows) - 1)])

    return change

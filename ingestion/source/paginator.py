"""Read a paged list so that no surviving row is missed, though it may change meanwhile.

The proof. Rows keep their relative order, so an insert or a delete at position d moves every later
row, and moves it for good. Some pages are anchors: all of them are read before any other page, and
read again when the pages below them have landed. An anchor that holds the same keys in the same
places saw no net shift in between. So a change at d came either before all anchors behind d were
first read (then every page was read after it) or after they were read again (then every page was
read before it): both times the pages fit together. Only changes that cancel out between the same two
anchors (a delete and an insert) can hide, and only until the next run.

If an anchor moved, everything behind the last unmoved one is read again, and all anchors are held
against what they were: the unmoved ones, too, for they could have moved since.
"""

from collections import Counter, deque
from collections.abc import Callable, Generator, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from threading import Event
from types import TracebackType
from typing import Any, Self

from ingestion.source.anchors import AnchorTracker
from ingestion.source.connection import SourceConnection
from ingestion.source.fetcher import PageFetcher
from ingestion.source.response import PageResponse
from ingestion.source.thread_pool import FetchPool

MAX_ROUNDS = 3
# The body of a page that is no more; nobody sent it, but it reads like one that was.
NO_ROWS = b'{"items":[]}'


@dataclass(frozen=True, slots=True)
class SourcePage:
    """Some rows, as parsed and as sent. It replaces an earlier page of the same number.

    No rows may also mean that the page is no more, for the list has become shorter.
    """

    number: int
    rows: list[Any]
    body: bytes


class AnchorChecks:
    """How the anchors' second answers compare with the first; keeps none of their rows."""

    def __init__(self) -> None:
        self.unchanged: dict[int, bool] = {}
        self.total = 0
        self.pages = 1

    def add(self, answer: PageResponse, *, unchanged: bool) -> None:
        """The answer of the highest page says how long the list is: it is the one that may grow."""
        if answer.number >= max(self.unchanged, default=1):
            self.total, self.pages = answer.total, answer.pages
        self.unchanged[answer.number] = unchanged

    @property
    def first_moved(self) -> int | None:
        """The first anchor that is not what it was."""
        return min((number for number, held in self.unchanged.items() if not held), default=None)

    def last_before(self, page: int) -> int:
        """The last anchor checked before this page; 0 when there is none."""
        return max((number for number in self.unchanged if number < page), default=0)


class Paginator:
    """One pass over a list: iterate it once, then ask it how it went.

    Leaving the loop early, an error and `close` all end its threads and sockets.
    """

    def __init__(
        self,
        fetcher: PageFetcher,
        connections: Sequence[SourceConnection],
        *,
        key: Callable[[Any], Hashable],
        stop: Event,
        clock: Callable[[], float],
        on_wait: Callable[[], None] | None = None,
        max_rounds: int = MAX_ROUNDS,
    ) -> None:
        self.shifts = 0
        self.stable = True
        self._stats = fetcher.stats
        self._anchors = AnchorTracker(key)
        self._pool = FetchPool(fetcher.fetch_page, connections, stop=stop, on_wait=on_wait, clock=clock)
        self._max_in_flight = 2 * len(connections)
        self._max_rounds = max_rounds
        self._extensions = 0
        self._total_rechecked = False
        self._iterated = False
        self._first_is_asked = False

    @property
    def total(self) -> int:
        """Rows the source says it has, by its last answer."""
        return self._anchors.total

    @property
    def received(self) -> int:
        """Rows on the pages that stand in the end."""
        return self._anchors.received

    @property
    def pages(self) -> int:
        """Pages that stand in the end."""
        return self._anchors.page_count

    @property
    def requests(self) -> int:
        """Requests sent: first attempts, retries, anchors read again, redirects."""
        return self._stats.requests

    @property
    def retries(self) -> int:
        """Attempts beyond the first."""
        return self._stats.retries

    @property
    def bytes(self) -> int:
        """Length of all bodies that came, unpacked."""
        return self._stats.bytes

    @property
    def errors(self) -> Counter[str]:
        """Failed attempts by kind."""
        return self._stats.errors

    def request_first_page(self) -> None:
        """Ask for the first page now, so that it is there when the reading starts.

        Who begins a reading and never iterates it has to close it.
        """
        if not self._first_is_asked:
            self._first_is_asked = True
            self._pool.submit(1)

    def __iter__(self) -> Iterator[SourcePage]:
        if self._iterated:
            raise RuntimeError("a reading can be iterated only once")
        self._iterated = True
        # Not kept here: a loop that is left early lets go of it, which closes it at once.
        return self._walk()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop fetching; what stands stays known."""
        self._pool.close()

    def _walk(self) -> Generator[SourcePage]:
        try:
            self.request_first_page()
            yield from self._read_anchors([])
            start: int | None = 1
            known = {1}
            while start is not None:
                anchors = self._anchors.anchors(after=start)
                yield from self._read_anchors(number for number in anchors if number not in known)
                checks = AnchorChecks()
                yield from self._sweep(start, checks)
                start = yield from self._next_start(checks)
                if start is None and self._should_recheck_total():
                    checks = AnchorChecks()
                    yield from self._check_ends(checks)
                    start = yield from self._next_start(checks)
                known = set(checks.unchanged)
        finally:
            self._pool.close()

    def _read_anchors(self, numbers: Iterable[int]) -> Iterator[SourcePage]:
        """Pages that others will be held against; the first of all says how many there are."""
        for answer in self._fetch(numbers):
            if not self._anchors.page_count:
                self._anchors.total = answer.total
                self._anchors.resize(answer.pages)
            yield self._accept(answer)

    def _sweep(self, start: int, checks: AnchorChecks) -> Iterator[SourcePage]:
        """Read what lies between the anchors behind `start`, and all anchors once more.

        A list of one page needs no second answer: one answer always fits itself.
        """
        anchors = self._anchors.anchors() if self._anchors.pages > 1 else []
        again = set(anchors)
        for answer in self._fetch(self._anchors.pages_between_anchors(after=start), anchors):
            if answer.number in again:
                yield from self._check(answer, checks)
            else:
                yield self._accept(answer)

    def _check_ends(self, checks: AnchorChecks) -> Iterator[SourcePage]:
        for answer in self._fetch(sorted({1, self._anchors.pages})):
            yield from self._check(answer, checks)

    def _check(self, answer: PageResponse, checks: AnchorChecks) -> Iterator[SourcePage]:
        """Hold an anchor against what it was; where it changed, the new answer stands."""
        held, same = self._anchors.compare(answer)
        checks.add(answer, unchanged=held)
        if not same:
            yield self._accept(answer)

    def _next_start(self, checks: AnchorChecks) -> Generator[SourcePage, None, int | None]:
        """Behind which page to read again; None when this reading ends."""
        if not checks.unchanged:
            return None
        self._anchors.total = checks.total
        anchors = set(self._anchors.anchors())
        for number in self._anchors.resize(checks.pages):
            yield SourcePage(number, [], NO_ROWS)
        moved = checks.first_moved
        if moved is not None:
            self.shifts += 1
            self.stable = self.shifts <= self._max_rounds
            return checks.last_before(min(moved, checks.pages)) if self.stable else None
        if checks.pages in anchors:
            return None
        return self._restart_for_growth(checks)

    def _restart_for_growth(self, checks: AnchorChecks) -> int | None:
        """Behind which page the list has become longer, unless that happened too often already.

        A list that grows faster than it can be read would keep this run for ever; the next run
        reads on, and the totals say that there is more.
        """
        self._extensions += 1
        if self._extensions > self._max_rounds:
            self._total_rechecked = True
            return None
        return checks.last_before(checks.pages)

    def _should_recheck_total(self) -> bool:
        """Whether the totals disagree for the first time: then both ends are asked once more."""
        doubt = self.stable and not self._total_rechecked and self.total != self.received
        self._total_rechecked = self._total_rechecked or doubt
        return doubt

    def _accept(self, answer: PageResponse) -> SourcePage:
        self._anchors.record_page(answer)
        return SourcePage(answer.number, answer.rows, answer.body)

    def _fetch(self, numbers: Iterable[int], anchors: Sequence[int] = ()) -> Iterator[PageResponse]:
        """Pages as they land: first the numbers, then the anchors, each when all below it have landed."""
        rest, waiting = iter(numbers), deque(anchors)
        below: set[int] = set()
        # The very first page is on its way already.
        flying = 0 if self._anchors.page_count else 1
        while True:
            while flying < self._max_in_flight:
                number = next(rest, None)
                if number is not None:
                    below.add(number)
                elif waiting and min(below, default=waiting[0]) >= waiting[0]:
                    number = waiting.popleft()
                else:
                    break
                self._pool.submit(number)
                flying += 1
            if not flying:
                return
            answer = self._pool.next_page()
            flying -= 1
            below.discard(answer.number)
            yield answer

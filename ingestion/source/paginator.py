"""Read a paged list while the source changes it, without missing a row that stays in the list.

Pages are requested by number. If a row is inserted or deleted at position d meanwhile, every later row
moves by one place, perhaps from a page not read yet to one already read. So some pages are anchors
(`anchors.py`):

1. Read all anchors.
2. Read the pages between them.
3. Read each anchor again once all pages below it are read, and compare its rows with the first time.

Rows keep their relative order, so a change at d shifts every later row permanently, and an anchor with the
same keys in the same places saw no net shift in between. If no anchor behind d moved, the change came before
all of them were read first (then every page was read after the change) or after all were read again (then
every page was read before it). Both times the pages fit together. Only changes that cancel out between the
same two anchors, such as one delete and one insert, can hide; the next run finds those.

If an anchor moved, everything behind the last unmoved anchor before it is read again, and all anchors are
compared again. After more than `MAX_ROUNDS` shifts the list is reported as not `stable`.

If the last page is full, the reported end may be too low: the paginator finds the real one, and reads up to
it with anchors as well.
"""

from collections import Counter, deque
from collections.abc import Callable, Generator, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from threading import Event
from types import TracebackType
from typing import Any, Self

from ingestion.source.anchors import AnchorTracker
from ingestion.source.connection import SourceConnection
from ingestion.source.fetcher import EMPTY_PAGE_BODY, PageFetcher
from ingestion.source.response import PageResponse
from ingestion.source.thread_pool import FetchPool

# Rows requested on each page: the most that the source's API allows.
PAGE_SIZE = 100
MAX_ROUNDS = 3
# After this many empty pages in a row, the list ends before its reported end.
EMPTY_PAGES_AT_END = 3
# If more pages are reported, the paginator checks whether the list ends far earlier.
PAGES_OF_LONG_LIST = 500
# Limit for pages after a reported total that is too low, because a list may have no end.
MAX_PAGES_PAST_END = 10_000
# Pages requested at once during the search for the end of a list.
PAGES_PER_STEP = 8


@dataclass(frozen=True, slots=True)
class SourcePage:
    """A page, both parsed and as sent; it replaces an earlier page with the same number.

    Without rows, the list may have got shorter.
    """

    number: int
    rows: list[Any]
    body: bytes


class AnchorChecks:
    def __init__(self) -> None:
        self.unchanged: dict[int, bool] = {}
        self.total = 0
        self.pages = 1

    def add(self, answer: PageResponse, pages: int, *, unchanged: bool) -> None:
        # The last page's response is used for the length, because new rows are appended there.
        if answer.number >= max(self.unchanged, default=1):
            self.total, self.pages = answer.total, pages
        self.unchanged[answer.number] = unchanged

    @property
    def first_moved(self) -> int | None:
        return min((number for number, unchanged in self.unchanged.items() if not unchanged), default=None)

    def last_before(self, page: int) -> int:
        return max((number for number in self.unchanged if number < page), default=0)


class Paginator:
    """One pass over a list: iterate once to get its pages, then read the counters.

    Threads and sockets end with the loop, however it ends.

    Attributes:
        shifts: how many times rows moved while the list was read.
        stable: whether the last comparison of the anchors found no shift, and no further pages.
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
        self._connection_limit = fetcher.connection_limit
        self._max_in_flight = 2 * len(connections)
        # The last page with rows, if the list ends before its reported end.
        self._last_page: int | None = None
        # The last page with rows, if the list ends after its reported end.
        self._unreported_end = 0
        self._max_rounds = max_rounds
        self._extensions = 0
        self._total_rechecked = False
        self._iterated = False
        self._first_page_requested = False

    @property
    def total(self) -> int:
        """The list's length in rows, from the source's latest response."""
        return self._anchors.total

    @property
    def received(self) -> int:
        return self._anchors.received

    @property
    def pages(self) -> int:
        return self._anchors.page_count

    @property
    def one_answer(self) -> bool:
        return self._anchors.page_count <= 1

    @property
    def requests(self) -> int:
        """The number of requests, with retries, second requests for anchors and redirects."""
        return self._stats.requests

    @property
    def retries(self) -> int:
        return self._stats.retries

    @property
    def bytes(self) -> int:
        """The size of all received bodies, decompressed."""
        return self._stats.bytes

    @property
    def errors(self) -> Counter[str]:
        return self._stats.errors

    def request_first_page(self) -> None:
        """Request the first page in advance; a caller that never iterates must call `close`."""
        if not self._first_page_requested:
            self._first_page_requested = True
            self._pool.submit(1)

    def __iter__(self) -> Iterator[SourcePage]:
        if self._iterated:
            raise RuntimeError("a paginator can be iterated only once")
        self._iterated = True
        # Not stored on self, so that leaving the loop early deletes the generator and closes it at once.
        return self._walk()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._pool.close()

    def _walk(self) -> Generator[SourcePage]:
        try:
            self.request_first_page()
            yield from self._read_anchors([])
            start: int | None = 1
            already_read = {1}
            while start is not None:
                anchors = self._anchors.anchors(after=start)
                yield from self._read_anchors(number for number in anchors if number not in already_read)
                yield from self._cut_empty_end()
                checks = AnchorChecks()
                yield from self._read_and_recheck(start, checks)
                start = yield from self._next_start(checks)
                if start is None and self._should_recheck_total():
                    checks = AnchorChecks()
                    yield from self._recheck_ends(checks)
                    start = yield from self._next_start(checks)
                already_read = set(checks.unchanged)
                if start is None:
                    # A page may have been read as an anchor and removed since, because the list shrank.
                    start, already_read = self._start_past_end(), set()
        finally:
            self._pool.close()

    def _read_anchors(self, numbers: Iterable[int]) -> Iterator[SourcePage]:
        for answer in self._fetch(numbers):
            is_first = not self._anchors.page_count
            yield self._accept(answer)
            if is_first:
                self._anchors.total = answer.total
                yield from self._check_long_list(answer.pages)
                self._anchors.resize(self._last_page or answer.pages)

    def _check_long_list(self, pages: int) -> Iterator[SourcePage]:
        """If the last page is empty, find the list's end before spreading anchors over it."""
        if pages <= PAGES_OF_LONG_LIST:
            return
        for last in self._fetch([pages]):
            if not last.rows and last.pages >= pages:
                yield from self._read_until_empty(2, pages)
                self._last_page = self._anchors.last_filled_page

    def _cut_empty_end(self) -> Iterator[SourcePage]:
        """Find the last page with rows, so that a total that is far too high costs few requests."""
        if not self._anchors.has_empty_end():
            return
        filled = max(
            (number for number in self._anchors.anchors() if self._anchors.row_count(number)), default=1
        )
        yield from self._read_until_empty(filled + 1, self._anchors.pages)
        self._last_page = self._anchors.last_filled_page
        for number in self._anchors.resize(self._last_page):
            yield SourcePage(number, [], EMPTY_PAGE_BODY)
        yield from self._read_anchors(self._anchors.unread_anchors())

    def _start_past_end(self) -> int | None:
        """The reported last page if the list continues after it; None if the reported end is right.

        A total that is too low hides rows behind a full last page.
        """
        last = self._anchors.pages
        if not self.stable or self._last_page is not None or not self._anchors.is_full(last):
            return None
        end = self._find_end(last)
        if end == last:
            return None
        self._extensions += 1
        self.stable = self._extensions <= self._max_rounds
        if not self.stable:
            return None
        self._unreported_end = end
        self._anchors.resize(end)
        return last

    def _find_end(self, last: int) -> int:
        """The last page with new rows, at least `last`, by steps that double and then halve.

        A page without new rows is past the end, also if the source repeats its last page for ever.
        """
        seen = self._anchors.anchor_keys()
        end, past, step = last, last + MAX_PAGES_PAST_END + 1, 1
        while past - end > 1:
            number = min(end + step, (end + past) // 2)
            keys = {key for answer in self._fetch([number]) for key in self._anchors.keys_of(answer)}
            if seen.issuperset(keys):
                past = number
            else:
                end, step = number, 2 * step
            seen |= keys
        return end

    def _read_until_empty(self, first: int, end: int) -> Iterator[SourcePage]:
        empty = 0
        while empty < EMPTY_PAGES_AT_END and first <= end:
            step = range(first, min(first + PAGES_PER_STEP, end + 1))
            filled = set()
            for answer in self._fetch(step):
                if answer.rows:
                    filled.add(answer.number)
                    yield self._accept(answer)
            for number in step:
                empty = 0 if number in filled else empty + 1
            first += PAGES_PER_STEP

    def _read_and_recheck(self, start: int, checks: AnchorChecks) -> Iterator[SourcePage]:
        """Read the pages between the anchors behind `start`, and every anchor for the second time."""
        # One response is one state of the list; but a list that shrank to one page may have shrunk after it.
        is_one_answer = self._anchors.pages <= 1 and not self.shifts
        anchors = [] if is_one_answer else self._anchors.anchors()
        rechecked = set(anchors)
        for answer in self._fetch(self._anchors.pages_between_anchors(after=start), anchors):
            if answer.number in rechecked:
                yield from self._check(answer, checks)
            else:
                yield self._accept(answer)

    def _recheck_ends(self, checks: AnchorChecks) -> Iterator[SourcePage]:
        for answer in self._fetch(sorted({1, self._anchors.pages})):
            yield from self._check(answer, checks)

    def _check(self, answer: PageResponse, checks: AnchorChecks) -> Iterator[SourcePage]:
        unmoved, identical = self._anchors.compare(answer)
        pages = max(answer.pages, self._unreported_end)
        checks.add(answer, min(pages, self._last_page or pages), unchanged=unmoved)
        if not identical:
            yield self._accept(answer)

    def _next_start(self, checks: AnchorChecks) -> Generator[SourcePage, None, int | None]:
        if not checks.unchanged:
            return None
        self._anchors.total = checks.total
        anchors = set(self._anchors.anchors())
        for number in self._anchors.resize(checks.pages):
            yield SourcePage(number, [], EMPTY_PAGE_BODY)
        moved = checks.first_moved
        if moved is not None:
            self.shifts += 1
            self.stable = self.shifts <= self._max_rounds
            return checks.last_before(min(moved, checks.pages)) if self.stable else None
        if checks.pages in anchors:
            return None
        return self._restart_for_growth(checks)

    def _restart_for_growth(self, checks: AnchorChecks) -> int | None:
        """The page behind which a longer list continues; None if the list grew too often.

        The next run reads the rest of a list that grows faster than it can be read.
        """
        self._extensions += 1
        if self._extensions > self._max_rounds:
            self._total_rechecked = True
            return None
        return checks.last_before(checks.pages)

    def _should_recheck_total(self) -> bool:
        """Whether `total` and `received` disagree for the first time."""
        is_doubtful = self.stable and not self._total_rechecked and self.total != self.received
        self._total_rechecked = self._total_rechecked or is_doubtful
        return is_doubtful

    def _in_flight_limit(self) -> int:
        # Twice the number of connections keeps all threads busy; a source that limits requests gets no queue.
        limit = self._connection_limit
        return limit.current if limit.is_lowered else self._max_in_flight

    def _accept(self, answer: PageResponse) -> SourcePage:
        self._anchors.record_page(answer)
        return SourcePage(answer.number, answer.rows, answer.body)

    def _fetch(self, numbers: Iterable[int], anchors: Sequence[int] = ()) -> Iterator[PageResponse]:
        """Fetch pages in parallel, and yield them in order of arrival.

        First `numbers`, then `anchors`, each only after every page below it has arrived.
        """
        pages, anchor_queue = iter(numbers), deque(anchors)
        pending_pages: set[int] = set()
        # `request_first_page` has already submitted the first page.
        in_flight = 0 if self._anchors.page_count else 1
        while True:
            while in_flight < self._in_flight_limit():
                number = next(pages, None)
                if number is not None:
                    pending_pages.add(number)
                elif anchor_queue and min(pending_pages, default=anchor_queue[0]) >= anchor_queue[0]:
                    number = anchor_queue.popleft()
                else:
                    break
                self._pool.submit(number)
                in_flight += 1
            if not in_flight:
                return
            answer = self._pool.next_page()
            in_flight -= 1
            pending_pages.discard(answer.number)
            yield answer

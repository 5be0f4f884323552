"""Anchor pages, which the paginator reads first and last to notice moved rows (see `paginator.py`)."""

from collections.abc import Callable, Hashable, Iterable
from typing import Any

from ingestion.source.response import PageResponse

# With fewer anchors, a shift in a long list would force many pages to be read again. At this distance,
# the second requests for the anchors are 3 % of all requests.
PAGES_PER_ANCHOR = 32
MIN_ANCHORS = 8


def choose_anchors(pages: int) -> list[int]:
    """The numbers of the anchor pages, ascending: the first, the last, and evenly spaced ones."""
    count = min(pages, max(MIN_ANCHORS, pages // PAGES_PER_ANCHOR))
    if count <= 1:
        return [1]
    return [1 + (pages - 1) * index // (count - 1) for index in range(count)]


class AnchorTracker:
    """Stores the number of rows of each page, and the row keys of each anchor, from the latest response.

    Args:
        key: identifies a row, with an equal value each time the row is read.
    """

    def __init__(self, key: Callable[[Any], Hashable]) -> None:
        self.total = 0
        self.pages = 1
        self.size = 0
        self._key = key
        self._row_counts: dict[int, int] = {}
        self._anchors = {1}
        self._reported_pages: dict[int, int] = {}
        self._anchor_keys: dict[int, list[Hashable]] = {}

    @property
    def page_count(self) -> int:
        return len(self._row_counts)

    @property
    def received(self) -> int:
        return sum(self._row_counts.values())

    @property
    def last_filled_page(self) -> int:
        return max((number for number, rows in self._row_counts.items() if rows), default=1)

    def row_count(self, number: int) -> int:
        return self._row_counts.get(number, 0)

    def has_empty_end(self) -> bool:
        """Whether the last page is empty though its response reports at least as many pages."""
        is_empty = self.pages > 1 and self._row_counts.get(self.pages) == 0
        return is_empty and self._reported_pages.get(self.pages, 0) >= self.pages

    def is_full(self, number: int) -> bool:
        return 0 < self.size <= self.row_count(number)

    def record_page(self, answer: PageResponse) -> None:
        self._row_counts[answer.number] = len(answer.rows)
        self.size = answer.size
        if answer.number in self._anchors:
            self._reported_pages[answer.number] = answer.pages
            self._anchor_keys[answer.number] = self.keys_of(answer)

    def resize(self, pages: int) -> list[int]:
        """Choose anchors for this many pages; return the recorded pages beyond the end, ascending.

        Existing anchors stay anchors, so that their rows can be compared.
        """
        added = {number for number in choose_anchors(pages) if number > max(self._anchors)}
        removed = [number for number in self._row_counts if number > pages]
        for number in removed:
            del self._row_counts[number]
            self._anchor_keys.pop(number, None)
        self._anchors = {number for number in self._anchors if number <= pages} | added | {pages}
        self.pages = pages
        return sorted(removed)

    def anchors(self, *, after: int = 0) -> list[int]:
        return sorted(number for number in self._anchors if number > after)

    def unread_anchors(self) -> list[int]:
        return sorted(self._anchors - self._anchor_keys.keys())

    def pages_between_anchors(self, *, after: int) -> Iterable[int]:
        return (number for number in range(after + 1, self.pages + 1) if number not in self._anchors)

    def anchor_keys(self) -> set[Hashable]:
        return {key for keys in self._anchor_keys.values() for key in keys}

    def keys_of(self, answer: PageResponse) -> list[Hashable]:
        return [self._key_of(row) for row in answer.rows]

    def compare(self, answer: PageResponse) -> tuple[bool, bool]:
        """Compare the second response for an anchor page with the first one.

        Returns:
            Whether the rows of the first response are still in the same places, and whether the page is
            identical. The two values differ only if rows were appended to the last page.
        """
        before, after = self._anchor_keys[answer.number], self.keys_of(answer)
        overlap = after[: len(before)] if answer.number == self.pages else after
        return overlap == before, after == before

    def _key_of(self, row: Any) -> Hashable:
        try:
            key = self._key(row)
            hash(key)
        except Exception:
            # A row without a key is rejected later by the validation; here its text identifies it.
            return repr(row)
        return key

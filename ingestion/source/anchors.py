"""What stands of a list that is being read: how many rows on each page, and the anchors' keys."""

from collections.abc import Callable, Hashable, Iterable
from typing import Any

from ingestion.source.response import PageResponse

# Fewer anchors would leave long lists with long stretches to read again after a shift; more would
# cost more requests than the 3 % (twice) that this is.
PAGES_PER_ANCHOR = 32
MIN_ANCHORS = 8


def choose_anchors(pages: int) -> list[int]:
    """Page 1, the last page and evenly spaced ones between them, in order."""
    count = min(pages, max(MIN_ANCHORS, pages // PAGES_PER_ANCHOR))
    if count <= 1:
        return [1]
    return [1 + (pages - 1) * index // (count - 1) for index in range(count)]


class AnchorTracker:
    """The pages that count, as `put` one by one."""

    def __init__(self, key: Callable[[Any], Hashable]) -> None:
        self.total = 0
        self.pages = 1
        self._key = key
        self._rows: dict[int, int] = {}
        self._anchors = {1}
        self._keys: dict[int, list[Hashable]] = {}

    @property
    def page_count(self) -> int:
        """Pages that stand."""
        return len(self._rows)

    @property
    def received(self) -> int:
        """Rows on the pages that stand."""
        return sum(self._rows.values())

    def record_page(self, answer: PageResponse) -> None:
        """Let this page stand in place of what stood under its number."""
        self._rows[answer.number] = len(answer.rows)
        if answer.number in self._anchors:
            self._keys[answer.number] = self._keys_of(answer)

    def resize(self, pages: int) -> list[int]:
        """Choose anchors for a list of that many pages; returns the pages that are no more.

        Anchors that stand stay anchors: what they remember is what a later reading is held against.
        """
        fresh = {number for number in choose_anchors(pages) if number > max(self._anchors)}
        gone = [number for number in self._rows if number > pages]
        for number in gone:
            del self._rows[number]
            self._keys.pop(number, None)
        self._anchors = {number for number in self._anchors if number <= pages} | fresh | {pages}
        self.pages = pages
        return sorted(gone)

    def anchors(self, *, after: int = 0) -> list[int]:
        """The anchors beyond this page, in order."""
        return sorted(number for number in self._anchors if number > after)

    def pages_between_anchors(self, *, after: int) -> Iterable[int]:
        """The pages beyond this page that are no anchors, in order."""
        return (number for number in range(after + 1, self.pages + 1) if number not in self._anchors)

    def compare(self, answer: PageResponse) -> tuple[bool, bool]:
        """Whether the anchor still stands where it stood, and whether it is row for row the same.

        They differ on the last page: behind its rows new ones may have come.
        """
        old, new = self._keys[answer.number], self._keys_of(answer)
        held = new[: len(old)] if answer.number == self.pages else new
        return held == old, new == old

    def _keys_of(self, answer: PageResponse) -> list[Hashable]:
        return [self._key_of(row) for row in answer.rows]

    def _key_of(self, row: Any) -> Hashable:
        try:
            return self._key(row)
        except Exception:
            # A row without its key is refused later, by name. Here its whole text tells it apart.
            return repr(row)

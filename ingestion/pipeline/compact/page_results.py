"""What each page of a list contained, in few bytes for each row: a list may have millions."""

from array import array
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

COUNTS: Final = (
    "received", "new", "changed", "unchanged", "rejected", "duplicates", "returned", "reidentified", "known",
    "incoherent_times", "unknown_songs", "future_times",
)  # fmt: skip
TALLIES: Final = ("unknown_fields", "corrections", "rejection_reasons", "emptied", "rewritten")
NUMBERS: Final = ("keys", "rejected_keys", "rejected_identities", "rejected_known_keys")
# The counts of a page and the items of its tallies, in the order of their names.
Summary = tuple[tuple[int, ...], tuple[tuple[tuple[Any, int], ...], ...]]
COUNT_BITS: Final = 32


@dataclass
class PageResult:
    received: int = 0
    new: int = 0
    changed: int = 0
    unchanged: int = 0
    rejected: int = 0
    duplicates: int = 0
    returned: int = 0
    reidentified: int = 0
    known: int = 0  # accepted rows that are available in the catalogue
    incoherent_times: int = 0
    unknown_songs: int = 0
    future_times: int = 0
    unknown_fields: Counter[str] = field(default_factory=Counter)
    # Rows by repair, such as a time that was converted or a field that was emptied.
    corrections: Counter[str] = field(default_factory=Counter)
    rejection_reasons: Counter[tuple[str, str]] = field(default_factory=Counter)
    # Fields that became empty, and times that became equal, in available rows of the catalogue.
    emptied: Counter[str] = field(default_factory=Counter)
    # Known rows whose values have changed format, by kind of change.
    rewritten: Counter[str] = field(default_factory=Counter)
    # Hashes of keys: of the accepted rows, and of the rejected rows whose key can be read.
    keys: "array[int]" = field(default_factory=lambda: array("q"))
    rejected_keys: "array[int]" = field(default_factory=lambda: array("q"))
    # A hash for each rejected row; copies of one row have the same hash.
    rejected_identities: "array[int]" = field(default_factory=lambda: array("q"))
    # The rejected keys that belong to an available row of the catalogue.
    rejected_known_keys: "array[int]" = field(default_factory=lambda: array("q"))


class PagedNumbers:
    """Numbers of pages in one array: small arrays among short-lived objects would fragment the memory."""

    def __init__(self) -> None:
        self._numbers = array("q")
        self._places: dict[int, int] = {}  # the start of a page's numbers, and in the lowest bits their count
        self._has_gaps = False

    def put(self, page: int, numbers: "array[int]") -> None:
        """Store the page's numbers in place of earlier ones."""
        self.drop(page)
        if numbers:
            self._places[page] = len(self._numbers) << COUNT_BITS | len(numbers)
            self._numbers.extend(numbers)

    def drop(self, page: int) -> None:
        self._has_gaps |= self._places.pop(page, None) is not None

    def of_page(self, page: int) -> "array[int]":
        place = self._places.get(page, 0)
        start = place >> COUNT_BITS
        return self._numbers[start : start + (place & (1 << COUNT_BITS) - 1)]

    def all(self) -> "array[int]":
        """The numbers of all pages, not to be changed."""
        if self._has_gaps:
            kept = PagedNumbers()
            for page in self._places:
                kept.put(page, self.of_page(page))
            self._numbers, self._places, self._has_gaps = kept._numbers, kept._places, False
        return self._numbers


class PageResults:
    """The results of a list's pages by their number; a page that is read again replaces its result."""

    def __init__(self) -> None:
        self.keys, self.rejected_keys = PagedNumbers(), PagedNumbers()
        self.rejected_identities, self.rejected_known_keys = PagedNumbers(), PagedNumbers()
        self._summaries: dict[int, Summary] = {}
        # Most pages of a list have the same counts, and share one summary.
        self._shared: dict[Summary, Summary] = {}

    def put(self, number: int, page: PageResult) -> None:
        summary = (
            tuple(getattr(page, name) for name in COUNTS),
            tuple(tuple(getattr(page, name).items()) for name in TALLIES),
        )
        self._summaries[number] = self._shared.setdefault(summary, summary)
        for name in NUMBERS:
            getattr(self, name).put(number, getattr(page, name))

    def drop_after(self, last: int) -> None:
        for number in [number for number in self._summaries if number > last]:
            del self._summaries[number]
            for name in NUMBERS:
                getattr(self, name).drop(number)

    def numbers(self) -> list[int]:
        """The numbers of the pages, ascending."""
        return sorted(self._summaries)

    def count(self, name: str) -> int:
        """The sum of one of `COUNTS` over all pages."""
        place = COUNTS.index(name)
        return sum(counts[place] for counts, _ in self._summaries.values())

    def tallies(self, name: str) -> Iterator["Counter[Any]"]:
        """One of `TALLIES` for each page that has any."""
        place = TALLIES.index(name)
        return (Counter(dict(items[place])) for _, items in self._summaries.values() if items[place])

    def total_tally(self, name: str) -> "Counter[Any]":
        """The sum of one of `TALLIES` over all pages."""
        total: Counter[Any] = Counter()
        for tally in self.tallies(name):
            total.update(tally)
        return total

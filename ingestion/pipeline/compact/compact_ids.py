"""Sets of millions of 64-bit numbers in little memory: a Python set needs about 90 bytes for each."""

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from typing import Final

# Up to here a Python set is used, which answers faster; it needs 18 MB.
MAX_SET: Final = 200_000
# More ids have a byte for each number of their range, if that takes at most so many bytes for each id.
MAX_BYTES: Final = 8
# Repeated numbers are searched in 2**6 parts, one after the other.
PART_BITS: Final = 6
# Fibonacci hashing: the highest bits of the product spread ids of any pattern, such as multiples of 64.
MULTIPLIER: Final = 0x9E3779B97F4A7C15
ALL_BITS: Final = 2**64 - 1


class CompactIds:
    """A set that is filled at once: a Python set or, for many ids, bytes or sorted arrays.

    Bytes if the ids are near each other; the arrays need eight bytes for each id, and answer slower.
    """

    def __init__(self) -> None:
        self._set: set[int] = set()
        self._lowest, self._flags = 0, bytearray()
        self._sorted: list[array[int]] = []

    def fill(self, parts: Iterable["array[int]"]) -> None:
        """Hold these ids and no others."""
        self.clear()
        kept = [part for part in parts if part]
        count = sum(map(len, kept))
        lowest, highest = min(map(min, kept), default=0), max(map(max, kept), default=0)
        if count <= MAX_SET:
            self._set.update(*kept)
        elif highest - lowest >= MAX_BYTES * count:
            self._sorted = _split(kept)
            for place, part in enumerate(self._sorted):
                self._sorted[place] = array("q", sorted(part))
        else:
            self._lowest, self._flags = lowest, bytearray(highest - lowest + 1)
            for part in kept:
                for number in part:
                    self._flags[number - lowest] = 1

    def clear(self) -> None:
        self._set, self._flags, self._sorted = set(), bytearray(), []

    def __contains__(self, number: int) -> bool:
        if self._flags:
            return 0 <= number - self._lowest < len(self._flags) and bool(self._flags[number - self._lowest])
        if not self._sorted:
            return number in self._set
        part = self._sorted[_part_of(number)]
        place = bisect_left(part, number)
        return place < len(part) and part[place] == number

    def find_missing(self, ids: Iterable[int]) -> set[int]:
        """Those of the ids that are not in the set."""
        rest, flags, lowest = set(ids) - self._set, self._flags, self._lowest
        if self._sorted:
            return {number for number in rest if number not in self}
        if not flags:
            return rest
        end = lowest + len(flags)
        return {number for number in rest if not (lowest <= number < end and flags[number - lowest])}


def find_repeated(parts: Iterable["array[int]"]) -> set[int]:
    """The numbers that occur more than once; all of them are copied once, in 8 bytes each."""
    buckets = _split(parts)
    repeated: set[int] = set()
    for place, bucket in enumerate(buckets):
        if len(set(bucket)) < len(bucket):
            repeated.update(_repeated_in(bucket))
        buckets[place] = array("q")
    return repeated


def _split(parts: Iterable["array[int]"]) -> list["array[int]"]:
    """The numbers in parts of about equal size; equal numbers are in the same part."""
    buckets = [array("q") for _ in range(2**PART_BITS)]
    for part in parts:
        for number in part:
            # `_part_of`, without a call for each number.
            buckets[(number * MULTIPLIER & ALL_BITS) >> (64 - PART_BITS)].append(number)
    return buckets


def _part_of(number: int) -> int:
    return (number * MULTIPLIER & ALL_BITS) >> (64 - PART_BITS)


def _repeated_in(numbers: "array[int]") -> Iterator[int]:
    seen: set[int] = set()
    for number in numbers:
        if number in seen:
            yield number
        seen.add(number)

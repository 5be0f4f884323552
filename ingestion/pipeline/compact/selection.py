"""The n-th smallest of many numbers, without a copy of them as Python objects."""

from array import array
from typing import Final

# Sorted at once: their objects need four megabytes.
MAX_SORTED: Final = 100_000
BUCKETS: Final = 1_000


def nth_smallest(values: "array[float]", place: int) -> float:
    """The value that sorting would bring to this place, counted from 0.

    Raises:
        IndexError: there are fewer values.
    """
    if not 0 <= place < len(values):
        raise IndexError(place)
    while len(values) > MAX_SORTED:
        lowest, highest = min(values), max(values)
        width = (highest - lowest) / BUCKETS
        if not width:
            return lowest
        counts = [0] * (BUCKETS + 1)
        for value in values:
            counts[int((value - lowest) / width)] += 1
        bucket = 0
        while place >= counts[bucket]:
            place -= counts[bucket]
            bucket += 1
        values = array("d", (value for value in values if int((value - lowest) / width) == bucket))
    return sorted(values)[place]

"""Ids like the source's: not dense, in no order, and the same for the same seed."""

from typing import Final

import numpy as np

# The source draws from about 1 to 100 000 for 1 000 rows.
SMALLEST_RANGE: Final = 100_000


class Ids:
    """Gives out each id once.

    Args:
        seed: of one kind of row; the n-th id depends on it and `expected` only, so a second catalogue
            gives the same ids to other rows.
        expected: how many ids will be asked for, about; beyond four times as many they follow in order.
    """

    def __init__(self, seed: tuple[int, ...], expected: int) -> None:
        span = max(SMALLEST_RANGE, 4 * expected)
        self._drawn = np.random.default_rng(seed).permutation(span) + 1
        self._given = 0

    def take(self) -> int:
        """An id that was not given before."""
        serial = self._given
        self._given += 1
        return int(self._drawn[serial]) if serial < len(self._drawn) else serial + 1

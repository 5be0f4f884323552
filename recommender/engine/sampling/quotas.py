"""Quotas: shares of kinds of songs in a list, such as the share of new artists.

The songs of each kind stay within one song of their share of the places so far. Within the allowed kinds the
draw is free.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Quotas:
    """The share of a list that each kind of songs should have; kinds are numbered from 0."""

    kinds: NDArray[np.int8]  # the kind of each song of the pool
    shares: tuple[float, ...]  # by kind; their sum is 1
    # Songs of each kind that were served just before, in the same sequence.
    counts: tuple[int, ...]


def tolerance(share: float) -> float:
    """Number of songs by which a kind may miss its share: 0 for shares of 0 and 1, and 1 for .5."""
    # With a tolerance of one song at a share of 0, every list could begin with a song of that kind.
    return 4 * share * (1 - share)


def allowed_kinds(counts: Sequence[int], shares: Sequence[float]) -> frozenset[int]:
    """The kinds that may come next; never empty."""
    places = sum(counts) + 1
    kinds = range(len(shares))
    due = frozenset(kind for kind in kinds if counts[kind] < shares[kind] * places - tolerance(shares[kind]))
    allowed = frozenset(
        kind for kind in kinds if counts[kind] + 1 <= shares[kind] * places + tolerance(shares[kind])
    )
    return due or allowed or frozenset(kinds)

"""Shares that a list keeps while it is drawn, such as the share of artists that are new to the listener.

At each place only songs of some kinds may be drawn: those that keep the number of songs of each kind within
one song of its share of the places so far. Within these kinds the draw is free.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Quotas:
    """Kinds are numbered from 0; a list of any length has about `shares[kind]` songs of each kind."""

    kinds: NDArray[np.int8]  # the kind of each song of the pool
    shares: tuple[float, ...]  # by kind; their sum is 1
    # Songs of each kind that the listener got just before, as a part of the same sequence.
    counts: tuple[int, ...]


def tolerance(share: float) -> float:
    """How far a kind's number of songs may be from its share: 0 for 0 and 1, and 1 song for .5."""
    # With a whole song of tolerance at 0, every list would begin with a song that must not be there.
    return 4 * share * (1 - share)


def allowed_kinds(counts: Sequence[int], shares: Sequence[float]) -> frozenset[int]:
    """The kinds that may come next after `counts` songs of each kind; never empty."""
    places = sum(counts) + 1
    kinds = range(len(shares))
    due = frozenset(kind for kind in kinds if counts[kind] < shares[kind] * places - tolerance(shares[kind]))
    allowed = frozenset(
        kind for kind in kinds if counts[kind] + 1 <= shares[kind] * places + tolerance(shares[kind])
    )
    return due or allowed or frozenset(kinds)

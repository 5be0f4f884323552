"""Quotas: shares of kinds of songs that a list keeps, such as the share of new artists.

At each place only songs of some kinds may be drawn: the number of songs of each kind must stay within one
song of its share of the places so far. Within these kinds the draw is free.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Quotas:
    """A list of any length has about `shares[kind]` songs of each kind; kinds are numbered from 0."""

    kinds: NDArray[np.int8]  # the kind of each song of the pool
    shares: tuple[float, ...]  # by kind; their sum is 1
    # Songs of each kind that were served just before, in the same sequence.
    counts: tuple[int, ...]


def tolerance(share: float) -> float:
    """How many songs a kind may differ from its share: 0 for shares of 0 and 1, and 1 for .5."""
    # With a tolerance of one song at a share of 0, every list could begin with a song of that kind.
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

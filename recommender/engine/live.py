"""Score few songs for one listener, now: the dense model's scores without a look at most of the songs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recommender.engine.catalogue import Candidates, Profiles
from recommender.engine.few import best, likely, terms_of, votes_of
from recommender.engine.mix import Mix
from recommender.engine.terms import NAMES, Known, blended

LOOKED_AT_SHARE = 0.12  # of the catalogue: measured on two sets, no loss
FEWEST, MOST = 1_000, 2_000  # songs looked at: below it saves nothing, above a request takes over 3 ms
UNKNOWN: Final = "while little is known"  # popularity among favourite genres, which stand in for plays


@dataclass(frozen=True)
class Live:
    """`Mix` as it serves."""

    mix: Mix

    @classmethod
    def from_parts(cls, arrays: Mapping[str, NDArray[Any]], facts: Mapping[str, Any]) -> Self:
        return cls(Mix.from_parts(arrays, facts))

    @property
    def labels(self) -> NDArray[np.int32]:
        return self.mix.parts.labels

    @property
    def artists(self) -> NDArray[np.int32]:
        return self.mix.parts.artists

    @property
    def available(self) -> NDArray[np.bool_]:
        return self.mix.parts.available

    def candidates(self, profile: Profiles, *, n: int) -> Candidates:
        return candidates(self.mix, profile, n=n)

    def score(self, profile: Profiles, songs: NDArray[np.int32]) -> NDArray[np.float32]:
        return score(self.mix, profile, songs)

    def explained(self, profile: Profiles, songs: NDArray[np.int32]) -> dict[str, NDArray[np.float32]]:
        return explained(self.mix, profile, songs)

    def similar(self, song: int, *, n: int) -> Candidates:
        """What is for a listener who has played nothing else."""
        once = csr_array(([np.float32(1)], ([0], [song])), shape=(1, self.mix.n_songs))
        return candidates(self.mix, Profiles(plays=once), n=n)


def candidates(mix: Mix, profile: Profiles, *, n: int = 400, budget: int | None = None) -> Candidates:
    """The n best of the songs looked at, which are the likely ones; as scored by `Mix.scores`.

    Args:
        profile: of one listener.
        budget: how many songs to look at, about; None: 12 % of the catalogue, between 1 000 and 2 000.

    Nothing heard, excluded or unavailable is among them; fewer than n are given only where fewer are left.
    """
    asked = budget or int(min(MOST, max(FEWEST, LOOKED_AT_SHARE * mix.n_songs)))
    known = mix.known(profile)
    votes = votes_of(mix.parts, known, profile)
    songs = likely(mix.parts, mix.weights, known, profile, votes, asked)
    while len(songs) < n and asked < mix.n_songs:
        asked *= 4
        songs = likely(mix.parts, mix.weights, known, profile, votes, asked)
    terms = terms_of(mix.parts, known, profile, votes, songs)
    scores = _blended(mix, known, terms, songs)
    first = best(scores, n)
    return Candidates(songs[first].astype(np.int32), scores[first])


def score(mix: Mix, profile: Profiles, songs: NDArray[np.int32]) -> NDArray[np.float32]:
    """Shape (len(songs),): one listener's scores of songs not heard, as `Mix.scores` has them."""
    known = mix.known(profile)
    votes = votes_of(mix.parts, known, profile)
    return _blended(mix, known, terms_of(mix.parts, known, profile, votes, songs), songs)


def explained(mix: Mix, profile: Profiles, songs: NDArray[np.int32]) -> dict[str, NDArray[np.float32]]:
    """By term what it adds to the scores of songs not heard; they add up to `score`."""
    known = mix.known(profile)
    terms = terms_of(mix.parts, known, profile, votes_of(mix.parts, known, profile), songs)
    shown = terms * (mix.weights.astype(np.float32) * (1 - known.lean[0]))[:, np.newaxis]
    rest = _blended(mix, known, terms, songs) - shown.sum(axis=0)
    return {**dict(zip(NAMES, shown, strict=True)), UNKNOWN: rest}


def _blended(
    mix: Mix, known: Known, terms: NDArray[np.float32], songs: NDArray[np.integer[Any]]
) -> NDArray[np.float32]:
    weighted = mix.weights.astype(np.float32) @ terms
    genres = terms[NAMES.index("genre")]
    return blended(mix.parts, known, weighted[np.newaxis], songs, genres[np.newaxis]).ravel()

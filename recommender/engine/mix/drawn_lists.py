"""Lists drawn from clusters by affinity, as serving draws them."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from recommender.engine.algorithms.base import exclusion_mask, top_n
from recommender.engine.data import Profiles
from recommender.engine.sampling.sampler import ARTIST_CAP, CandidatePool, draw_picks, scale_scores

TEMPERATURE: Final = 0.1  # of the default discovery
CANDIDATES: Final = 400  # songs per listener that a list is drawn from


def draw_lists(
    scores: NDArray[np.float32],
    profiles: Profiles,
    available: NDArray[np.bool_],
    *,
    labels: NDArray[np.int32],
    affinities: NDArray[np.float32],
    artists: NDArray[np.int32],
    n: int,
    seed: int,
) -> NDArray[np.int32]:
    """One list per listener, shape (profiles.n, n); a row ends in -1 if fewer than n songs are eligible.

    Args:
        scores: shape (profiles.n, n_songs).
        labels: clusters, shape (n_songs,).
        affinities: shape (profiles.n, n_clusters).
    """
    best = top_n(scores, exclusion_mask(profiles, available), CANDIDATES)
    lists = np.full((profiles.n, n), -1, dtype=np.int32)
    for row, candidates in enumerate(best):
        songs = candidates[candidates >= 0]
        pool = CandidatePool(
            songs=songs.astype(np.int64), values=scale_scores(scores[row, songs]), clusters=labels[songs],
            artists=artists[songs], affinities=affinities[row].astype(np.float64),
        )  # fmt: skip
        picks = draw_picks(pool, n=n, temperature=TEMPERATURE, seed=f"{seed}:{row}", artist_cap=ARTIST_CAP)
        lists[row, : len(picks)] = songs[[pick.index for pick in picks]]
    return lists

"""Defaults and limits of recommendation lists, for the API, pages, commands and checks."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from recommender.engine.evaluation import metrics
from recommender.engine.sampling import sampler

# Songs in a list. Offline evaluation (NDCG@20) measures lists of the same length.
LIST_LENGTH: Final = metrics.LIST_LENGTH
# At this value the draw neither favours nor avoids artists that are new to the listener.
DISCOVERY: Final = sampler.NEUTRAL_DISCOVERY
# Songs by one artist in a list.
ARTIST_CAP: Final = 2
# Songs that one request can ask for.
MAX_LIST_LENGTH: Final = 100
# Songs that are cached for a listener, so a list with all its pages has at most as many.
MAX_CANDIDATES: Final = 400
# Candidates by one artist. Without this cap the candidates of a listener of three artists are by three
# artists, and at two songs by one artist a list has six songs.
MAX_PER_ARTIST: Final = 10


@dataclass(frozen=True)
class ServingOptions:
    storage: Path  # the folder of the models' artifacts
    artist_cap: int | None = ARTIST_CAP  # songs by one artist in a list; None: any number


def first_per_group(groups: NDArray[np.integer], limit: int) -> NDArray[np.bool_]:
    """True for the first `limit` entries of each group; same shape as `groups`."""
    order = np.argsort(groups, kind="stable")
    ordered = groups[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]]) if len(groups) else order
    sizes = np.diff(np.r_[starts, len(groups)])
    within = np.empty(len(groups), dtype=np.bool_)
    within[order] = np.arange(len(groups)) - np.repeat(starts, sizes) < limit
    return within

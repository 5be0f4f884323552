"""Defaults and limits of recommendation lists."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from recommender.engine.algorithms.base import stable_order
from recommender.engine.evaluation import metrics
from recommender.engine.sampling import sampler

# Songs in a list. Offline evaluation (NDCG@20) measures lists of the same length.
LIST_LENGTH: Final = metrics.LIST_LENGTH
# At this value the draw neither favours nor avoids artists that are new to the listener.
DISCOVERY: Final = sampler.NEUTRAL_DISCOVERY
# Songs by one artist in a list; also of the lists that trainings draw to compare numbers of clusters.
ARTIST_CAP: Final = sampler.ARTIST_CAP
# Songs that one request can ask for.
MAX_LIST_LENGTH: Final = 100
# Songs that are cached for a listener, so a list with all its pages has at most as many.
MAX_CANDIDATES: Final = 400
# Played songs for lists of favourites and for the share of favourites in other lists, beside the candidates.
MAX_FAVOURITES: Final = 100
# Candidates by one artist. Without this cap the candidates of a listener of three artists are by three
# artists, and at two songs by one artist a list has six songs.
MAX_PER_ARTIST: Final = 10
# With fewer candidates that cap is not applied, because a catalogue of three artists must fill a list, too.
MIN_CANDIDATES: Final = 200
# Without these, a listener of many artists would have no candidates by new artists for discovery 1, and a
# listener of a new genre none by familiar artists for 0.
MIN_PER_KIND: Final = 120


class Mode(StrEnum):
    """The kinds of lists that a request can ask for."""

    DISCOVER = "discover"  # songs that the listener has never heard
    MIX = "mix"  # songs never heard, and the requested share of favourites
    FAVOURITES = "favourites"  # songs that the listener plays; songs of the last three days come later


class Limit(StrEnum):
    """Limits that are relaxed, in this order, if a list would otherwise get too few songs."""

    HEARD = "heard"  # played songs are left out
    ARTIST_CAP = "artist_cap"  # at most so many songs by one artist
    FAVOURITES = "favourites"  # a list of favourites has no other songs
    REPEATED = "repeated"  # the next song is not one of those given lately


# Asks for a new candidate list in the background, by the listener's id; False if that is not possible now.
RequestRenewal = Callable[[int], bool]


@dataclass(frozen=True)
class ServingOptions:
    storage: Path  # the folder of the models' artifacts
    artist_cap: int | None = ARTIST_CAP  # songs by one artist in a list; None: any number
    request_renewal: RequestRenewal | None = None  # None: a request renews its candidates itself


def choose_candidates(
    artists: NDArray[np.integer], is_familiar: NDArray[np.bool_] | None = None
) -> NDArray[np.intp]:
    """Ascending indices of at most MAX_CANDIDATES songs, at most MAX_PER_ARTIST by one artist.

    Further songs are added below MIN_CANDIDATES.

    Args:
        is_familiar: familiar and other artists each get MIN_PER_KIND places, if there are so many.
    """
    within = first_per_group(artists, MAX_PER_ARTIST)
    chosen = np.flatnonzero(within)
    if is_familiar is not None:
        chosen = _with_both_kinds(chosen, is_familiar[chosen])
    chosen = chosen[:MAX_CANDIDATES]
    others = np.flatnonzero(~within)[: max(0, MIN_CANDIDATES - len(chosen))]
    return np.sort(np.concatenate([chosen, others]))


def _with_both_kinds(places: NDArray[np.intp], is_familiar: NDArray[np.bool_]) -> NDArray[np.intp]:
    reserved = first_per_group(is_familiar.astype(np.int8), MIN_PER_KIND)
    rest = places[~reserved][: MAX_CANDIDATES - np.count_nonzero(reserved)]
    return np.sort(np.concatenate([places[reserved], rest]))


def first_per_group(groups: NDArray[np.integer], limit: int) -> NDArray[np.bool_]:
    """Mask that is True for the first `limit` entries of each group."""
    order = stable_order(groups)
    ordered = groups[order]
    within = np.ones(len(groups), dtype=np.bool_)
    # An entry is too many if the entry `limit` places before it, in this order, is of the same group.
    within[order[limit:]] = ordered[limit:] != ordered[:-limit]
    return within

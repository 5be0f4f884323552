"""Listeners by their affinities to the champion's clusters, as their newest candidate lists have them."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from recommender.engine.sampling.candidate_codec import CandidateListDamaged, decode_candidates
from recommender.models import CandidateList

# Reading more would keep the page waiting; the newest lists are those of the most active listeners.
MAX_LISTS: Final = 500


@dataclass(frozen=True)
class ListenerAffinities:
    """Entry i of `listeners` is row i of `shares`; column j belongs to cluster `clusters[j]`."""

    listeners: NDArray[np.int64]
    clusters: NDArray[np.int64]
    shares: NDArray[np.float64]  # of a listener's engagement, 0 to 1

    def main_share_of(self, cluster: int) -> float | None:
        """The share of the listeners whose largest affinity is to the cluster; None without listeners."""
        if not len(self.listeners):
            return None
        columns = np.flatnonzero(self.clusters == cluster)
        return float((self.shares.argmax(axis=1) == columns[0]).mean()) if len(columns) else 0.0


@dataclass(frozen=True)
class SimilarListener:
    listener: int
    similarity: float  # cosine of the two listeners' affinities, 0 to 1
    shared: int  # the cluster in which both listen most


def read_affinities(version: int, also: int | None = None) -> ListenerAffinities:
    """The affinities in the newest candidate lists made with the version, of at most `MAX_LISTS` listeners.

    Args:
        also: a listener to read as well, whose list may be older.
    """
    lists = (
        CandidateList.objects.filter(version=version).order_by("-id").values_list("listener_id", "candidates")
    )
    rows = list(lists[:MAX_LISTS])
    if also is not None:
        rows += list(lists.filter(listener=also)[:1])
    found: dict[int, dict[int, float]] = {}
    for listener, encoded in rows:
        if listener not in found:
            found[listener] = _decode(bytes(encoded))
    found = {listener: shares for listener, shares in found.items() if shares}
    clusters = sorted({cluster for shares in found.values() for cluster in shares})
    table = np.array([[shares.get(one, 0.0) for one in clusters] for shares in found.values()])
    return ListenerAffinities(
        np.array(list(found), dtype=np.int64),
        np.array(clusters, dtype=np.int64),
        table.reshape(len(found), len(clusters)),
    )


def find_similar_listeners(affinities: ListenerAffinities, listener: int, n: int) -> list[SimilarListener]:
    """The listeners with the most similar affinities, best first, ties by id; empty for an unknown one."""
    own = np.flatnonzero(affinities.listeners == listener)
    if not len(own):
        return []
    shares = affinities.shares / np.linalg.norm(affinities.shares, axis=1, keepdims=True)
    similarity = shares @ shares[own[0]]
    order = [row for row in np.lexsort((affinities.listeners, -similarity)) if row != own[0]][:n]
    common = np.minimum(affinities.shares, affinities.shares[own[0]])
    return [
        SimilarListener(
            int(affinities.listeners[row]),
            float(similarity[row]),
            int(affinities.clusters[common[row].argmax()]),
        )
        for row in order
    ]


def _decode(encoded: bytes) -> dict[int, float]:
    try:
        affinities = decode_candidates(encoded).affinities
    except CandidateListDamaged:
        return {}
    return {cluster: share for cluster, share in affinities.items() if share > 0}

"""Style families: 12 to 30 groups of similar clusters, for pages that can't show hundreds."""

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage

MIN_FAMILIES: Final = 12
MAX_FAMILIES: Final = 30


def group_clusters(centers: NDArray[np.floating]) -> NDArray[np.int32]:
    """Each cluster's family, from 0, shape (n_clusters,); up to MIN_FAMILIES clusters are a family each.

    Args:
        centers: shape (n_clusters, d).

    Source:
        Ward, "Hierarchical grouping to optimize an objective function", JASA 1963.
    """
    n_clusters = len(centers)
    wanted = min(MAX_FAMILIES, max(MIN_FAMILIES, round(math.sqrt(3 * n_clusters))))
    if n_clusters <= wanted:
        return np.arange(n_clusters, dtype=np.int32)
    families = fcluster(linkage(centers, method="ward"), t=wanted, criterion="maxclust")
    return np.unique(families, return_inverse=True)[1].astype(np.int32)

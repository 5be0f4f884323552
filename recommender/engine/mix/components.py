"""What `mix` has learnt of the songs, as arrays that several processes can share."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

HYBRID_CONTENT_WEIGHTS = (0.3, 1.0)  # weight of metadata beside co-listening in the two hybrids
NEIGHBOUR_MATRICES = ("ease", "rp3", "knn")


@dataclass(frozen=True)
class MixComponents:
    """The songs as `mix` sees them; every array may be a read-only memory map.

    Attributes:
        neighbours: song-to-song weights by name; "ease" is there only where songs are few.
        taste: shape (n_songs, k), axes of co-listening, not normalised: popular songs reach further.
        content: shape (n_songs, d), metadata and sound; rows of length 1, or 0 where nothing is known.
        company: shape (n_songs, d'), who listens to it; the same.
        norms: shape (n_songs, 2), length of [m content | company] for each of MIXTURES, never 0.
        centres: the mean over all songs of each space's rows; by space.
        products: the mean outer product of the same rows.
        labels: cluster of each song.
        artists: code of each song's artist.
        listeners: how many listeners have played the song.
        genres: shape (n_songs, n_words), 1 where the word is among the song's genres.
        genre_idf: shape (n_words,).
        by_cluster: songs sorted by cluster, the most played first.
        cluster_starts: shape (n_clusters + 1,), where each cluster begins in it.
        by_artist: the same by artist.
    """

    neighbours: Mapping[str, csr_array]
    taste: NDArray[np.float32]
    content: NDArray[np.float32]
    company: NDArray[np.float32]
    norms: NDArray[np.float32]
    centres: Mapping[str, NDArray[np.float64]]
    products: Mapping[str, NDArray[np.float64]]
    labels: NDArray[np.int32]
    artists: NDArray[np.int32]
    listeners: NDArray[np.float32]
    available: NDArray[np.bool_]
    genres: csr_array
    genre_idf: NDArray[np.float32]
    by_cluster: NDArray[np.int32]
    cluster_starts: NDArray[np.int64]
    by_artist: NDArray[np.int32]
    artist_starts: NDArray[np.int64]

    @property
    def n_songs(self) -> int:
        return len(self.labels)

    @property
    def n_clusters(self) -> int:
        return len(self.cluster_starts) - 1

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """All arrays by name; a sparse matrix as its three."""
        held: dict[str, NDArray[np.generic]] = {name: getattr(self, name) for name in DENSE_ARRAYS}
        for name, matrix in {**self.neighbours, "genres": self.genres}.items():
            held |= {f"{name}_{part}": getattr(matrix, part) for part in SPARSE_ARRAYS}
        for name, centre in self.centres.items():
            held |= {f"{name}_centre": centre, f"{name}_products": self.products[name]}
        return held

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Over the same memory: nothing is copied."""
        # Plain views: indexing a memory map makes a memory map each time, at ten times the cost.
        arrays = {name: np.asarray(array) for name, array in arrays.items()}
        n_songs, n_words = len(arrays["labels"]), len(arrays["genre_idf"])
        spaces = [name.removesuffix("_centre") for name in arrays if name.endswith("_centre")]
        return cls(
            neighbours={
                name: _sparse_matrix(arrays, name, (n_songs, n_songs))
                for name in NEIGHBOUR_MATRICES
                if f"{name}_data" in arrays
            },
            centres={name: arrays[f"{name}_centre"] for name in spaces},
            products={name: arrays[f"{name}_products"] for name in spaces},
            genres=_sparse_matrix(arrays, "genres", (n_songs, n_words)),
            **{name: arrays[name] for name in DENSE_ARRAYS},
        )


SPARSE_ARRAYS = ("data", "indices", "indptr")
DENSE_ARRAYS = (
    "taste", "content", "company", "norms", "labels", "artists", "listeners", "available", "genre_idf",
    "by_cluster", "cluster_starts", "by_artist", "artist_starts",
)  # fmt: skip


def _sparse_matrix(arrays: Mapping[str, NDArray[Any]], name: str, shape: tuple[int, int]) -> csr_array:
    data, indices, indptr = (arrays[f"{name}_{part}"] for part in SPARSE_ARRAYS)
    return csr_array((data, indices, indptr), shape=shape, copy=False)


def popularity_damping(listeners: NDArray[np.float32]) -> NDArray[np.float32]:
    """What a play of each song counts for in the taste: the fourth root holds hits back, not down."""
    return np.maximum(listeners, 1) ** np.float32(-0.25)

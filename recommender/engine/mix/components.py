"""The fitted data of `mix` about songs, stored as artifact arrays."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recommender.engine.algorithms.listener_similarity import ListenerNeighbourhood
from recommender.engine.data import SongActivity

HYBRID_CONTENT_WEIGHTS = (0.3, 1.0)  # weight of content in the two hybrid spaces; co-listening has 1
NEIGHBOUR_MATRICES = ("ease", "rp3", "knn")
# Up to so many songs the weights are kept as full arrays too, 13 MB for the three: in small catalogues most
# songs are neighbours, and rows of full arrays add up faster, by a third with 400 songs.
MOST_SONGS_OF_FULL_ARRAYS = 600
SPARSE_ARRAYS = ("data", "indices", "indptr")
DENSE_ARRAYS = (
    "taste", "content", "company", "norms", "labels", "artists", "listeners", "available", "genre_idf",
    "by_cluster", "cluster_starts", "by_artist", "artist_starts",
)  # fmt: skip
# Later additions, which artifacts of earlier releases do not have.
ACTIVITY_PREFIX = "activity_"
NEIGHBOURHOOD_PREFIX = "neighbourhood_"
NEIGHBOURHOOD_MATRICES = ("histories", "audiences")
NEIGHBOURHOOD_ARRAYS = ("keys", "idf", "damping")


@dataclass(frozen=True)
class FullNeighbours:
    """The song-to-song weights of a small catalogue as full arrays, shape (n_songs, n_songs)."""

    weights: Mapping[str, NDArray[np.float32]]  # by name of the matrix; 0 for songs that are no neighbours
    double_weights: Mapping[str, NDArray[np.float64]]  # the same
    are_linked: NDArray[np.bool_]  # whether the songs are neighbours in any matrix


@dataclass(frozen=True)
class MixComponents:
    neighbours: Mapping[str, csr_array]  # song-to-song weights by name; "ease" between the most played songs
    # Shape (n_songs, k), axes of co-listening, not normalised: popular songs have longer rows.
    taste: NDArray[np.float32]
    # Shape (n_songs, d), metadata and sound; rows of length 1, or 0 if nothing is known.
    content: NDArray[np.float32]
    # Shape (n_songs, d'), co-listening features; rows of length 1, or 0 without plays.
    company: NDArray[np.float32]
    # Shape (n_songs, 2), length of [w content | company] per w in HYBRID_CONTENT_WEIGHTS, never 0.
    norms: NDArray[np.float32]
    centres: Mapping[str, NDArray[np.float64]]  # by space, mean of the songs' rows
    products: Mapping[str, NDArray[np.float64]]  # by space, mean outer product of the songs' rows
    labels: NDArray[np.int32]  # each song's cluster
    artists: NDArray[np.int32]  # each song's artist code
    listeners: NDArray[np.float32]  # how many listeners have played each song
    available: NDArray[np.bool_]
    genres: csr_array  # shape (n_songs, n_words), 1 if the song has the genre word
    genre_idf: NDArray[np.float32]  # shape (n_words,)
    by_cluster: NDArray[np.int32]  # songs sorted by cluster, by `current_listeners` within each
    cluster_starts: NDArray[np.int64]  # shape (n_clusters + 1,), where each cluster starts in `by_cluster`
    by_artist: NDArray[np.int32]  # songs sorted by artist, in the same order within each
    artist_starts: NDArray[np.int64]  # shape (n_artists + 1,)
    # The next three are None in artifacts of earlier releases.
    activity: SongActivity | None = None  # None if the plays have no times
    neighbourhood: ListenerNeighbourhood | None = None
    albums: NDArray[np.int32] | None = None  # shape (n_songs,), each song's album code

    @property
    def n_songs(self) -> int:
        return len(self.labels)

    @property
    def n_clusters(self) -> int:
        return len(self.cluster_starts) - 1

    @property
    def n_artists(self) -> int:
        return len(self.artist_starts) - 1

    @cached_property
    def n_albums(self) -> int:
        return 0 if self.albums is None else int(self.albums.max(initial=-1)) + 1

    @cached_property
    def full_neighbours(self) -> FullNeighbours | None:
        """None if the catalogue has more than MOST_SONGS_OF_FULL_ARRAYS songs."""
        if self.n_songs > MOST_SONGS_OF_FULL_ARRAYS:
            return None
        are_linked = np.zeros((self.n_songs, self.n_songs), dtype=np.bool_)
        for matrix in self.neighbours.values():
            are_linked[np.repeat(np.arange(self.n_songs), np.diff(matrix.indptr)), matrix.indices] = True
        weights = {name: matrix.toarray() for name, matrix in self.neighbours.items()}
        double_weights = {name: one.astype(np.float64) for name, one in weights.items()}
        return FullNeighbours(weights, double_weights, are_linked)

    @property
    def current_listeners(self) -> NDArray[np.float32]:
        """The number of each song's listeners; old plays count less, if the plays have times."""
        return self.listeners if self.activity is None else self.activity.listeners_this_quarter

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        arrays: dict[str, NDArray[np.generic]] = {name: getattr(self, name) for name in DENSE_ARRAYS}
        for name, matrix in {**self.neighbours, "genres": self.genres}.items():
            arrays |= {f"{name}_{part}": getattr(matrix, part) for part in SPARSE_ARRAYS}
        for name, centre in self.centres.items():
            arrays |= {f"{name}_centre": centre, f"{name}_products": self.products[name]}
        if self.activity is not None:
            arrays |= {f"{ACTIVITY_PREFIX}{name}": array for name, array in vars(self.activity).items()}
        if self.neighbourhood is not None:
            arrays |= _neighbourhood_arrays(self.neighbourhood)
        if self.albums is not None:
            arrays["albums"] = self.albums
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        # Plain views: indexing a memory map makes another memory map, at ten times the cost.
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
            activity=_activity_from_arrays(arrays),
            neighbourhood=_neighbourhood_from_arrays(arrays, n_songs),
            albums=arrays.get("albums"),
            **{name: arrays[name] for name in DENSE_ARRAYS},
        )


def _activity_from_arrays(arrays: Mapping[str, NDArray[Any]]) -> SongActivity | None:
    columns = {
        name.removeprefix(ACTIVITY_PREFIX): array
        for name, array in arrays.items()
        if name.startswith(ACTIVITY_PREFIX)
    }
    return SongActivity(**columns) if columns else None


def _neighbourhood_arrays(neighbourhood: ListenerNeighbourhood) -> dict[str, NDArray[np.generic]]:
    prefix = NEIGHBOURHOOD_PREFIX
    arrays = {f"{prefix}{name}": getattr(neighbourhood, name) for name in NEIGHBOURHOOD_ARRAYS}
    for name in NEIGHBOURHOOD_MATRICES:
        matrix = getattr(neighbourhood, name)
        arrays |= {f"{prefix}{name}_{part}": getattr(matrix, part) for part in SPARSE_ARRAYS}
    return arrays


def _neighbourhood_from_arrays(
    arrays: Mapping[str, NDArray[Any]], n_songs: int
) -> ListenerNeighbourhood | None:
    prefix = NEIGHBOURHOOD_PREFIX
    if f"{prefix}keys" not in arrays:
        return None
    n_listeners = len(arrays[f"{prefix}keys"])
    return ListenerNeighbourhood(
        histories=_sparse_matrix(arrays, f"{prefix}histories", (n_listeners, n_songs)),
        audiences=_sparse_matrix(arrays, f"{prefix}audiences", (n_songs, n_listeners)),
        **{name: arrays[f"{prefix}{name}"] for name in NEIGHBOURHOOD_ARRAYS},
    )


def _sparse_matrix(arrays: Mapping[str, NDArray[Any]], name: str, shape: tuple[int, int]) -> csr_array:
    data, indices, indptr = (arrays[f"{name}_{part}"] for part in SPARSE_ARRAYS)
    return csr_array((data, indices, indptr), shape=shape, copy=False)


def popularity_damping(listeners: NDArray[np.float32]) -> NDArray[np.float32]:
    """Factors that reduce the weight of popular songs on the taste axes."""
    return np.maximum(listeners, 1) ** np.float32(-0.25)

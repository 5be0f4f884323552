"""Songs as points in few dimensions: what is left of a wide sparse matrix without its noise."""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.linalg import svds


def factors(matrix: csr_array, k: int, *, seed: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The right singular vectors as rows of songs (n_columns, k'), and the singular values, largest first.

    k' is k, or what the matrix has room for; 0 where it is empty. The sign of each vector is fixed (its
    largest entry is positive), so that the same input and seed give the same numbers.
    """
    room = min(k, min(matrix.shape) - 1)
    if room < 1 or matrix.nnz == 0:
        return np.zeros((matrix.shape[1], 0), dtype=np.float32), np.zeros(0, dtype=np.float32)
    start = np.random.default_rng(seed).standard_normal(min(matrix.shape))
    _, values, vectors = svds(matrix.astype(np.float64), k=room, v0=start)
    order = np.argsort(-values, kind="stable")
    order = order[values[order] > values.max() * 1e-6]
    chosen = vectors[order].T
    signs = np.sign(chosen[np.argmax(np.abs(chosen), axis=0), np.arange(len(order))])
    return (chosen * signs).astype(np.float32), values[order].astype(np.float32)


def softened(vectors: NDArray[np.float32], values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Each row of unit length, its axes weighed by the root of their singular values.

    The root is measured: the values themselves, which let the first axes speak alone, lose 1 % on a set with
    rich metadata.
    """
    return unit(vectors * np.sqrt(values))


def unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows of length 1; a row of nothing stays nothing."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.where(lengths > 1e-9, lengths, 1), dtype=np.float32)

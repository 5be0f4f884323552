"""Truncated singular value decomposition of sparse matrices, with bit-identical results."""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.linalg import svds

from recommender.engine.native_threads import one_native_thread

EXACT_SVD_LIMIT = 50_000  # rows or columns up to which the exact method takes under 5 s
OVERSAMPLING = 16  # extra axes, so that the last requested ones are accurate too
POWER_ITERATIONS = 5
BLOCK_ROWS = 5_000
ROUNDING = 1e-12  # share of the largest eigenvalue below which single precision leaves only rounding errors


def truncated_svd(matrix: csr_array, k: int, *, seed: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """At most k right singular vectors, shape (n_columns, k'), and singular values, largest first.

    In each vector the entry of largest absolute value is positive, so that results are reproducible.
    """
    rank_limit = min(k, min(matrix.shape) - 1)
    if rank_limit < 1 or not matrix.data.any():
        return np.zeros((matrix.shape[1], 0), dtype=np.float32), np.zeros(0, dtype=np.float32)
    decompose = _lanczos_svd if max(matrix.shape) <= EXACT_SVD_LIMIT else _randomized_svd
    # One thread gives the same bits in every process, and waiting threads cost time on busy machines.
    with one_native_thread():
        vectors, values = decompose(matrix, rank_limit, np.random.default_rng(seed))
    order = np.argsort(-values, kind="stable")
    order = order[values[order] > values.max() * 1e-6]
    signs = np.sign(_largest_entries(vectors))
    # C order, because a request reads whole rows. In blocks, because a copy takes 260 MB for a million songs.
    found = np.empty((len(vectors), len(order)), dtype=np.float32)
    for start in range(0, len(vectors), BLOCK_ROWS):
        block = slice(start, start + BLOCK_ROWS)
        found[block] = (vectors[block] * signs)[:, order]
    return found, values[order].astype(np.float32)


def _largest_entries(vectors: NDArray[np.floating]) -> NDArray[np.floating]:
    """Each column's entry of largest absolute value, the first of equal ones."""
    largest = np.zeros(vectors.shape[1], dtype=vectors.dtype)
    for start in range(0, len(vectors), BLOCK_ROWS):
        block = vectors[start : start + BLOCK_ROWS]
        entries = block[np.abs(block).argmax(axis=0), np.arange(block.shape[1])]
        largest = np.where(np.abs(entries) > np.abs(largest), entries, largest)
    return largest


def _lanczos_svd(
    matrix: csr_array, k: int, draw: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    start = draw.standard_normal(min(matrix.shape))
    _, values, vectors = svds(matrix.astype(np.float64), k=k, v0=start)
    return vectors.T, values


def _randomized_svd(
    matrix: csr_array, k: int, draw: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Approximate singular value decomposition, in a tenth of the time of the exact one.

    Source:
        Halko, Martinsson and Tropp, "Finding structure with randomness", SIAM Review 53(2), 2011.
    """
    wide = csr_array(matrix, dtype=np.float32)
    if wide.shape[0] > wide.shape[1]:
        wide = csr_array(wide.T)
    across = csr_array(wide.T)
    # The shorter side is orthogonalised. Only the last few axes deviate; their singular values hardly differ.
    basis = draw.standard_normal((wide.shape[0], k + OVERSAMPLING)).astype(np.float32)
    for _ in range(POWER_ITERATIONS):
        basis = orthonormal_basis(wide @ (across @ basis))
    images = across @ basis
    eigenvalues, eigenvectors = np.linalg.eigh((images.T @ images).astype(np.float64))
    values = np.sqrt(np.maximum(eigenvalues[-k:], 1e-30)).astype(np.float32)
    rotation = eigenvectors[:, -k:].astype(np.float32)
    if len(images) != matrix.shape[1]:
        return basis @ rotation, values
    vectors = images @ rotation
    vectors /= values
    return vectors, values


def orthonormal_basis(columns: NDArray[np.float32]) -> NDArray[np.float32]:
    """An orthonormal basis of the columns of a tall matrix; five times faster than QR."""
    double = columns.astype(np.float64)
    eigenvalues, eigenvectors = np.linalg.eigh(double.T @ double)
    kept = eigenvalues > eigenvalues[-1] * ROUNDING
    return np.asarray(columns @ (eigenvectors[:, kept] / np.sqrt(eigenvalues[kept])).astype(np.float32))


def weighted_unit_rows(vectors: NDArray[np.float32], values: NDArray[np.float32]) -> NDArray[np.float32]:
    # Measured: weighting by the values themselves emphasises the first axes, and loses 1 % on a data set
    # with rich metadata.
    return make_unit_rows(vectors * np.sqrt(values))


def make_unit_rows(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale the rows to length 1 in place, except those of length 0; returns `rows`.

    In blocks, because the lengths of all rows at once take as much memory as the rows.
    """
    for start in range(0, len(rows), BLOCK_ROWS):
        block = rows[start : start + BLOCK_ROWS]
        lengths = np.linalg.norm(block, axis=1, keepdims=True)
        block /= np.where(lengths > 1e-9, lengths, 1)
    return rows

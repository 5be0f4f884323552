"""The order of a stable sort, compared with numpy's."""

import numpy as np
import pytest
from numpy.typing import NDArray

from recommender.engine.algorithms.base import stable_order


@pytest.mark.parametrize(
    "numbers",
    [
        np.random.default_rng(1).integers(0, 20, 5_000),
        np.random.default_rng(2).integers(0, 2**50, 5_000).repeat(2)[:8_191],
        np.random.default_rng(3).integers(-9, 9, 500),
        np.random.default_rng(4).integers(0, 2**63 - 1, 500, dtype=np.int64).repeat(2),
        np.random.default_rng(5).integers(0, 9, 500).astype(np.int8),
        np.array([2**51 - 1, 2**51 - 1, 0] * 1_000),
        np.array([2**52, 2**51, 2**52] * 1_000),
        np.array([7]),
        np.array([], dtype=np.int64),
    ],
)  # fmt: skip
def test_equal_numbers_keep_their_order(numbers: NDArray[np.integer]) -> None:
    assert stable_order(numbers).tolist() == np.argsort(numbers, kind="stable").tolist()

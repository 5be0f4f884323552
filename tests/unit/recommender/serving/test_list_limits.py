"""The limit of songs by group."""

import numpy as np
import pytest

from recommender.serving.list_limits import first_per_group


@pytest.mark.parametrize("limit", [1, 2, 3, 50])
def test_the_first_entries_of_each_group_are_within_its_limit(limit: int) -> None:
    groups = np.random.default_rng(limit).integers(0, 6, 40)

    within = first_per_group(groups, limit)

    assert within.tolist() == [int((groups[:place] == groups[place]).sum()) < limit for place in range(40)]


def test_no_entries_are_within_no_limit() -> None:
    assert first_per_group(np.empty(0, dtype=np.int64), 1).tolist() == []

"""The n-th smallest value is the one that sorting finds, in a fraction of its memory."""

import tracemalloc
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestion.pipeline.compact import selection
from ingestion.pipeline.compact.selection import nth_smallest

TIMES = st.floats(-1e10, 1e10) | st.sampled_from([0.0, 1.0, 1e-320, 1e9 + 0.000001])


@given(values=st.lists(TIMES, min_size=1), data=st.data())
def test_the_value_at_a_place_is_the_sorted_one(values: list[float], data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(values) - 1))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(selection, "MAX_SORTED", 2)
        patch.setattr(selection, "BUCKETS", 3)
        found = nth_smallest(array("d", values), place)

    assert found == sorted(values)[place]


@pytest.mark.parametrize("place", [-1, 3])
def test_a_place_outside_is_refused(place: int) -> None:
    with pytest.raises(IndexError):
        nth_smallest(array("d", [1, 2, 3]), place)


@pytest.mark.slow
def test_the_median_of_many_values_needs_a_few_megabytes() -> None:
    values = array("d", (float(number * 7_919 % 300_007) for number in range(300_000)))

    tracemalloc.start()
    try:
        median = nth_smallest(values, 150_000)
        needed = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert median == sorted(values)[150_000]
    assert needed < 3e6

"""Numbers of given ranks are those that sorting finds."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from pipeline.images import ranks


@given(
    st.sampled_from(["u2", "u4", "i4", "f4"]).flatmap(
        lambda kind: arrays.arrays(
            kind,
            st.integers(1, 50),
            elements=st.floats(width=32, allow_nan=False) if kind == "f4" else arrays.from_dtype(np.dtype(kind)),
        )
    ),
    st.sampled_from([0, 0.005, 0.1, 0.4]),
    st.integers(1, 7),
)
@settings(deadline=None, max_examples=60)
def test_ranks_are_those_of_the_sorted_numbers_however_they_are_parted(numbers, share, step):
    ordered, cut = np.sort(numbers).astype(float), int(len(numbers) * share)
    found = ranks.extremes(lambda: (numbers[i : i + step] for i in range(0, len(numbers), step)), share)
    assert found == (ordered[0], ordered[cut], ordered[-1 - cut], ordered[-1])


@pytest.mark.parametrize("kind", ["u2", "f4"])
def test_of_no_numbers_there_are_none(kind):
    assert ranks.extremes(lambda: [np.empty(0, kind)], 0.1) is None

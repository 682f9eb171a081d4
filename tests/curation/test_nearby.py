import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.curation import nearby
from pipeline.curation.nearby import NearbyCodes


def by_hand(codes, asked, radius):
    distances = np.bitwise_count(asked[:, None] ^ codes[None]).sum(axis=2)
    queries, numbers = np.nonzero(distances <= radius)
    return [queries.tolist(), numbers.tolist(), distances[queries, numbers].tolist()]


def codes_of(count, seed, centres=4, flipped=0.12):
    """Codes in few crowds, so that all distances occur."""
    rng = np.random.default_rng(seed)
    crowd = rng.random((centres, 64)) < 0.5
    return np.packbits(crowd[rng.integers(0, centres, count)] ^ (rng.random((count, 64)) < flipped), axis=1)


@pytest.mark.parametrize("dear", [200, 0], ids=["one by one", "by quarters"])
@settings(deadline=None, max_examples=20)
@given(
    radius=st.sampled_from([0, 1, 2, 3, 4, 7, 12, 16]), seed=st.integers(0, 99),
    cuts=st.lists(st.integers(1, 80), max_size=3),
)  # fmt: skip
def test_all_within_the_radius_are_found_and_no_others_with_their_distances_in_order(dear, radius, seed, cuts):
    codes = codes_of(200, seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nearby, "_DEAR", dear)
        known = NearbyCodes(radius)
        for part in np.split(codes[:150], sorted(set(cuts))):
            known.add(part)
        assert len(known) == 150
        found = known.within(codes[150:])
    assert [part.tolist() for part in found] == by_hand(codes[:150], codes[150:], radius)


def test_codes_that_were_few_when_they_were_added_are_found_among_many(monkeypatch):
    codes = codes_of(120, 0)
    known = NearbyCodes(3)
    monkeypatch.setattr(known, "_many", 50)
    for start in range(0, 100, 20):
        known.add(codes[start : start + 20])
        found = known.within(codes[100:])
        assert [part.tolist() for part in found] == by_hand(codes[: start + 20], codes[100:], 3)


def test_in_nothing_nothing_is_found():
    assert [len(part) for part in NearbyCodes(12).within(codes_of(3, 0))] == [0, 0, 0]

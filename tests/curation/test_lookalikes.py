import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.curation.alignment import MAX_SHADE
from pipeline.curation.inspection import Inspection
from pipeline.curation.lookalikes import SKETCH_LIMIT, Lookalikes

GREY = bytes([100]) * 192


def seen(phash, sketch=GREY):
    return Inspection(b"", phash, sketch, 1, 1, "jpg")


def bits(*places):
    return sum(1 << p for p in places)


@pytest.mark.parametrize("radius", [0, 1, 5])
def test_the_radius_is_inclusive(radius):
    lookalikes = Lookalikes(radius)
    lookalikes.add([seen(0), seen(bits(*range(radius))), seen(bits(*range(30, 31 + radius)))])
    assert lookalikes.before(0) == [{}, {0: radius}, {}]


def test_only_earlier_pictures_are_found_in_their_order_with_their_distances():
    lookalikes = Lookalikes(2)
    lookalikes.add([seen(bits(0)), seen(bits(40, 41, 42))])
    lookalikes.add([seen(0), seen(bits(0, 1)), seen(bits(63))])
    assert len(lookalikes) == 5
    assert lookalikes.before(2) == [{0: 1}, {0: 1, 2: 2}, {0: 2, 2: 1}]
    assert lookalikes.before(5) == []


def test_pictures_of_other_colours_are_ruled_out_by_their_sketches():
    near, far = (bytes([100 + round(MAX_SHADE + SKETCH_LIMIT) + d]) * 192 for d in (0, 1))
    lookalikes = Lookalikes(3)
    lookalikes.add([seen(7), seen(7, near), seen(7, far)])
    assert lookalikes.before(0) == [{}, {0: 0}, {1: 0}]


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 63), max_size=4).map(lambda p: bits(*set(p))), min_size=1, max_size=40),
    st.integers(0, 6),
    st.integers(0, 39),
)
def test_nothing_within_the_radius_is_missed(hashes, radius, start):
    start = min(start, len(hashes))
    lookalikes = Lookalikes(radius)
    lookalikes.add([seen(h) for h in hashes[: len(hashes) // 2]])
    lookalikes.add([seen(h) for h in hashes[len(hashes) // 2 :]])
    expected = [
        {j: d for j in range(i) if (d := (hashes[i] ^ hashes[j]).bit_count()) <= radius}
        for i in range(start, len(hashes))
    ]
    assert lookalikes.before(start) == expected


def test_more_pictures_than_are_first_made_room_for():
    lookalikes = Lookalikes(0)
    for part in range(0, 3000, 500):
        lookalikes.add([seen(i) for i in range(part, part + 500)])
    lookalikes.add([seen(2999), seen(17)])
    assert lookalikes.before(3000) == [{2999: 0}, {17: 0}]


def test_what_is_forgotten_is_not_found_later_and_keeps_its_number():
    lookalikes = Lookalikes(2)
    lookalikes.add([seen(0), seen(1), seen(3)])
    lookalikes.forget([1])
    lookalikes.add([seen(0)])
    assert lookalikes.before(3) == [{0: 0, 2: 2}]


def test_of_very_many_alike_the_nearest_are_compared_and_those_always_wanted(monkeypatch):
    monkeypatch.setattr("pipeline.curation.lookalikes.MOST", 3)
    lookalikes = Lookalikes(8)
    lookalikes.add([seen(0b1111), seen(0b1), seen(0b11), seen(0), seen(0b11), seen(0b111), seen(0)])
    assert lookalikes.before(6) == [{1: 1, 2: 2, 3: 0}]
    lookalikes.always = 1
    assert lookalikes.before(6) == [{0: 4, 1: 1, 3: 0}]
    lookalikes.always = 5
    assert lookalikes.before(6) == [{0: 4, 1: 1, 2: 2, 3: 0, 4: 2}]
    assert lookalikes.crowded == 3

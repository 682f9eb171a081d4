import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.detector.detect import PADDING, Box, crop


def grid(width, height):
    """An image whose pixel at (x, y) is (x, y, 0), so that a crop shows where it was taken."""
    y, x = np.mgrid[0:height, 0:width].astype(np.uint8)
    return Image.fromarray(np.dstack([x, y, np.zeros_like(x)]))


def taken(picture):
    """Size, and where the first and the last pixel come from."""
    last = (picture.width - 1, picture.height - 1)
    return picture.size, picture.getpixel((0, 0))[:2], picture.getpixel(last)[:2]


def test_the_area_of_a_box_is_its_share_of_the_picture():
    assert Box((0.1, 0.2, 0.6, 0.4), 0.9, "dog").area == pytest.approx(0.1)
    assert Box((0, 0, 1, 1), 0.9, "dog").area == 1
    assert Box((0.6, 0.2, 0.1, 0.4), 0.9, "inside out").area == 0


@pytest.mark.parametrize(
    ("corners", "margin", "size", "first", "last"),
    [
        ((0.2, 0.3, 0.4, 0.5), 0.0, 20, (20, 30), (39, 49)),
        ((0.2, 0.3, 0.4, 0.5), 0.25, 30, (15, 25), (44, 54)),  # 5 of 20 pixels wider each way
        ((0.2, 0.4, 0.6, 0.5), 0.0, 40, (20, 25), (59, 64)),  # a wide box: more above and below, nothing squashed
        ((0.4, 0.2, 0.5, 0.6), 0.0, 40, (25, 20), (64, 59)),
        ((0.9, 0.9, 1.0, 1.0), 0.5, 20, (80, 80), (99, 99)),  # moved inside at the corner
        ((0.0, 0.0, 0.1, 0.1), 0.5, 20, (0, 0), (19, 19)),
        ((0.0, 0.0, 1.0, 1.0), 0.0, 100, (0, 0), (99, 99)),
    ],
)
def test_a_crop_is_a_square_around_the_box(corners, margin, size, first, last):
    assert taken(crop(grid(100, 100), corners, margin, side=200)) == ((size, size), first, last)


def test_a_square_higher_than_the_picture_is_padded_and_not_squashed():
    found = crop(grid(100, 40), (0, 0, 1, 1), 0, side=200)
    assert found.size == (100, 100)
    assert [found.getpixel((7, y)) for y in (29, 30, 69, 70)] == [PADDING, (7, 0, 0), (7, 39, 0), PADDING]


def test_a_square_wider_than_the_picture_is_padded_at_the_sides():
    found = crop(grid(40, 100), (0, 0, 1, 1), 0, side=200)
    assert [found.getpixel((x, 7)) for x in (29, 30, 69, 70)] == [PADDING, (0, 7, 0), (39, 7, 0), PADDING]


def test_the_margin_of_the_whole_picture_is_padding():
    found = crop(grid(100, 100), (0, 0, 1, 1), 0.1, side=200)
    assert found.size == (120, 120)
    assert found.getpixel((9, 9)) == found.getpixel((110, 110)) == PADDING
    assert (found.getpixel((10, 10)), found.getpixel((109, 109))) == ((0, 0, 0), (99, 99, 0))


def test_a_large_crop_is_made_smaller_in_proportion():
    picture = Image.new("RGB", (100, 100), "black")
    picture.paste((255, 255, 255), (50, 0, 100, 100))
    found = np.asarray(crop(picture, (0, 0, 1, 1), 0, side=10))
    assert found.shape == (10, 10, 3)
    assert found[:, :4].max() < 40
    assert found[:, 6:].min() > 215


def test_a_crop_is_never_made_larger():
    assert crop(grid(100, 100), (0.1, 0.1, 0.2, 0.2), 0, side=64).size == (10, 10)


unit = st.floats(0, 1)


@settings(deadline=None, max_examples=150)
@given(
    size=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    corners=st.tuples(unit, unit, unit, unit),
    margin=st.sampled_from([0, 0.1, 1.5]),
    side=st.integers(2, 32),
)
def test_any_box_of_any_picture_gives_a_square_of_at_most_the_side(size, corners, margin, side):
    x0, x1 = sorted(corners[::2])
    y0, y1 = sorted(corners[1::2])
    found = crop(Image.new("RGB", size), (x0, y0, x1, y1), margin, side)
    assert found.mode == "RGB"
    assert found.width == found.height <= side

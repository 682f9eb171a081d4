import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from tiny_models import picture

from pipeline.views.view import Augmentation, View, apply, drawn

HOW = Augmentation(area=0.5, flip=0.5, colour=0.25)
WHOLE = (0.0, 0.0, 1.0, 1.0)


def plain(box=WHOLE, flip=False, brightness=1.0, contrast=1.0, saturation=1.0):
    return View(box, flip, brightness, contrast, saturation)


def array(image):
    return np.asarray(image, dtype=int)


# What is drawn


def test_a_view_is_the_same_whichever_others_are_drawn():
    forwards = [drawn(3, key, number, HOW) for key in "ab" for number in (1, 2, 3)]
    backwards = [drawn(3, key, number, HOW) for key in "ba" for number in (3, 2, 1)]
    assert forwards == backwards[::-1]


def test_seed_key_and_number_each_make_another_view():
    views = {drawn(seed, key, number, HOW) for seed in (0, 1) for key in ("a", "b") for number in (1, 2, 11)}
    assert len(views) == 12


@given(st.integers(0, 2**32), st.text(max_size=8), st.integers(1, 64), st.floats(0.01, 1), st.floats(0, 1))
def test_a_view_shows_its_share_of_the_image_in_nearly_its_shape(seed, key, number, area, colour):
    view = drawn(seed, key, number, Augmentation(area, 0.5, colour))
    x0, y0, x1, y1 = view.box
    assert 0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1
    width, height = x1 - x0, y1 - y0
    assert area * (1 - 1e-5) <= width * height <= 1 + 1e-5
    assert 3 / 4 * (1 - 1e-4) <= width / height <= 4 / 3 * (1 + 1e-4)
    for factor in (view.brightness, view.contrast, view.saturation):
        assert 1 - colour - 1e-6 <= factor <= 1 + colour + 1e-6


def test_without_alterations_a_view_is_the_image():
    assert drawn(0, "a", 1, Augmentation(area=1.0, flip=0.0, colour=0.0)) == plain()


@pytest.mark.parametrize("flip", [0.0, 0.25, 1.0])
def test_the_share_of_flipped_views_is_the_one_asked_for(flip):
    turned = [drawn(0, str(key), 1, Augmentation(0.5, flip, 0.0)).flip for key in range(2000)]
    assert abs(np.mean(turned) - flip) < (0.04 if 0 < flip < 1 else 1e-9)


def test_shares_and_places_are_spread_evenly():
    boxes = np.array([drawn(0, str(key), 1, HOW).box for key in range(4000)])
    sides = boxes[:, 2:] - boxes[:, :2]
    areas = sides.prod(axis=1)
    assert np.abs(np.histogram(areas, bins=5, range=(0.5, 1))[0] / 4000 - 0.2).max() < 0.03
    places = (boxes[:, :2] / (1 - sides))[(sides < 0.9).all(axis=1)]
    assert np.abs(places.mean(axis=0) - 0.5).max() < 0.03


def test_the_same_bytes_stand_for_a_view_that_was_stored():
    view = drawn(7, "cc-1", 2, HOW)
    assert view.stored == view
    assert view.stored.packed == view.packed
    assert len({view.packed, plain().packed, plain(flip=True).packed, plain(contrast=1.5).packed}) == 4


# What is made of an image


def test_an_unaltered_view_is_the_image():
    assert np.array_equal(array(apply(picture(0), plain())), array(picture(0)))


def test_a_box_is_cut_and_then_turned():
    image = Image.fromarray(np.arange(4 * 8 * 3, dtype=np.uint8).reshape(4, 8, 3))
    cut = apply(image, plain(box=(0.25, 0.5, 0.75, 1.0)))
    assert np.array_equal(array(cut), array(image)[2:4, 2:6])
    assert np.array_equal(array(apply(image, plain(box=(0.25, 0.5, 0.75, 1.0), flip=True))), array(cut)[:, ::-1])


@pytest.mark.parametrize("box", [(0.9, 0.9, 0.91, 0.91), (0.0, 0.999, 0.001, 1.0), (0.999, 0.0, 1.0, 1.0)])
def test_a_view_of_a_tiny_image_has_a_pixel(box):
    seen = apply(picture(0, width=3, height=2), plain(box=box))
    assert min(seen.size) >= 1
    assert seen.size[0] <= 3 and seen.size[1] <= 2


def test_brightness_contrast_and_saturation_by_hand():
    image = Image.new("RGB", (2, 1), (100, 50, 20))
    assert apply(image, plain(brightness=0.5)).getpixel((0, 0)) == (50, 25, 10)
    assert apply(image, plain(brightness=1.5)).getpixel((0, 0)) == (150, 75, 30)
    grey = image.convert("L").getpixel((0, 0))
    assert apply(image, plain(contrast=0.0)).getpixel((0, 0)) == (grey, grey, grey)
    assert apply(image, plain(saturation=0.0)).getpixel((0, 0)) == (grey, grey, grey)
    assert apply(image, plain(saturation=0.5)).getpixel((0, 0)) == tuple((c + grey) // 2 for c in (100, 50, 20))


def test_the_image_itself_stays_as_it_is():
    image = picture(1)
    before = array(image).copy()
    apply(image, drawn(0, "a", 1, Augmentation(0.3, 1.0, 0.5)))
    assert np.array_equal(array(image), before)

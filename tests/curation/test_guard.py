import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from photographs import ALTERED, bordered, gain, photograph
from PIL import Image, ImageOps

from pipeline.curation.altered import is_altered, views
from pipeline.curation.appearance import frames, inside_border
from pipeline.curation.guard import Frames, Guard
from pipeline.images.decoding import decode, encode_jpeg


def found(originals, others):
    """(Other, original) of all that the guard recognises; the keys are theirs."""
    guard, asked = Guard(), Frames()
    for number, picture in originals.items():
        guard.add(number, frames(picture))
    for number, picture in others.items():
        asked.add(number, frames(picture))
    return {
        (other, original)
        for other, suspects in guard.suspects(asked).items()
        for original, ways in suspects.items()
        if any(is_altered(views(originals[original])[w.frame], views(others[other])[w.other_frame], w) for w in ways)
    }


def as_jpeg(picture):
    return decode(encode_jpeg(picture, 85))


@pytest.mark.parametrize("name", ALTERED)
def test_altered_copies_are_recognised_and_other_pictures_are_not(name):
    originals = {n: photograph(n) for n in range(6)}
    copies = {n: as_jpeg(ALTERED[name](picture)) for n, picture in originals.items()}
    copies |= {n: as_jpeg(ALTERED[name](photograph(n))) for n in range(100, 106)}
    assert found(originals, copies) == {(n, n) for n in range(6)}


@settings(deadline=None, max_examples=12, derandomize=True)
@given(
    number=st.integers(0, 1000), light=st.floats(0.5, 1.3), border=st.floats(0, 0.2), colour=st.sampled_from(
        ("white", "black", "navy")), mirrored=st.booleans(), grey=st.booleans(), side=st.integers(90, 400),
)  # fmt: skip
def test_changes_of_all_kinds_at_once_are_recognised(number, light, border, colour, mirrored, grey, side):
    original = photograph(number)
    copy = gain(ImageOps.mirror(original) if mirrored else original, light)
    copy = copy.convert("L").convert("RGB") if grey else copy
    copy = bordered(copy, border, colour)
    copy = as_jpeg(copy.resize((side, round(side * copy.height / copy.width))))
    assert found({1: original}, {2: copy}) == {(2, 1)}


def test_flat_pictures_are_like_no_other():
    shades = {n: Image.new("RGB", (100, 80), (n, n, n)) for n in (0, 100, 102, 255)}
    noise = np.random.default_rng(0).normal(128, 2, (80, 100, 3)).clip(0, 255).astype(np.uint8)
    shades[300] = Image.fromarray(noise)
    assert found(shades, {**shades, 7: photograph(7)}) == set()
    assert found({7: photograph(7)}, shades) == set()


def test_a_border_of_one_colour_is_found_whatever_the_noise_of_compression():
    picture = photograph(1)
    assert inside_border(np.asarray(picture.convert("L"))) is None
    framed = np.asarray(as_jpeg(bordered(picture, 0.1, "teal")).convert("L"))
    left, top, right, bottom = inside_border(framed)
    edge = round(0.1 * 180)
    assert max(abs(left - edge), abs(top - edge), abs(right - edge - 240), abs(bottom - edge - 180)) <= 3


def test_a_picture_of_one_colour_has_no_border():
    assert inside_border(np.full((50, 60), 7, np.uint8)) is None


def test_pictures_added_later_are_guarded_too():
    guard, asked = Guard(), Frames()
    asked.add(9, frames(photograph(2)))
    assert guard.suspects(asked) == {}
    guard.add(1, frames(photograph(1)))
    assert guard.suspects(asked) == {}
    guard.add(2, frames(photograph(2)))
    assert list(guard.suspects(asked)[9]) == [2]

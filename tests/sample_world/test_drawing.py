import numpy as np
import pytest
from PIL import ImageChops

from pipeline.sample_world.drawing import draw
from pipeline.sample_world.scenes import Scene, Thing
from pipeline.sample_world.vocabulary import SHAPES, TEXTURES


def scene(shape="circle", texture="plain", colour="red"):
    return Scene((Thing(shape, colour, texture, "large", 80.0, 110.0, 34.0, 10.0),), "stone", 7)


def test_the_same_scene_has_the_same_pixels_and_another_seed_another_noise():
    assert draw(scene()).tobytes() == draw(scene()).tobytes()
    assert draw(scene()).tobytes() != draw(Scene(scene().things, "stone", 8)).tobytes()


@pytest.mark.parametrize("shape", SHAPES)
def test_a_thing_is_drawn_within_its_box_and_fills_most_of_its_width(shape):
    bare = draw(Scene((), "stone", 7))
    left, top, right, bottom = ImageChops.difference(draw(scene(shape)), bare).getbbox()
    x0, y0, x1, y1 = scene().things[0].box
    assert left >= x0 - 2
    assert top >= y0 - 2
    assert right <= x1 + 2
    assert bottom <= y1 + 2
    assert right - left > 0.7 * (x1 - x0)


def test_a_plain_thing_has_its_colour():
    found = np.asarray(draw(scene()), dtype=int)[110, 80]
    assert np.abs(found - (214, 39, 40)).max() <= 14  # the light of the whole image varies by as much


def test_every_texture_looks_different():
    pictures = {draw(scene(texture=texture)).tobytes() for texture in TEXTURES}
    assert len(pictures) == len(TEXTURES)

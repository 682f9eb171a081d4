import io

import numpy as np
import pytest
from PIL import Image, ImageChops

from pipeline.images import UnreadableImage, decode
from pipeline.sample_world.drawing import draw
from pipeline.sample_world.pictures import Picture, jpeg, render
from pipeline.sample_world.scenes import SIDE, Scene, Thing
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
    assert np.abs(found - (214, 39, 40)).max() <= 14  # the light of the whole picture varies by as much


def test_every_texture_looks_different():
    pictures = {draw(scene(texture=texture)).tobytes() for texture in TEXTURES}
    assert len(pictures) == len(TEXTURES)


@pytest.mark.parametrize(("form", "mode"), [("rgb", "RGB"), ("grey", "L"), ("cmyk", "CMYK")])
def test_a_form_is_how_the_file_is_stored(form, mode):
    with Image.open(io.BytesIO(jpeg(Picture(scene(), form)))) as image:
        assert (image.format, image.mode, image.size) == ("JPEG", mode, (SIDE, SIDE))


def test_a_near_duplicate_looks_the_same_in_other_bytes():
    whole = Picture(scene())
    for form in ("recompressed", "resized"):
        data = jpeg(Picture(scene(), form))
        assert data != jpeg(whole)
        same_size = decode(data).resize((SIDE, SIDE))
        difference = np.abs(np.asarray(same_size, dtype=int) - np.asarray(decode(jpeg(whole)), dtype=int))
        assert difference.mean() < 6


def test_a_truncated_file_cannot_be_decoded():
    with pytest.raises(UnreadableImage):
        decode(jpeg(Picture(scene(), "truncated")))


def test_pictures_are_rendered_in_order():
    pictures = [Picture(scene(shape)) for shape in SHAPES[:3]]
    assert list(render(pictures, "draw", workers=1)) == [jpeg(p) for p in pictures]

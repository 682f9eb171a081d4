from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageDraw
from tiny_corpora import encoded, write

from pipeline.curation.alignment import LIMIT, difference, same_image, thumbnail
from pipeline.images.decoding import decode, encode_jpeg
from pipeline.sample_world.drawing import draw
from pipeline.sample_world.scenes import random_scene
from pipeline.sample_world.vocabulary import SEEN_COLOURS, SEEN_SHAPES
from pipeline.sources import File

SEEDS = range(6)


def scene(seed):
    return random_scene(np.random.default_rng(seed), SEEN_SHAPES, SEEN_COLOURS)


def differ(a, b):
    return difference(thumbnail(a), thumbnail(b))


def cropped(image, left, top, right, bottom):
    w, h = image.size
    return image.crop((round(left * w), round(top * h), round((1 - right) * w), round((1 - bottom) * h)))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    "change",
    [
        lambda p: decode(encode_jpeg(p, 40)),
        lambda p: p.resize((96, 96), Image.Resampling.BICUBIC),
        lambda p: p.resize((240, 250), Image.Resampling.LANCZOS),
        lambda p: cropped(p, 0.03, 0.03, 0, 0),
        lambda p: cropped(p, 0.03, 0, 0, 0.03),
        lambda p: decode(encode_jpeg(cropped(p, 0.03, 0.03, 0.03, 0.03).resize((120, 120)), 70)),
        lambda p: p.point(lambda v: v + 8),
    ],
    ids=["compressed", "smaller", "larger and stretched", "one corner", "other corner", "all", "lighter"],
)
def test_a_copy_is_the_same_picture_either_way_round(seed, change):
    picture = draw(scene(seed))
    assert differ(picture, change(picture)) <= LIMIT
    assert differ(change(picture), picture) <= LIMIT


@pytest.mark.parametrize("seed", SEEDS)
def test_one_thing_of_another_colour_is_another_picture(seed):
    original = scene(seed)
    thing = original.things[0]
    colour = "green" if thing.colour != "green" else "red"
    other = replace(original, things=(replace(thing, colour=colour), *original.things[1:]))
    assert differ(draw(original), draw(other)) > LIMIT


@pytest.mark.parametrize("seed", SEEDS)
def test_one_thing_elsewhere_is_another_picture(seed):
    original = scene(seed)
    thing = original.things[0]
    other = replace(original, things=(replace(thing, x=thing.x + (15 if thing.x < 96 else -15)), *original.things[1:]))
    assert differ(draw(original), draw(other)) > LIMIT


def test_other_pictures_mirrored_or_recoloured_ones_are_other_pictures():
    picture = draw(scene(1))
    assert differ(picture, draw(scene(2))) > LIMIT
    assert differ(picture, picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)) > LIMIT
    assert differ(picture, picture.rotate(90)) > LIMIT
    assert differ(picture, picture.convert("L").convert("RGB")) > LIMIT
    assert differ(picture, Image.merge("RGB", picture.split()[::-1])) > LIMIT


def test_flat_pictures_are_the_same_if_their_colours_are():
    grey = Image.new("RGB", (100, 80), (120, 120, 120))
    assert differ(grey, Image.new("RGB", (50, 50), (122, 120, 118))) <= LIMIT
    assert differ(grey, Image.new("RGB", (50, 50), (120, 160, 120))) > LIMIT
    spot = grey.copy()
    ImageDraw.Draw(spot).ellipse((40, 30, 60, 50), fill=(200, 40, 40))
    assert differ(grey, spot) > LIMIT


def test_files_are_compared_by_what_they_show(tmp_path):
    picture = draw(scene(3))
    a = write(tmp_path / "a.png", encoded(picture))
    b = write(tmp_path / "b.tar", b"head" + encode_jpeg(picture, 60) + b"tail")
    part = File(str(b), 4, b.stat().st_size - 8)
    assert same_image((File(str(a)), part))
    assert not same_image((File(str(write(tmp_path / "c.png", encoded(draw(scene(4)))))), part))

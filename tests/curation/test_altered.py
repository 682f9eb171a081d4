import numpy as np
import pytest
from photographs import photograph
from PIL import Image, ImageDraw
from tiny_corpora import encoded, write

from pipeline.curation.altered import altered_copy, is_altered, views
from pipeline.curation.guard import Placement
from pipeline.curation.inspection import ImageChanged
from pipeline.sample_world.drawing import draw
from pipeline.sample_world.scenes import random_scene, twin
from pipeline.sample_world.vocabulary import SEEN_COLOURS, SEEN_SHAPES
from pipeline.sources import File

WHOLE = Placement(0, 0, (0.0, 0.0, 1.0, 1.0), False)


def same(a, b, way=WHOLE):
    return is_altered(views(a)[way.frame], views(b)[way.other_frame], way)


def scene(seed):
    return random_scene(np.random.default_rng(seed), SEEN_SHAPES, SEEN_COLOURS)


@pytest.mark.parametrize("seed", range(6))
def test_a_scene_is_its_own_copy_and_that_of_no_other(seed):
    assert same(draw(scene(seed)), draw(scene(seed)).point(lambda v: v * 0.8))
    assert not any(same(draw(scene(seed)), draw(scene(other))) for other in range(6) if other != seed)


def test_one_thing_of_another_colour_or_elsewhere_mostly_makes_another_picture():
    rng = np.random.default_rng(0)
    scenes = [scene(seed) for seed in range(40)]
    taken = sum(same(draw(one), draw(twin(rng, one, SEEN_COLOURS))) for one in scenes)
    assert taken <= 8


def test_something_small_laid_upon_a_picture_does_not_hide_it():
    picture = photograph(3)
    sealed = picture.copy()
    ImageDraw.Draw(sealed).rectangle((100, 80, 140, 100), fill="white")
    assert same(picture, sealed)
    assert same(sealed, picture), "a watermark upon the evaluation image"
    covered = picture.copy()
    ImageDraw.Draw(covered).rectangle((0, 0, 239, 100), fill="white")
    assert not same(picture, covered)


def test_colours_turned_into_their_opposites_are_another_picture():
    picture = draw(scene(1))
    swapped = Image.merge("RGB", picture.split()[::-1])
    assert not same(picture, swapped)


def test_files_are_compared_where_they_lie_and_borders_left_out(tmp_path):
    picture = photograph(3)
    a = File(str(write(tmp_path / "a.png", encoded(picture))))
    framed = Image.new("RGB", (300, 260), "white")
    framed.paste(picture, (30, 40))
    b = File(str(write(tmp_path / "b.png", encoded(framed))))
    inside = Placement(0, 1, (0.0, 0.0, 1.0, 1.0), False)
    assert altered_copy((a, b, [WHOLE, inside]))
    assert not altered_copy((a, File(str(write(tmp_path / "c.png", encoded(photograph(4))))), [WHOLE]))
    with pytest.raises(ImageChanged, match="run it again"):
        altered_copy((a, File(str(write(tmp_path / "d.png", b"404"))), [WHOLE]))

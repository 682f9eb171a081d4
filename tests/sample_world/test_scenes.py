from collections import Counter
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from pipeline.sample_world.scenes import SIDE, Thing, portrait, random_scene, relation, sibling, twin
from pipeline.sample_world.vocabulary import COLOURS, SEEN_COLOURS, SEEN_SHAPES, SHAPES, is_seen


def thing(x, y):
    return Thing("star", "red", "plain", "small", x, y, 20.0, 0.0)


def scenes(count, shapes=SEEN_SHAPES, colours=SEEN_COLOURS):
    rng = np.random.default_rng(3)
    return [random_scene(rng, shapes, colours) for _ in range(count)]


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ((20, 100), (90, 90), "left of"),
        ((90, 90), (20, 100), "right of"),
        ((100, 20), (90, 90), "above"),
        ((90, 90), (100, 20), "below"),
        ((20, 20), (90, 60), "left of"),
        ((20, 20), (60, 90), "above"),
    ],
)
def test_a_relation_is_along_the_longer_distance(a, b, expected):
    assert relation(thing(*a), thing(*b)) == expected


def test_a_box_is_the_centre_and_radius():
    assert thing(50, 60).box == (30, 40, 70, 80)


def test_things_lie_in_the_picture_and_apart():
    for scene in scenes(60):
        assert len(scene.things) in (2, 3)
        for a in scene.things:
            assert min(a.box) >= 0
            assert max(a.box) <= SIDE
        for a, b in combinations(scene.things, 2):
            assert np.hypot(a.x - b.x, a.y - b.y) > a.radius + b.radius


def test_only_the_given_shapes_and_colours_occur():
    found = [t for s in scenes(40, ("ring", "bar"), ("red",)) for t in s.things]
    assert {t.shape for t in found} == {"ring", "bar"}
    assert {t.colour for t in found} == {"red"}


def test_a_sibling_differs_in_one_attribute_or_in_one_exchange_of_places():
    rng = np.random.default_rng(5)
    kinds = Counter()
    for scene in scenes(60):
        other = sibling(rng, scene, SEEN_SHAPES, SEEN_COLOURS)
        assert other.background == scene.background
        changed = [(a, b) for a, b in zip(scene.things, other.things, strict=True) if a != b]
        if len(changed) == 1:
            ((a, b),) = changed
            kinds["attribute"] += 1
            differing = [f for f in ("colour", "texture", "shape") if getattr(a, f) != getattr(b, f)]
            assert len(differing) == 1
            assert replace(a, **{differing[0]: getattr(b, differing[0])}) == b
        else:
            (a, b), (c, d) = changed
            kinds["places"] += 1
            assert (b.shape, b.colour, b.texture, b.x, b.y) == (a.shape, a.colour, a.texture, c.x, c.y)
            assert (d.shape, d.colour, d.texture, d.x, d.y) == (c.shape, c.colour, c.texture, a.x, a.y)
            assert relation(b, d) == relation(c, a) != relation(a, c)
    assert min(kinds["attribute"], kinds["places"]) > 5


def test_a_twin_differs_in_the_colour_or_the_place_of_one_thing():
    rng = np.random.default_rng(5)
    kinds = Counter()
    for scene in scenes(80):
        other = twin(rng, scene, SEEN_COLOURS)
        assert (other.background, other.seed) == (scene.background, scene.seed)
        ((a, b),) = ((a, b) for a, b in zip(scene.things, other.things, strict=True) if a != b)
        if a.colour != b.colour:
            kinds["colour"] += 1
            assert b.colour in SEEN_COLOURS
            assert replace(a, colour=b.colour) == b
        else:
            kinds["place"] += 1
            assert replace(a, x=b.x, y=b.y) == b
            assert 12 <= np.hypot(a.x - b.x, a.y - b.y) <= 40
        assert min(b.box) >= 0
        assert max(b.box) <= SIDE
        for one, two in combinations(other.things, 2):
            assert np.hypot(one.x - two.x, one.y - two.y) > one.radius + two.radius
    assert min(kinds["colour"], kinds["place"]) > 20


def test_a_portrait_is_one_large_thing():
    scene = portrait(np.random.default_rng(1), "crescent", "pink")
    assert [(t.shape, t.colour) for t in scene.things] == [("crescent", "pink")]
    assert scene.things[0].radius > 40


def test_the_same_seed_makes_the_same_scenes():
    assert scenes(5) == scenes(5)


def test_some_shapes_and_colours_are_never_seen_in_the_corpora():
    assert set(SEEN_SHAPES) < set(SHAPES)
    assert set(SEEN_COLOURS) < set(COLOURS)
    assert is_seen("red", "star")
    assert not is_seen("pink", "star")
    assert not is_seen("red", "crescent")

"""Captions are checked against their scene by reading them, not by the code that wrote them."""

import re
from itertools import pairwise

import numpy as np
import pytest

from pipeline.sample_world.captions import detailed, generic, name, place
from pipeline.sample_world.scenes import Scene, Thing, portrait, random_scene
from pipeline.sample_world.vocabulary import BACKGROUNDS, COLOURS, SEEN_COLOURS, SEEN_SHAPES, SHAPES, SIZES, TEXTURES


def one_of(name, words):
    return rf"(?:(?P<{name}>{'|'.join(words)}) )?"


PHRASE = re.compile(
    r"\b(?P<article>an?) "
    + one_of("size", SIZES)
    + one_of("texture", TEXTURES)
    + one_of("colour", COLOURS)
    + rf"(?P<shape>{'|'.join(SHAPES)})\b"
)
BETWEEN = re.compile(r" (left of|right of|above|below) ")
PLACE = re.compile(r" at the (top|bottom) (left|right)")

LEFT = Thing("star", "red", "striped", "small", 40.0, 50.0, 20.0, 0.0)
RIGHT = Thing("ring", "orange", "plain", "large", 140.0, 120.0, 34.0, 0.0)


def meant(phrase, scene):
    """The things of the scene that a phrase can mean."""
    stated = {k: v for k, v in phrase.groupdict().items() if v and k != "article"}
    return [t for t in scene.things if all(getattr(t, k) == v for k, v in stated.items())]


def holds(a, words, b):
    dx, dy = a.x - b.x, a.y - b.y
    if abs(dx) >= abs(dy):
        return words == ("left of" if dx < 0 else "right of")
    return words == ("above" if dy < 0 else "below")


def check(caption, scene):
    """Every statement of the caption is true of the scene; returns its phrases."""
    phrases = list(PHRASE.finditer(caption))
    assert phrases, caption
    for phrase in phrases:
        assert meant(phrase, scene), caption
        following = phrase.group()[len(phrase["article"]) + 1]
        assert phrase["article"] == ("an" if following in "aeiou" else "a"), caption
        if where := PLACE.match(caption, phrase.end()):
            vertical, horizontal = where.groups()
            assert any(
                (t.y < 96) == (vertical == "top") and (t.x < 96) == (horizontal == "left") for t in meant(phrase, scene)
            ), caption
    for first, second in pairwise(phrases):
        if words := BETWEEN.fullmatch(caption, first.end(), second.start()):
            pairs = [(a, b) for a in meant(first, scene) for b in meant(second, scene) if a is not b]
            assert any(holds(a, words[1], b) for a, b in pairs), caption
    backgrounds = re.findall(rf" on ({'|'.join(BACKGROUNDS)})$", caption)
    assert backgrounds in ([], [scene.background]), caption
    return phrases


def test_a_thing_is_named_with_the_attributes_asked_for():
    assert name(LEFT) == "a red star"
    assert name(LEFT, size=True, texture=True) == "a small striped red star"
    assert name(LEFT, colour=False) == "a star"
    assert name(RIGHT) == "an orange ring"
    assert name(Thing("arrow", "red", "plain", "small", 0, 0, 1, 0), colour=False) == "an arrow"


@pytest.mark.parametrize(
    ("x", "y", "expected"),
    [(40, 50, "top left"), (140, 50, "top right"), (40, 150, "bottom left"), (96, 96, "bottom right")],
)
def test_a_place_is_a_quadrant(x, y, expected):
    assert place(Thing("star", "red", "plain", "small", x, y, 20.0, 0.0)) == f"at the {expected}"


def test_the_captions_of_one_scene():
    captions = detailed(np.random.default_rng(0), Scene((LEFT, RIGHT), "sand", 1))
    pair = {
        "a small striped red star left of a large plain orange ring on sand",
        "a large plain orange ring right of a small striped red star on sand",
    }
    assert any(captions[0].endswith(caption) for caption in pair)


def test_detailed_captions_are_true_and_the_first_names_everything():
    rng = np.random.default_rng(1)
    relations = 0
    for _ in range(150):
        scene = random_scene(rng, SEEN_SHAPES, SEEN_COLOURS)
        captions = detailed(rng, scene)
        assert len(captions) in (5, 6)
        phrases = [check(caption, scene) for caption in captions]
        relations += sum(len(BETWEEN.findall(caption)) for caption in captions)
        named = sorted((p["texture"], p["colour"], p["shape"]) for p in phrases[0])
        assert named == sorted((t.texture, t.colour, t.shape) for t in scene.things)
        assert captions[0].endswith(f" on {scene.background}")
    assert relations >= 300


def test_generic_captions_are_true_and_say_less():
    rng = np.random.default_rng(2)
    attributes = []
    for i in range(200):
        colour, shape = list(COLOURS)[i % 10], SHAPES[i // 10 % 10]
        scene = portrait(rng, shape, colour) if i % 2 else random_scene(rng, SHAPES, tuple(COLOURS))
        phrases = check(generic(rng, scene), scene)
        assert len(phrases) <= 2
        attributes += [sum(p[a] is not None for a in ("size", "texture", "colour")) for p in phrases]
    assert 0.3 < np.mean(attributes) < 1.5


def test_the_same_seed_makes_the_same_captions():
    scene = Scene((LEFT, RIGHT), "sand", 1)
    assert detailed(np.random.default_rng(4), scene) == detailed(np.random.default_rng(4), scene)

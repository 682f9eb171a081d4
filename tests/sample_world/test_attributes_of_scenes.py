from collections import Counter

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pipeline.images.decoding import decode
from pipeline.probes.attributes import read
from pipeline.sample_world import attributes as of_scenes
from pipeline.sample_world.attributes import NAMES, attributes, build
from pipeline.sample_world.rendering import DrawnImage, encode
from pipeline.sample_world.scenes import Scene, Thing, random_scene
from pipeline.sample_world.vocabulary import BACKGROUNDS, SEEN_COLOURS, SEEN_SHAPES, SIZES, TEXTURES


def thing(shape, x, y, *, colour="red", texture="plain", size="small"):
    return Thing(shape, colour, texture, size, x, y, 20.0, 0.0)


def scene(*things):
    return Scene(things, "grass", 1)


def relations(*things):
    return {name for name in attributes(scene(*things)) if name.startswith("has_relation::")}


def contents(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The folder of seven images, and the scenes that were made for them."""
    folder, scenes = tmp_path_factory.mktemp("world") / "attributes", []

    def recorded(*given):
        scenes.append(random_scene(*given))
        return scenes[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(of_scenes, "random_scene", recorded)
        build(folder, train=5, test=2, seed=1, workers=1)
    return folder, scenes


# Of a scene


def test_a_scene_has_the_words_of_its_things_and_their_pairs():
    star = thing("star", 40, 100, colour="red", texture="striped", size="small")
    circle = thing("circle", 140, 90, colour="blue", texture="plain", size="large")
    assert attributes(scene(star, circle)) == {
        "has_background::grass",
        "has_colour::red", "has_shape::star", "has_texture::striped",
        "has_coloured_shape::red_star", "has_sized_shape::small_star",
        "has_colour::blue", "has_shape::circle", "has_texture::plain",
        "has_coloured_shape::blue_circle", "has_sized_shape::large_circle",
        "has_relation::star_left_of_another",
    }  # fmt: skip


def test_a_thing_alone_stands_beside_no_other():
    assert attributes(scene(thing("ring", 90, 90, colour="black", texture="dotted", size="large"))) == {
        "has_background::grass", "has_colour::black", "has_shape::ring", "has_texture::dotted",
        "has_coloured_shape::black_ring", "has_sized_shape::large_ring",
    }  # fmt: skip


def test_words_are_paired_within_a_thing_alone():
    found = attributes(scene(thing("star", 40, 90, colour="red"), thing("ring", 140, 90, colour="blue", size="large")))
    crossed = {"has_coloured_shape::blue_star", "has_coloured_shape::red_ring",
               "has_sized_shape::large_star", "has_sized_shape::small_ring"}  # fmt: skip
    assert crossed.isdisjoint(found)
    assert crossed <= set(NAMES)


@pytest.mark.parametrize(
    ("star", "ring", "expected"),
    [
        ((20, 100), (90, 90), "star_left_of_another"),
        ((90, 90), (20, 100), "ring_left_of_another"),
        ((100, 20), (90, 90), "star_above_another"),
        ((90, 90), (100, 20), "ring_above_another"),
        ((20, 20), (90, 60), "star_left_of_another"),
        ((60, 90), (20, 20), "ring_above_another"),
    ],
)
def test_the_left_and_the_upper_of_two_has_the_relation(star, ring, expected):
    assert relations(thing("star", *star), thing("ring", *ring)) == {f"has_relation::{expected}"}
    assert relations(thing("ring", *ring), thing("star", *star)) == {f"has_relation::{expected}"}


def test_things_of_one_shape_stand_to_each_other():
    assert relations(thing("star", 40, 90), thing("star", 140, 90)) == {"has_relation::star_left_of_another"}


def test_every_pair_of_three_is_related():
    left, right, low = thing("star", 30, 30), thing("ring", 150, 30), thing("bar", 95, 160)
    assert relations(left, right, low) == {
        "has_relation::star_left_of_another",
        "has_relation::star_above_another",
        "has_relation::ring_above_another",
    }


PLACES = st.tuples(st.integers(20, 170), st.integers(20, 170))


@settings(deadline=None)
@given(PLACES, PLACES)
def test_two_things_have_one_relation_which_turns_when_they_change_places(a, b):
    assume(a != b)
    (name,) = relations(thing("star", *a), thing("ring", *b))
    (turned,) = relations(thing("star", *b), thing("ring", *a))
    assert turned == (name.replace("star", "ring") if "star" in name else name.replace("ring", "star"))


def test_names_occur_once_and_have_the_groups_that_are_documented():
    assert len(set(NAMES)) == len(NAMES)
    colours, shapes = len(SEEN_COLOURS), len(SEEN_SHAPES)
    assert Counter(name.split("::")[0] for name in NAMES) == {
        "has_colour": colours, "has_shape": shapes, "has_texture": len(TEXTURES), "has_background": len(BACKGROUNDS),
        "has_coloured_shape": colours * shapes, "has_sized_shape": len(SIZES) * shapes, "has_relation": 2 * shapes,
    }  # fmt: skip


def test_all_that_scenes_have_is_named_and_all_that_is_named_occurs():
    rng = np.random.default_rng(4)
    found = Counter(name for _ in range(2000) for name in attributes(random_scene(rng, SEEN_SHAPES, SEEN_COLOURS)))
    assert set(found) == set(NAMES)
    assert max(found.values()) < 2000, "an attribute of every picture can be told without looking"


# In files


def test_what_is_built_is_read_with_its_names_and_parts(built):
    folder, _ = built
    found = read(folder)
    assert found.names == NAMES
    assert found.groups == [name.split("::")[0] for name in NAMES]
    assert found.training.tolist() == [True] * 5 + [False] * 2
    assert len(set(found.paths)) == 7


def test_labels_are_the_attributes_of_the_scene_in_the_picture(built):
    folder, scenes = built
    found = read(folder)
    assert len(scenes) == 7
    for path, row, shown in zip(found.paths, found.labels, scenes, strict=True):
        assert path.read_bytes() == encode(DrawnImage(shown))
        assert {name for name, has in zip(NAMES, row, strict=True) if has} == attributes(shown)


def test_pictures_differ_and_can_be_decoded(built):
    files = [path.read_bytes() for path in read(built[0]).paths]
    assert len(set(files)) == 7
    assert {decode(data).size for data in files} == {(192, 192)}


def test_the_same_seed_makes_the_same_files_and_another_seed_others(built, tmp_path):
    for seed in (1, 2):
        build(tmp_path / str(seed), train=5, test=2, seed=seed, workers=1)
    same, other = contents(tmp_path / "1"), contents(tmp_path / "2")
    assert same == contents(built[0])
    assert set(other) == set(same)
    assert all(other[name] != same[name] for name in same if name.endswith(".jpg"))

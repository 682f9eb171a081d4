"""A tiny sample world as it lies on disk: its layouts, and that the same seed gives the same bytes."""

import json
import re

import pytest
from small_world import CAPTIONS, IMAGES, SOURCES, TEST, build, contents, image_paths, splits, texts

from pipeline.sample_world.vocabulary import UNSEEN_COLOURS, UNSEEN_SHAPES


@pytest.mark.parametrize("workers", [1, 2])
def test_the_same_seed_makes_the_same_bytes_with_any_number_of_workers(small_world, tmp_path, workers):
    folder, planted = small_world
    assert build(tmp_path, workers=workers) == planted
    assert contents(tmp_path) == contents(folder)


def test_another_seed_makes_another_world(small_world, tmp_path):
    folder, planted = small_world
    assert build(tmp_path, seed=18) != planted
    assert texts(tmp_path)["mscoco"] != texts(folder)["mscoco"]


def test_what_was_planted_can_be_written_as_json(small_world):
    assert json.loads(json.dumps(small_world[1])) == small_world[1]


def test_every_image_that_is_not_missing_has_a_file_and_nothing_else_does(small_world):
    folder, planted = small_world
    missing = {key for own in planted.values() for key in own["missing_image"]}
    paths = image_paths(folder)
    assert len(paths) == sum(IMAGES.values()) + TEST
    assert set(folder.rglob("*.jpg")) == {p for key, p in paths.items() if key not in missing}


def test_split_files_name_what_is_kept_for_evaluation(small_world):
    folder, planted = small_world
    named = splits(folder)
    test = {key for key, split in named.items() if split == "test" and key.startswith("flickr30k")}
    assert len(test) == TEST
    assert {*planted["mscoco"]["evaluation_image"], *planted["flickr30k"]["evaluation_image"]} == {*named} - test
    assert {named[key] for key in planted["mscoco"]["evaluation_image"]} == {"val", "test"}
    assert {named[key] for key in planted["flickr30k"]["evaluation_image"]} == {"val"}


@pytest.mark.parametrize("source", SOURCES)
def test_an_image_has_as_many_good_captions_as_its_corpus_gives(small_world, source):
    folder, planted = small_world
    faulty = {p if isinstance(p, str) else p[0] for name in CAPTIONS for p in planted[source].get(name, [])}
    good = {}
    for place, (key, text) in texts(folder)[source].items():
        if place not in faulty:
            good.setdefault(key, []).append(text.decode())
    assert len(good) == IMAGES[source] + (TEST if source == "flickr30k" else 0)
    assert {len(own) for own in good.values()} <= ({2} if source == "conceptual_captions" else {5, 6})


def test_the_corpora_never_name_what_only_the_base_has_seen(small_world):
    everything = b" ".join(text for own in texts(small_world[0]).values() for _, text in own.values())
    words = {w.lower() for w in re.findall(rb"\w+", everything)}
    assert {b"red", b"star"} <= words
    assert not words & {w.encode() for w in (*UNSEEN_COLOURS, *UNSEEN_SHAPES)}


def test_boxes_of_coco_lie_in_the_picture(small_world):
    folder, planted = small_world
    content = json.loads((folder / "mscoco/annotations/instances_train2017.json").read_bytes())
    assert {a["image_id"] for a in content["annotations"]} == {i["id"] for i in content["images"]}
    altered = {int(copy.removeprefix("mscoco-")) for name in ("near_duplicate", "evaluation_copy")
               for _, copy in planted["mscoco"][name]}  # fmt: skip
    for annotation in content["annotations"]:
        x, y, w, h = annotation["bbox"]
        assert min(x, y) >= 0
        assert min(w, h) > 0
        assert max(x + w, y + h) <= (288 if annotation["image_id"] in altered else 192)
        assert annotation["area"] == pytest.approx(w * h, abs=1)

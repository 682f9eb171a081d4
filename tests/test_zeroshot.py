import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from open_clip import SIMPLE_IMAGENET_TEMPLATES
from tiny_models import COMPUTE, picture, random_pixels, tiny_clip

from pipeline.clip import encode
from pipeline.errors import InputError
from pipeline.schema import Split
from pipeline.zeroshot import NoZeroshotData, ZeroshotSet, accuracy, class_weights, image_vectors, pixels, read


def put(folder, counts, described=None, split="test"):
    for name, count in counts.items():
        (folder / split / name).mkdir(parents=True)
        for i in range(count):
            picture(len(name) + i).save(folder / split / name / f"{i}.png")
    if described is not None:
        (folder / "classes.json").write_text(json.dumps(described))
    return folder


def classes(names, seen, labels):
    return ZeroshotSet(names, np.array(seen), ["a {}"], [], np.array(labels))


# Reading


def test_without_a_description_folders_are_the_classes(tmp_path):
    found = read(put(tmp_path, {"red_star": 2, "cat": 1}), Split.TEST)
    assert found.names == ["cat", "red star"]
    assert found.seen.tolist() == [True, True]
    assert [str(p.relative_to(tmp_path)) for p in found.paths] == [
        "test/cat/0.png", "test/red_star/0.png", "test/red_star/1.png",
    ]  # fmt: skip
    assert found.labels.tolist() == [0, 1, 1]
    assert [t.format("cat") for t in found.templates] == [t("cat") for t in SIMPLE_IMAGENET_TEMPLATES]
    assert len(found.templates) == 7


def test_a_description_gives_order_names_templates_and_what_was_seen(tmp_path):
    described = {
        "templates": ["a {}", "one {}"],
        "classes": [{"folder": "b", "name": "blue moon", "seen": False}, {"folder": "a", "name": "ant"}],
    }
    found = read(put(tmp_path, {"a": 1, "b": 2, "not described": 1}, described), Split.TEST)
    assert found.names == ["blue moon", "ant"]
    assert found.seen.tolist() == [False, True]
    assert found.templates == ["a {}", "one {}"]
    assert [p.parent.name for p in found.paths] == ["b", "b", "a"]
    assert found.labels.tolist() == [0, 0, 1]


def test_val_and_test_are_read_apart(tmp_path):
    put(tmp_path, {"cat": 2}, split="val")
    put(tmp_path, {"cat": 3}, split="test")
    assert len(read(tmp_path, Split.VAL).paths) == 2
    assert len(read(tmp_path, Split.TEST).paths) == 3


def test_a_missing_folder_says_what_was_expected(tmp_path):
    with pytest.raises(NoZeroshotData, match=r"no folder .*test; expected pictures as .*<class>/<picture> \(zeroshot"):
        read(tmp_path, Split.TEST)


def test_a_split_without_classes_is_refused(tmp_path):
    (tmp_path / "test").mkdir()
    with pytest.raises(NoZeroshotData, match="has no class folders"):
        read(tmp_path, Split.TEST)


@pytest.mark.parametrize("described", [None, {"templates": ["a {}"], "classes": [{"folder": "b", "name": "b"}]}])
def test_a_class_without_pictures_is_named(tmp_path, described):
    with pytest.raises(NoZeroshotData, match=r"b holds no pictures"):
        read(put(tmp_path, {"a": 1, "b": 0}, described), Split.TEST)


def test_a_described_class_without_a_folder_is_named(tmp_path):
    described = {"templates": ["a {}"], "classes": [{"folder": "b", "name": "b"}]}
    with pytest.raises(NoZeroshotData, match=r"b holds no pictures"):
        read(put(tmp_path, {"a": 1}, described), Split.TEST)


@pytest.mark.parametrize(
    "described",
    [
        {"classes": [{"folder": "a", "name": "a"}]},
        {"templates": ["a {}"]},
        {"templates": ["a {}"], "classes": [{"folder": "a"}]},
        {"templates": ["a {}"], "classes": ["a"]},
        ["a"],
    ],
    ids=["no templates", "no classes", "no name", "a class is a word", "a list"],
)
def test_a_description_in_another_form_says_what_was_expected(tmp_path, described):
    with pytest.raises(NoZeroshotData, match=r"classes\.json: .*expected templates, and classes with folder and name"):
        read(put(tmp_path, {"a": 1}, described), Split.TEST)


@pytest.mark.parametrize(
    "templates", [[], ["a photo"], ["a {} and a {}"], ["a {", "{name}"], "a {}", [3], ["a {}", None], ["a {:d}"]]
)
def test_templates_that_cannot_name_a_class_are_refused(tmp_path, templates):
    described = {"templates": templates, "classes": [{"folder": "a", "name": "a"}]}
    with pytest.raises(NoZeroshotData, match="templates"):
        read(put(tmp_path, {"a": 1}, described), Split.TEST)


def test_a_description_that_is_not_json_is_refused(tmp_path):
    put(tmp_path, {"a": 1})
    (tmp_path / "classes.json").write_text("{")
    with pytest.raises(InputError, match=r"classes\.json is not valid JSON"):
        read(tmp_path, Split.TEST)


# Encoding


def test_pictures_are_decoded_for_the_tower(tmp_path):
    clip = tiny_clip()
    found = read(put(tmp_path, {"a": 2, "bb": 1}), Split.TEST)
    rows = pixels(clip, found)
    assert (rows.shape, rows.dtype) == ((3, 3, 32, 32), np.uint8)
    assert np.array_equal(rows[1], clip.pixels()(picture(2)))


def test_a_picture_that_cannot_be_read_is_named(tmp_path):
    folder = put(tmp_path, {"a": 1})
    (folder / "test/a/notes.txt").write_text("not a picture")
    with pytest.raises(InputError, match=r"notes\.txt"):
        pixels(tiny_clip(), read(folder, Split.TEST))


def test_class_weights_average_normalised_templates_and_normalise_again():
    clip = tiny_clip()
    data = ZeroshotSet(
        ["cat", "red star"], np.array([True, True]), ["a {}", "{} on a mat", "we see {}"], [], np.array([])
    )
    found = class_weights(clip, data, COMPUTE)
    for name, weights in zip(data.names, found, strict=True):
        with torch.inference_mode():
            each = clip.model.encode_text(clip.tokenize([f"a {name}", f"{name} on a mat", f"we see {name}"]))
        mean = F.normalize(each, dim=-1).mean(dim=0)
        assert mean.norm() < 0.9999, "the mean of unequal unit vectors is shorter than 1"
        torch.testing.assert_close(weights, mean / mean.norm())


def test_long_templates_do_not_outweigh_short_embeddings(monkeypatch):
    # Two templates whose raw embeddings have lengths 1 and 100: as unit vectors each counts the same.
    raw = {"a x": torch.tensor([1.0, 0.0]), "the x": torch.tensor([0.0, 100.0])}
    clip = tiny_clip()
    clip.tokenize = lambda texts: torch.tensor([list(raw).index(t) for t in texts])[:, None]
    clip.model.encode_text = lambda tokens: torch.stack(list(raw.values()))[tokens[:, 0]]
    data = ZeroshotSet(["x"], np.array([True]), ["a {}", "the {}"], [], np.array([0]))
    torch.testing.assert_close(class_weights(clip, data, COMPUTE), torch.tensor([[0.5**0.5, 0.5**0.5]]))


def test_any_number_of_pictures_is_embedded_in_order():
    clip, rows = tiny_clip(), random_pixels(6)
    found = image_vectors(clip, rows, COMPUTE)
    for i in range(6):
        assert torch.equal(found[i], encode.images(clip, rows[i : i + 1], COMPUTE)[0])


# Accuracy: class weights are the unit axes, so a picture's vector is its similarity to each class.


def test_accuracy_by_hand():
    vectors = torch.tensor(
        [
            [0.9, 0.1, 0.0, 0.2, 0.3, 0.4],  # class 0: first
            [0.5, 0.4, 0.0, 0.2, 0.3, 0.1],  # class 1: second
            [0.1, 0.9, 0.0, 0.2, 0.3, 0.4],  # class 1: first
            [0.2, 0.6, 0.5, 0.4, 0.3, 0.1],  # class 1: first
            [0.5, 0.6, 0.0, 0.3, 0.2, 0.1],  # class 2: sixth
        ]
    )
    data = classes(list("abcdef"), [True] * 6, [0, 1, 1, 1, 2])
    found = accuracy(vectors, torch.eye(6), data, seen=True)
    assert found["top1"] == pytest.approx(3 / 5)
    assert found["top5"] == pytest.approx(4 / 5)
    assert found["mean_per_class"] == pytest.approx((1 + 2 / 3 + 0) / 3)
    assert (found["classes"], found["candidates"]) == (3, 6)


def test_ties_are_lost():
    data = classes(["a", "b"], [True, True], [0, 1, 0])
    vectors = torch.tensor([[0.5, 0.5], [0.5, 0.5], [0.6, 0.5]])
    assert accuracy(vectors, torch.eye(2), data, seen=True)["top1"] == pytest.approx(1 / 3)


def test_constant_embeddings_classify_nothing():
    data = classes(list("abcdefgh"), [True] * 8, range(8))
    found = accuracy(torch.ones(8, 8), torch.ones(8, 8), data, seen=True)
    assert found["top1"] == found["top5"] == found["mean_per_class"] == 0


def test_seen_and_unseen_classes_are_scored_apart_among_all_candidates():
    data = classes(["a", "b", "c"], [True, False, True], [0, 0, 1, 1, 2])
    vectors = torch.tensor([[0.9, 0.1, 0], [0.1, 0.9, 0], [0.1, 0.9, 0], [0.9, 0.1, 0], [0, 0.1, 0.9]])
    seen, unseen = (accuracy(vectors, torch.eye(3), data, seen=s) for s in (True, False))
    assert (seen["top1"], seen["classes"], seen["candidates"]) == (pytest.approx(2 / 3), 2, 3)
    assert (unseen["top1"], unseen["classes"], unseen["candidates"]) == (0.5, 1, 3)


def test_no_unseen_class_has_no_figures():
    assert accuracy(torch.eye(2), torch.eye(2), classes(["a", "b"], [True, True], [0, 1]), seen=False) == {}

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tiny_models import COMPUTE, picture, random_pixels, tiny_clip
from tiny_zeroshot import put

from pipeline.clip import encode
from pipeline.errors import InputError
from pipeline.schema import Split
from pipeline.zeroshot.classifier import accuracy, class_weights, image_vectors, pixels
from pipeline.zeroshot.sets import ZeroshotSet, read


def classes(names, seen, labels):
    return ZeroshotSet(names, np.array(seen), ["a {}"], [], np.array(labels))


# Encoding


def test_pictures_are_decoded_for_the_tower(tmp_path):
    clip = tiny_clip()
    found = read(put(tmp_path, {"a": 2, "bb": 1}), Split.TEST)
    rows = pixels(clip, found)
    assert (rows.shape, rows.dtype) == ((3, 3, 32, 32), np.uint8)
    assert np.array_equal(rows[1], clip.pixels()(picture(2)))


def test_a_picture_that_cannot_be_read_is_named(tmp_path):
    folder = put(tmp_path, {"a": 1})
    (folder / "test/a/notes.png").write_text("not a picture")
    with pytest.raises(InputError, match=r"notes\.png"):
        pixels(tiny_clip(), read(folder, Split.TEST))


@pytest.mark.parametrize("which", ["picture", "class"])
def test_embeddings_that_are_not_finite_are_refused(which):
    data = ZeroshotSet(["cat", "dog"], np.array([True, True]), ["a {}"], [], np.array([0, 1]))
    rows = {"picture": torch.eye(2), "class": torch.eye(2)}
    rows[which][1, 0] = torch.nan
    with pytest.raises(InputError, match=f"the embedding of {which} 1 is not finite"):
        accuracy(rows["picture"], rows["class"], data, seen=None)


@pytest.mark.parametrize("dimension", [3, 31, 512])
def test_equal_classes_are_ties_and_lost_however_products_are_rounded(dimension):
    generator = torch.Generator().manual_seed(0)
    direction, vectors = (
        torch.nn.functional.normalize(torch.randn(n, dimension, generator=generator), dim=1) for n in (1, 50)
    )
    data = ZeroshotSet(list("abcde"), np.ones(5, bool), ["a {}"], [], np.arange(50) % 5)
    assert accuracy(vectors, direction.expand(5, -1), data, seen=None)["top1"] == 0


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

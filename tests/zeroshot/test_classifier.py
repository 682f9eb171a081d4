import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import COMPUTE, tiny_clip

from pipeline.errors import InputError
from pipeline.zeroshot.accuracy import LAST, accuracy, alike, hits, ranks
from pipeline.zeroshot.classifier import class_weights
from pipeline.zeroshot.sets import ZeroshotSet


def classes(names, seen, labels):
    return ZeroshotSet(names, np.array(seen), ["a {}"], [], np.array(labels))


# Encoding


@pytest.mark.parametrize("which", ["image", "class"])
def test_embeddings_that_are_not_finite_are_refused(which):
    data = ZeroshotSet(["cat", "dog"], np.array([True, True]), ["a {}"], [], np.array([0, 1]))
    rows = {"image": torch.eye(2), "class": torch.eye(2)}
    rows[which][1, 0] = torch.nan
    with pytest.raises(InputError, match=f"the embedding of {which} 1 is not finite"):
        accuracy(rows["image"], rows["class"], data, seen=None)


@pytest.mark.parametrize("dimension", [3, 31, 512])
def test_equal_classes_are_right_as_often_as_chance_however_products_are_rounded(dimension):
    generator = torch.Generator().manual_seed(0)
    direction, vectors = (
        torch.nn.functional.normalize(torch.randn(n, dimension, generator=generator), dim=1) for n in (1, 80)
    )
    data = ZeroshotSet(list("abcdefgh"), np.ones(8, bool), ["a {}"], [], np.arange(80) % 8)
    found = accuracy(vectors, direction.expand(8, -1), data, seen=None)
    assert (found["top1"], found["top5"], found["mean_per_class"]) == pytest.approx((1 / 8, 5 / 8, 1 / 8))


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


# Accuracy: class weights are the unit axes, so an image's vector is its similarity to each class.


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


def test_figures_do_not_depend_on_how_many_images_are_in_memory(monkeypatch):
    rng = torch.Generator().manual_seed(0)
    vectors, weights = (F.normalize(torch.randn(n, 8, generator=rng), dim=-1) for n in (50, 7))
    data = classes(list("abcdefg"), [True] * 7, [i % 7 for i in range(50)])
    whole = ranks(vectors, weights, data)
    for cells in (1, 7 * 8, 7 * 49):
        monkeypatch.setattr("pipeline.zeroshot.accuracy._CELLS", cells)
        assert torch.equal(ranks(vectors, weights, data), whole)


def test_of_equal_classes_the_first_is_taken_as_argmax_does():
    data = classes(["a", "b"], [True, True], [0, 1, 0])
    vectors = torch.tensor([[0.5, 0.5], [0.5, 0.5], [0.4, 0.5]])
    assert hits(vectors, torch.eye(2), data)["top1"].tolist() == [1, 0, 0]


def test_constant_embeddings_are_right_as_often_as_chance():
    data = classes(list("abcdefgh"), [True] * 8, range(8))
    found = accuracy(torch.ones(8, 8), torch.ones(8, 8), data, seen=True)
    assert (found["top1"], found["top5"], found["mean_per_class"]) == (1 / 8, 5 / 8, 1 / 8)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(0, 6), min_size=1, max_size=9), st.floats(0, 1))
def test_every_place_has_one_class_and_unequal_ones_stand_as_they_are_sorted(steps, gap):
    """Similarities of one image, many of them equal or all but equal: asked for each class in turn."""
    own = torch.tensor([step * 1e-7 if gap < 0.5 else float(step) for step in steps])
    data = ZeroshotSet(
        [str(i) for i in range(len(steps))], np.ones(len(steps), bool), ["{}"], [], np.arange(len(steps))
    )
    vectors = own.expand(len(steps), -1).contiguous()
    found = ranks(vectors, torch.eye(len(steps)), data).tolist()
    places = min(LAST, len(steps))
    assert sorted(found)[:places] == list(range(1, places + 1))
    assert all(place == LAST + 1 for place in sorted(found)[places:])
    if gap >= 0.5:
        order = np.argsort(-own.numpy(), kind="stable")[:places]
        assert [found[i] for i in order] == list(range(1, places + 1))


def test_classes_that_read_alike_are_named_once(tmp_path, capsys):
    names = ["red star", "cat", "Red  star", "moon", "Cat"]
    clip = tiny_clip()
    data = ZeroshotSet(names, np.ones(5, bool), ["a {}", "the {}"], [], np.arange(5))
    weights = class_weights(clip, data, COMPUTE)
    class_weights(clip, data, COMPUTE)
    said = capsys.readouterr().err
    assert said.count("read alike") == 1
    assert "'red star' (class 0) and 'Red  star' (class 2); 'cat' (class 1) and 'Cat' (class 4)" in said
    assert "moon" not in said
    assert hits(weights, weights, data)["top1"].tolist() == [1, 1, 0, 1, 0]


@settings(deadline=None, max_examples=25)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=12), st.integers(2, 40))
def test_classes_are_alike_if_their_vectors_are_but_for_rounding(which, dimension):
    generator = torch.Generator().manual_seed(1)
    rows = F.normalize(torch.randn(4, dimension, generator=generator), dim=1)
    noise = torch.randn(len(which), dimension, generator=generator) * 1e-8
    expected = [[i for i, one in enumerate(which) if one == group] for group in dict.fromkeys(which)]
    assert alike(rows[which] + noise) == [group for group in expected if len(group) > 1]


def test_seen_and_unseen_classes_are_scored_apart_among_all_candidates():
    data = classes(["a", "b", "c"], [True, False, True], [0, 0, 1, 1, 2])
    vectors = torch.tensor([[0.9, 0.1, 0], [0.1, 0.9, 0], [0.1, 0.9, 0], [0.9, 0.1, 0], [0, 0.1, 0.9]])
    seen, unseen = (accuracy(vectors, torch.eye(3), data, seen=s) for s in (True, False))
    assert (seen["top1"], seen["classes"], seen["candidates"]) == (pytest.approx(2 / 3), 2, 3)
    assert (unseen["top1"], unseen["classes"], unseen["candidates"]) == (0.5, 1, 3)


def test_no_unseen_class_has_no_figures():
    assert accuracy(torch.eye(2), torch.eye(2), classes(["a", "b"], [True, True], [0, 1]), seen=False) == {}

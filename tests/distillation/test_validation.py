import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import COMPUTE, random_pixels, tiny_clip, unit_rows

from pipeline.clip import encode
from pipeline.distillation.pairs import Pairs
from pipeline.distillation.validation import Validator
from pipeline.zeroshot.sets import ZeroshotSet

RECALLS = {"val_text_to_image_recall@1", "val_image_to_text_recall@1"}
ACCURACIES = ("val_zeroshot_top1", "val_zeroshot_unseen_top1")
CLASSES = ZeroshotSet(["cat", "dog", "moon"], np.array([True, True, False]), ["a {}"], [], np.array([0, 1, 2, 2]))
CAPTIONS = [["a cat", "two cats"], ["a dog"], ["the moon"]]


@pytest.fixture(scope="module")
def clip():
    """One that tells random images apart by more than rounding: with its own small weights all look the same."""
    made = tiny_clip()
    with torch.no_grad():
        for weights in made.model.visual.parameters():
            if weights.ndim > 1:
                weights.mul_(3)
    return made


def validator(clip, *, train_text=False, captions=CAPTIONS, vectors=None, classes=CLASSES, base=None, weights=None):
    count = sum(len(own) for own in captions)
    vectors = unit_rows(count, 16, seed=1) if vectors is None else vectors
    return Validator(
        Pairs(random_pixels(len(captions)), captions, vectors), classes, random_pixels(4, seed=1),
        torch.from_numpy(unit_rows(4, 16, seed=3)) if base is None else base,
        torch.from_numpy(unit_rows(3, 16)) if weights is None else weights, train_text, COMPUTE,
    )  # fmt: skip


def images(clip, count, seed=0):
    return encode.images(clip, random_pixels(count, seed), COMPUTE).numpy()


@pytest.mark.parametrize("train_text", [False, True])
def test_both_directions_and_both_kinds_of_class_are_reported(clip, train_text):
    found = validator(clip, train_text=train_text)(clip)
    assert set(found) == {*RECALLS, *ACCURACIES, *(f"{name}_error" for name in ACCURACIES)}
    assert all(type(value) is float and 0 <= value <= 1 for value in found.values())


def test_every_class_may_be_seen(clip):
    classes = dataclasses.replace(CLASSES, seen=np.array([True, True, True]))
    assert set(validator(clip, classes=classes)(clip)) == {*RECALLS, ACCURACIES[0], f"{ACCURACIES[0]}_error"}


def test_frozen_text_is_the_cached_and_runs_no_text_tower(clip, monkeypatch):
    own = images(clip, 3)[[0, 0, 1, 2]]
    validate = validator(clip, vectors=own)
    monkeypatch.setattr(clip.model, "encode_text", None)
    found = validate(clip)
    assert found["val_text_to_image_recall@1"] == found["val_image_to_text_recall@1"] == 1


def test_captions_of_other_pictures_are_not_found(clip):
    found = validator(clip, vectors=images(clip, 3)[[1, 1, 2, 0]])(clip)
    assert found["val_text_to_image_recall@1"] == found["val_image_to_text_recall@1"] == 0


def test_recalls_are_shares_of_captions_and_of_pictures(clip):
    found = validator(clip, vectors=images(clip, 3)[[0, 0, 1, 0]])(clip)
    assert found["val_text_to_image_recall@1"] == pytest.approx(3 / 4)
    assert found["val_image_to_text_recall@1"] == pytest.approx(1 / 3), "a caption of another is as near to the first"


def test_half_precision_vectors_of_the_cache_are_read(clip):
    found = validator(clip, vectors=images(clip, 3)[[0, 0, 1, 2]].astype(np.float16))(clip)
    assert found["val_text_to_image_recall@1"] == 1


def test_zero_shot_of_frozen_text_is_against_the_cached_class_weights(clip):
    shown = images(clip, 4, seed=1)
    exact = validator(clip, weights=torch.from_numpy(shown[[0, 1, 2]]))(clip)
    assert exact["val_zeroshot_top1"] == 1
    unseen = (shown[[2, 3]] @ shown[[0, 1, 2]].T).argmax(1) == 2
    assert exact["val_zeroshot_unseen_top1"] == unseen.mean()
    wrong = validator(clip, weights=torch.from_numpy(shown[[1, 0, 2]]))(clip)
    assert wrong["val_zeroshot_top1"] == 0


def test_the_error_is_that_of_the_difference_to_the_base_picture_by_picture(clip):
    weights = torch.eye(16)[:3]
    classes = dataclasses.replace(CLASSES, seen=np.array([True] * 3))
    right, wrong = weights[[0, 1, 2, 2]], weights[[1, 0, 1, 1]]

    def error(student, base):
        validate = validator(clip, classes=classes, base=base, weights=weights)
        with pytest.MonkeyPatch.context() as patch:
            embedded = Validator._embedded

            def shown(self, clip, pixels, rows):
                return student if pixels is self.class_pixels else embedded(self, clip, pixels, rows)

            patch.setattr(Validator, "_embedded", shown)
            return validate(clip)["val_zeroshot_top1_error"]

    assert error(right, right) == error(wrong, wrong) == 0
    assert error(right, wrong) == 0, "every image changed alike"
    half = torch.cat([right[:2], wrong[2:]])
    assert error(half, right) == pytest.approx(0.5 / 4**0.5), "0, 0, -1, -1: deviation 1/2, of four"


def test_trained_text_is_embedded_anew_by_the_model_that_is_given(clip, monkeypatch):
    validate = validator(clip, train_text=True, vectors=np.full((4, 16), np.nan, np.float32),
                         weights=torch.zeros((3, 16)))  # fmt: skip
    read = []

    def texts(model, strings, compute, own=encode.texts):
        read.append((model, list(strings)))
        return own(model, strings, compute)

    monkeypatch.setattr(encode, "texts", texts)
    other = tiny_clip(seed=1)
    found = validate(other)
    assert read == [(other, ["a cat", "a dog", "a moon"]), (other, ["a cat", "two cats", "a dog", "the moon"])]
    assert all(np.isfinite(value) for value in found.values())


class Counted:
    """Images of which the most that were asked for at once is counted."""

    def __init__(self, rows):
        self.rows, self.most = rows, 0

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, wanted):
        self.most = max(self.most, len(wanted))
        return self.rows[wanted]


@pytest.mark.parametrize("copies", [1, 5])
def test_a_batch_of_images_is_in_memory_however_many_there_are(clip, copies):
    captions, labels = CAPTIONS * copies, np.tile(CLASSES.labels, copies)
    validate = validator(clip, captions=captions, classes=dataclasses.replace(CLASSES, labels=labels))
    shown, pairs = (Counted(np.tile(random_pixels(n, n), (copies, 1, 1, 1))) for n in (4, 3))
    base = torch.from_numpy(np.tile(unit_rows(4, 16, seed=3), (copies, 1)))
    validate = dataclasses.replace(
        validate, class_pixels=shown, class_embeddings=base, pairs=dataclasses.replace(validate.pairs, pixels=pairs)
    )
    validate(clip)
    assert max(shown.most, pairs.most) <= COMPUTE.batch


def test_a_validation_changes_nothing_and_is_repeatable(clip):
    validate, weights = validator(clip, train_text=True), clip.weights
    assert validate(clip) == validate(clip)
    assert clip.weights == weights
    assert not clip.model.training


def test_an_epoch_is_looked_at_with_evenly_spaced_images_of_each_class(clip):
    classes = dataclasses.replace(CLASSES, paths=["a1", "b1", "a2", "b2"], labels=np.array([0, 1, 0, 1]))
    whole = validator(clip, classes=classes)
    thin = whole.thinned(1)
    assert thin.classes.paths == ["a1", "b1"]
    assert thin.classes.labels.tolist() == [0, 1]
    assert thin.class_rows.tolist() == [0, 1]
    assert torch.equal(thin.class_embeddings, whole.class_embeddings[:2])
    assert thin.pairs is whole.pairs
    assert whole.thinned(2).classes.paths == classes.paths


@given(counts=st.lists(st.integers(1, 9), min_size=1, max_size=4), most=st.integers(1, 5))
def test_no_class_is_left_out_of_an_epoch_nor_has_more_images_than_asked_for(clip, counts, most):
    labels = np.repeat(np.arange(len(counts)), counts)
    classes = dataclasses.replace(CLASSES, paths=[str(i) for i in range(len(labels))], labels=labels)
    images = dataclasses.replace(
        validator(clip),
        classes=classes,
        class_pixels=np.zeros((len(labels), 1)),
        class_embeddings=torch.zeros(len(labels), 1),
    )
    kept = np.bincount(images.thinned(most).classes.labels, minlength=len(counts))
    assert (kept >= 1).all()
    assert (kept <= np.minimum(most, counts)).all()

"""Images without captions in a batch, and a student that learns from them by `semi`."""

import numpy as np
import pytest
import torch
from tiny_batches import loader
from tiny_batches import pairs as numbered
from tiny_models import unit_rows
from tiny_taught import phrases
from tiny_training import pairs, run, student, training

CAPTIONS = [["cat"], ["dog", "old dog"], [], ["sea"]]


def test_a_batch_says_which_caption_has_which_phrase():
    of = phrases(CAPTIONS)
    batch = loader(numbered(CAPTIONS, phrases=of)).gather(
        np.array([1, 2, 0]), np.array([2, 1, 0]), np.random.default_rng(0)
    )
    shown = [of.texts[i] for i in of.of(np.array([2, 1, 0]))]
    said = ["old dog", "dog", "cat"]
    found = {(said[caption], shown[phrase]) for caption, phrase in batch.phrase_pairs.T.tolist()}
    assert found == {("old dog", "old dog"), ("old dog", "old"), ("dog", "dog"), ("cat", "cat")}
    assert batch.positives.any(dim=1).tolist() == [True, False, True]
    assert torch.equal(batch.base_phrase, torch.from_numpy(of.embeddings[of.of(np.array([2, 1, 0]))]).float())


@pytest.mark.parametrize("train_text", [False, True])
def test_a_student_learns_from_images_without_captions(train_text):
    captions = [["a red cat"], [], ["a dog", "an old dog"], []] * 4
    data = pairs(captions, image_embeddings=unit_rows(16, 16, seed=2), phrases=phrases(captions))
    result = run(student(train_text), data, training("semi", batch=8, captions=None))
    terms = {name for name in result.history[-1] if "pseudo" in name or "keywords" in name}
    assert len(terms) == 2
    assert all(np.isfinite(result.history[-1][name]) and result.history[-1][name] > 0 for name in terms)


def test_a_batch_without_any_caption_is_learnt_nothing_from():
    captions = [["a cat"], ["a dog"], [], [], [], []]
    data = pairs(captions, image_embeddings=unit_rows(6, 16, seed=2), phrases=phrases(captions))
    result = run(student(), data, training("semi", batch=2, captions=None))
    assert all(np.isfinite(value) for value in result.history[-1].values())

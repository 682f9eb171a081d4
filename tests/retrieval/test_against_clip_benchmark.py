"""Recall as CLIP_benchmark counts it: of an image's captions one among the K best is enough."""

import numpy as np
import pytest
import torch
from clip_benchmark.metrics import zeroshot_retrieval
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import unit_rows
from tiny_retrieval import WAYS, of_matrix, owners

from pipeline.retrieval.metrics import KS, evaluate, summarise


def theirs(scores, owner, k, batch=16):
    """Per query, both ways, from scores [captions, images]."""
    positive = torch.zeros(scores.shape, dtype=torch.bool)
    positive[torch.arange(len(owner)), torch.from_numpy(owner)] = True
    return {
        way: (zeroshot_retrieval.batchify(zeroshot_retrieval.recall_at_k, s, p, batch, "cpu", k=k) > 0).numpy()
        for way, s, p in zip(WAYS, (scores, scores.T), (positive, positive.T), strict=True)
    }


def assert_same_recall(figures, scores, owner):
    for k in KS:
        if k <= min(scores.shape):  # they take as many as they are asked for
            for way, hits in theirs(scores, owner, k).items():
                assert np.array_equal(figures[way][f"recall@{k}"], hits.astype(float))
                assert summarise(figures[way])[f"recall@{k}"] == pytest.approx(hits.mean(), abs=1e-6)


def assert_same_recall_of(images, captions, owner):
    scores = torch.from_numpy(captions) @ torch.from_numpy(images).T
    assert_same_recall(evaluate(images, captions, owner), scores, owner)


@settings(max_examples=60, deadline=None)
@given(owners(max_images=25, max_captions=7), st.integers(0, 2**32 - 1))
def test_recall_of_ragged_captions_without_ties(owner, seed):
    images, captions = owner.max() + 1, len(owner)
    similarity = np.random.default_rng(seed).permutation(images * captions).reshape(images, captions)
    similarity = similarity.astype(np.float32)  # all different
    assert_same_recall(of_matrix(similarity, owner), torch.from_numpy(similarity).T, owner)


@pytest.mark.parametrize("noise", [0.3, 1, 3])
@pytest.mark.parametrize("per_image", [[1], [5], [1, 2, 3, 4, 5, 6, 7]])
def test_recall_of_random_embeddings(per_image, noise):
    owner = np.random.default_rng(0).permutation(np.repeat(np.arange(70), per_image * (70 // len(per_image))))
    images = unit_rows(70, 32, seed=1)
    captions = images[owner] + noise * unit_rows(len(owner), 32, seed=2)
    assert_same_recall_of(images, captions / np.linalg.norm(captions, axis=1, keepdims=True), owner)


def test_recall_of_real_embeddings(real_embeddings):
    assert_same_recall_of(*real_embeddings)


class Given(torch.nn.Module):
    """A model whose images and texts are embeddings already."""

    def encode_image(self, pictures):
        return pictures

    def encode_text(self, texts):
        return texts


def test_their_whole_evaluation_of_real_embeddings(real_embeddings):
    images, captions, owner = real_embeddings
    pictures = torch.from_numpy(images)
    texts = [[torch.from_numpy(captions[c]) for c in np.flatnonzero(owner == i)] for i in range(len(images))]
    batches = [(pictures[start : start + 16], texts[start : start + 16]) for start in range(0, len(images), 16)]
    found = zeroshot_retrieval.evaluate(Given(), batches, torch.stack, "cpu", amp=False, recall_k_list=list(KS))
    ours = {way: summarise(figures) for way, figures in evaluate(images, captions, owner).items()}
    for k in KS:
        assert ours["text_to_image"][f"recall@{k}"] == pytest.approx(found[f"image_retrieval_recall@{k}"], abs=1e-6)
        assert ours["image_to_text"][f"recall@{k}"] == pytest.approx(found[f"text_retrieval_recall@{k}"], abs=1e-6)

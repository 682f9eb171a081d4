import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.training.objectives import soft_cross_entropy

LOGITS = torch.log(torch.tensor([[0.5, 0.25, 0.25], [0.1, 0.1, 0.8]]))


def test_soft_labels_cost_their_mean_surprise_by_hand():
    concepts, shares = torch.tensor([[1, 0], [2, 1]]), torch.tensor([[0.75, 0.25], [0.5, 0.5]])
    first = -(0.75 * np.log(0.25) + 0.25 * np.log(0.5))
    second = -(0.5 * np.log(0.8) + 0.5 * np.log(0.1))
    assert soft_cross_entropy(LOGITS, concepts, shares).item() == pytest.approx((first + second) / 2)


def test_a_whole_share_is_the_cross_entropy_of_a_class():
    concepts = torch.tensor([[2], [0]])
    found = soft_cross_entropy(LOGITS, concepts, torch.ones(2, 1))
    torch.testing.assert_close(found, torch.nn.functional.cross_entropy(LOGITS, concepts[:, 0]))


def test_the_order_of_the_concepts_of_a_caption_is_none():
    concepts, shares = torch.tensor([[1, 0], [2, 1]]), torch.tensor([[0.75, 0.25], [0.5, 0.5]])
    found = soft_cross_entropy(LOGITS, concepts.flip(1), shares.flip(1))
    torch.testing.assert_close(found, soft_cross_entropy(LOGITS, concepts, shares))


def test_gradients_of_soft_cross_entropy_are_those_of_finite_differences():
    concepts, shares = torch.tensor([[1, 0], [2, 1]]), torch.tensor([[0.75, 0.25], [0.5, 0.5]]).double()
    logits = LOGITS.double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: soft_cross_entropy(x, concepts, shares), (logits,))


@settings(max_examples=40, deadline=None)
@given(n=st.integers(1, 4), classes=st.integers(1, 6), seed=st.integers(0, 99), shift=st.floats(-50, 50))
def test_it_is_least_where_the_softmax_is_the_shares(n, classes, seed, shift):
    """Then it is their entropy; and what is added to all logits changes nothing."""
    made = torch.Generator().manual_seed(seed)
    shares = torch.rand(n, classes, generator=made).double().softmax(dim=1)
    concepts = torch.stack([torch.randperm(classes, generator=made) for _ in range(n)])
    logits = torch.zeros(n, classes).double().scatter(1, concepts, shares.log())
    entropy = -(shares * shares.log()).sum(dim=1).mean()
    torch.testing.assert_close(soft_cross_entropy(logits + shift, concepts, shares), entropy)
    other = torch.randn(n, classes, generator=made).double()
    assert soft_cross_entropy(other, concepts, shares) >= entropy - 1e-9

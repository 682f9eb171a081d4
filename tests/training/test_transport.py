"""Optimal transport and labels for images without captions, against ones that are written out."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import unit_rows

from pipeline.training.objectives import sinkhorn, soft_labels, within


def written_out(cost, regularisation, iterations):
    """Sinkhorn-Knopp as POT's `ot.sinkhorn(a, b, M, reg, numItermax)` has it, with uniform weights."""
    n, m = cost.shape
    a, b, u, v = np.full(n, 1 / n), np.full(m, 1 / m), np.full(n, 1 / n), np.full(m, 1 / m)
    kernel = np.exp(-cost / regularisation)
    for _ in range(iterations):
        v = b / (kernel.T @ u)
        u = a / (kernel @ v)
    return u[:, None] * kernel * v[None, :]


def costs(n, m, seed):
    return 1 - unit_rows(n, 8, seed=seed).astype(np.float64) @ unit_rows(m, 8, seed=seed + 1).astype(np.float64).T


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), st.sampled_from([0.01, 0.05, 1.0]), st.integers(0, 99))
def test_the_plan_is_the_one_that_is_written_out(n, m, regularisation, seed):
    cost = costs(n, m, seed)
    found = sinkhorn(torch.from_numpy(cost).float(), regularisation).numpy()
    assert np.abs(found - written_out(cost, regularisation, 10)).max() < 1e-6
    assert found.sum(axis=1) == pytest.approx(np.full(n, 1 / n), abs=1e-6)


@pytest.mark.parametrize("regularisation", [0.02, 0.2])
def test_the_plan_is_pots(regularisation):
    ot = pytest.importorskip("ot")
    cost = costs(7, 11, 3)
    wanted = ot.sinkhorn(np.full(7, 1 / 7), np.full(11, 1 / 11), cost, regularisation, numItermax=10, warn=False)
    assert np.abs(sinkhorn(torch.from_numpy(cost), regularisation).numpy() - wanted).max() < 1e-6


def test_two_by_two_by_hand():
    # What is alike by 1 against 0 at regularisation 1: rows and columns share e : 1.
    e = np.e
    wanted = np.array([[e, 1], [1, e]]) / (2 * (e + 1))
    assert sinkhorn(torch.tensor([[0.0, 1.0], [1.0, 0.0]]), 1.0).numpy() == pytest.approx(wanted, abs=1e-6)


def test_a_kernel_that_underflows_still_gives_a_plan():
    found = sinkhorn(torch.tensor([[2.0, 2.0], [2.0, 0.0]]), 1e-3)
    assert found.isfinite().all() and found.sum().item() == pytest.approx(1.0)
    assert not found.requires_grad


def test_labels_among_candidates_are_the_models_own_shares_of_them():
    logits = torch.tensor([[1.0, 2.0, 3.0], [0.0, 5.0, 0.0], [1.0, 1.0, 1.0]], requires_grad=True)
    candidates = torch.tensor([[True, True, False], [False, True, False], [False, False, False]])
    shares = torch.tensor([[1.0, 2.0]]).softmax(dim=1)[0]
    logs = logits.detach().log_softmax(dim=1)
    wanted = -(shares[0] * logs[0, 0] + shares[1] * logs[0, 1] + logs[1, 1]) / 3
    loss = within(logits, candidates)
    assert loss.item() == pytest.approx(wanted.item())
    loss.backward()
    assert logits.grad.isfinite().all() and not logits.grad[2].any()


def test_soft_labels_that_are_hard_are_cross_entropy():
    logits, labels = torch.tensor([[1.0, 2.0], [0.5, 0.0]]), torch.tensor([1, 0])
    wanted = torch.nn.functional.cross_entropy(logits, labels)
    assert soft_labels(logits, torch.eye(2)[labels]).item() == pytest.approx(wanted.item())

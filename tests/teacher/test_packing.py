"""Packed rows against the plain, padded computation, over counts of every kind: no rows, one, many."""

import plain_teacher
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.teacher import model
from pipeline.teacher.model import CrossAttention, MetaTeacher
from pipeline.teacher.packing import Packing

D, HEADS = 8, 2
COUNTS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=5)
"""Of every sample, how many rows its two streams have."""
over_counts = settings(deadline=None, max_examples=60)


def stream(counts, seed):
    """Padded rows [B, K, D], whose padding is anything but zero, and their mask [B, K]."""
    width = max([1, *counts])
    rows = torch.randn(len(counts), width, D, generator=torch.Generator().manual_seed(seed))
    return rows.requires_grad_(), torch.arange(width) < torch.tensor(counts)[:, None]


def streams(counts):
    regions, spans = zip(*counts, strict=True)
    return *stream(regions, 1), *stream(spans, 2)


def random_biases(module):
    """Biases that are zero at first would hide a wrong one."""
    for name, parameter in module.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter)
    return module


def assert_equal_with_gradients(found, wanted, inputs):
    """To float tolerance the same values, and the same gradients in every input."""
    torch.testing.assert_close(found, wanted, atol=2e-6, rtol=1e-5)
    probe = torch.randn(found.shape, generator=torch.Generator().manual_seed(3))
    gradients = [
        torch.autograd.grad((x * probe).sum(), inputs, allow_unused=True, retain_graph=True) for x in (found, wanted)
    ]
    for one, other, x in zip(*gradients, inputs, strict=True):
        nothing = torch.zeros_like(x)
        torch.testing.assert_close(
            nothing if one is None else one, nothing if other is None else other, atol=2e-5, rtol=1e-4
        )


@over_counts
@given(COUNTS)
@example([(0, 0)])
@example([(5, 0), (0, 5)])
def test_rows_packed_and_padded_again_stand_where_they_stood(counts):
    x, mask, _, _ = streams(counts)
    packing = Packing(mask)
    rows = packing.pack(x)
    assert len(packing) == mask.sum() == len(rows)
    assert torch.equal(rows, x[mask])
    assert torch.equal(packing.owner_R, mask.nonzero()[:, 0])
    assert_equal_with_gradients(packing.pad(rows), x * mask[..., None], [x])
    assert_equal_with_gradients(packing.sums(rows), (x * mask[..., None]).sum(dim=1), [x])


@over_counts
@given(COUNTS.filter(lambda counts: any(regions for regions, _ in counts)))
def test_heads_are_laid_out_side_by_side_and_put_together_again(counts):
    x, mask, _, _ = streams(counts)
    packing = Packing(mask)
    by_head = packing.to_heads(packing.pack(x), HEADS)
    shown = mask.repeat_interleave(HEADS, dim=0)[..., None]
    plain = x.unflatten(2, (HEADS, D // HEADS)).transpose(1, 2).flatten(0, 1)
    assert torch.isfinite(by_head).all()
    assert_equal_with_gradients(by_head * shown, plain * shown, [x])
    assert_equal_with_gradients(packing.from_heads(plain, HEADS), x[mask], [x])


@over_counts
@given(COUNTS, st.sampled_from([0, 3]))
@example([(0, 0)], 0)
@example([(3, 0), (1, 0)], 0)
@example([(0, 2), (4, 1)], 0)
def test_cross_attention_is_the_plain_one(counts, feed_forward):
    torch.manual_seed(0)
    layer = random_biases(CrossAttention(D, HEADS, feed_forward))
    x, x_mask, y, y_mask = streams(counts)
    rows, others = Packing(x_mask), Packing(y_mask)
    found = layer(rows.pack(x), rows, others.pack(y), others)
    wanted = plain_teacher.layer(layer, x, y, y_mask)[x_mask]
    assert_equal_with_gradients(found, wanted, [x, y, *layer.parameters()])


@over_counts
@given(COUNTS, st.sampled_from([0.1, 2.0]))
@example([(0, 0)], 2.0)
def test_cosine_pool_is_the_plain_one(counts, temperature):
    x, mask, _, _ = streams(counts)
    rows = Packing(mask)
    found = model.cosine_pool(rows.pack(x), rows, temperature)
    assert_equal_with_gradients(found, plain_teacher.cosine_pool(x, mask, temperature), [x])


@over_counts
@given(COUNTS)
@example([(5, 6), (3, 2), (1, 4), (2, 1)])
@example([(5, 6), (3, 0), (1, 4), (2, 0)])
@example([(5, 0), (3, 0)])
@example([(0, 3), (0, 1)])
@pytest.mark.parametrize(("depth", "feed_forward"), [(1, 0), (2, 3)], ids=["as published", "deeper, with feed-forward"])
def test_z_is_that_of_the_plain_teacher(depth, feed_forward, counts):
    torch.manual_seed(0)
    teacher = random_biases(MetaTeacher(D, heads=HEADS, depth=depth, feed_forward=feed_forward))
    batch = streams(counts)
    inputs = [batch[0], batch[2], *teacher.parameters()]
    assert_equal_with_gradients(teacher(*batch), plain_teacher.teacher(teacher, *batch), inputs)

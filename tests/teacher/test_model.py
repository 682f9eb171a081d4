import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from pipeline.artifacts.weights import WrongWeights
from pipeline.errors import InputError
from pipeline.teacher import model
from pipeline.teacher.model import CrossAttention, MetaTeacher
from pipeline.teacher.packing import Packing

B, M, N, D = 4, 5, 6, 8


def unit(*shape, seed=0):
    return F.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


def mask(counts, width):
    return torch.arange(width) < torch.tensor(counts)[:, None]


def given(region_counts=(5, 3, 1, 2), span_counts=(6, 2, 4, 1)):
    regions, spans = unit(B, M, D, seed=1), unit(B, N, D, seed=2)
    return regions, mask(region_counts, M), spans, mask(span_counts, N)


def cosine_pool(x, mask, temperature):
    rows = Packing(mask)
    return model.cosine_pool(rows.pack(x), rows, temperature)


@pytest.fixture(params=[(1, 0), (2, 3)], ids=["as published", "deeper, with feed-forward"])
def teacher(request):
    torch.manual_seed(0)
    depth, feed_forward = request.param
    return MetaTeacher(D, heads=2, depth=depth, feed_forward=feed_forward).eval()


def test_z_has_unit_length(teacher):
    torch.testing.assert_close(teacher(*given()).norm(dim=-1), torch.ones(B))


def test_padding_of_any_width_and_content_changes_nothing(teacher):
    regions, region_mask, spans, span_mask = given()
    wider = teacher(
        torch.cat([regions, 100 * torch.ones(B, 7, D)], dim=1), F.pad(region_mask, (0, 7)),
        torch.cat([spans, -50 * torch.ones(B, 9, D)], dim=1), F.pad(span_mask, (0, 9)),
    )  # fmt: skip
    torch.testing.assert_close(wider, teacher(regions, region_mask, spans, span_mask), atol=1e-5, rtol=0)


def test_a_row_does_not_depend_on_the_other_rows(teacher):
    regions, region_mask, spans, span_mask = given()
    together = teacher(regions, region_mask, spans, span_mask)
    for i, (m, n) in enumerate(zip((5, 3, 1, 2), (6, 2, 4, 1), strict=True)):
        alone = teacher(
            regions[i : i + 1, :m], region_mask[i : i + 1, :m], spans[i : i + 1, :n], span_mask[i : i + 1, :n]
        )
        torch.testing.assert_close(alone[0], together[i], atol=1e-5, rtol=0)


def test_the_order_of_regions_and_spans_is_not_read(teacher):
    regions, region_mask, spans, span_mask = given((M,) * B, (N,) * B)
    turned = teacher(regions.flip(1), region_mask, spans.flip(1), span_mask)
    torch.testing.assert_close(turned, teacher(regions, region_mask, spans, span_mask), atol=1e-5, rtol=0)


def test_a_text_is_read(teacher):
    regions, region_mask, spans, span_mask = given()
    changed = spans.clone()
    changed[0, 0] = unit(D, seed=9)
    difference = (teacher(regions, region_mask, changed, span_mask) - teacher(*given())).abs().amax(dim=1)
    assert difference[0] > 1e-3
    torch.testing.assert_close(difference[1:], torch.zeros(3), atol=1e-6, rtol=0)


def test_without_text_z_depends_on_the_image_alone(teacher):
    regions, region_mask, spans, _ = given()
    nothing = torch.zeros(B, N, dtype=torch.bool)
    found = teacher(regions, region_mask, spans, nothing)
    torch.testing.assert_close(found.norm(dim=-1), torch.ones(B))
    for other in (torch.zeros_like(spans), 1000 * unit(B, N, D, seed=8), unit(B, 1, D, seed=8)):
        torch.testing.assert_close(teacher(regions, region_mask, other, nothing[:, : other.shape[1]]), found)


def test_without_text_z_is_the_pool_of_the_normalised_regions():
    torch.manual_seed(0)
    teacher = MetaTeacher(D, heads=2).eval()
    regions, region_mask, spans, _ = given((M,) * B)
    found = teacher(regions, region_mask, spans, torch.zeros(B, N, dtype=torch.bool))
    pooled = cosine_pool(F.layer_norm(regions, (D,)), region_mask, 2.0)
    torch.testing.assert_close(found, F.normalize(pooled, dim=-1))


def test_rows_with_and_without_text_may_share_a_batch(teacher):
    regions, region_mask, spans, span_mask = given()
    some = span_mask.clone()
    some[1] = False
    mixed = teacher(regions, region_mask, spans, some)
    torch.testing.assert_close(mixed[[0, 2, 3]], teacher(*given())[[0, 2, 3]], atol=1e-6, rtol=0)
    alone = teacher(regions, region_mask, spans, torch.zeros_like(some))
    torch.testing.assert_close(mixed[1], alone[1], atol=1e-6, rtol=0)


@pytest.mark.parametrize("span_counts", [(6, 0, 4, 0), (0, 0, 0, 0)])
def test_gradients_are_finite_where_a_row_has_no_spans(teacher, span_counts):
    teacher.train()
    regions, region_mask, spans, span_mask = given(span_counts=span_counts)
    regions, spans = regions.requires_grad_(), spans.requires_grad_()
    z = teacher(regions, region_mask, spans, span_mask)
    (z * unit(B, D, seed=5)).sum().backward()
    for tensor in (regions, spans, *teacher.parameters()):
        assert tensor.grad is None or torch.isfinite(tensor.grad).all()
    assert regions.grad.abs().max() > 0
    assert (spans.grad[1] == 0).all()


def test_the_published_form_has_two_attentions_two_norms_and_nothing_else():
    teacher = MetaTeacher(512, heads=8)
    kinds = [type(m) for m in teacher.modules() if next(m.parameters(recurse=False), None) is not None]
    assert kinds.count(nn.MultiheadAttention) == 2
    assert kinds.count(nn.LayerNorm) == 2
    attention = 4 * 512 * 512 + 4 * 512
    assert sum(p.numel() for p in teacher.parameters()) == 2 * (attention + 2 * 512)
    assert teacher.pool_temperature == 2.0


def test_depth_and_feed_forward_add_what_they_say():
    teacher = MetaTeacher(D, heads=2, depth=3, feed_forward=4)
    assert sum(isinstance(m, nn.MultiheadAttention) for m in teacher.modules()) == 2 * 3
    hidden = {(m.in_features, m.out_features) for m in teacher.modules() if type(m) is nn.Linear}
    assert hidden == {(D, 4 * D), (4 * D, D)}


def test_both_streams_attend_to_what_the_other_was_before():
    torch.manual_seed(0)
    teacher = MetaTeacher(D, heads=2).eval()
    regions, region_mask, spans, span_mask = given((M,) * B, (N,) * B)
    image, text = teacher.image_layers[0], teacher.text_layers[0]
    v = image.norm(regions + image.attention(regions, spans, spans)[0])
    t = text.norm(spans + text.attention(spans, regions, regions)[0])
    wanted = 0.5 * (cosine_pool(t, span_mask, 2.0) + cosine_pool(v, region_mask, 2.0))
    torch.testing.assert_close(teacher(regions, region_mask, spans, span_mask), F.normalize(wanted, dim=-1))


def test_attention_over_nothing_adds_nothing():
    torch.manual_seed(0)
    layer = CrossAttention(D, 2, 0).eval()
    x, y = unit(2, 3, D, seed=1), unit(2, 4, D, seed=2)
    rows, columns = Packing(mask([3, 3], 3)), Packing(mask([4, 0], 4))
    found = rows.pad(layer(rows.pack(x), rows, columns.pack(y), columns))
    torch.testing.assert_close(found[1], F.layer_norm(x[1], (D,)))
    assert not torch.allclose(found[0], F.layer_norm(x[0], (D,)))


def test_training_steps_are_deterministic(teacher):
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        z = [teacher(*given()) for _ in range(2)]
        first, second = (torch.autograd.grad(each.square().sum() + each[0, 0], [*teacher.parameters()]) for each in z)
    finally:
        torch.use_deterministic_algorithms(before)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_cosine_pool_by_hand():
    # x = (1, 0), (0, 1), (0, 1): the mean points to (1, 2), the cosines are 1/sqrt 5 and twice 2/sqrt 5.
    x = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]])
    first, second = math.exp(1 / math.sqrt(5) / 0.5), math.exp(2 / math.sqrt(5) / 0.5)
    share = first / (first + 2 * second)
    found = cosine_pool(x, torch.ones(1, 3, dtype=torch.bool), temperature=0.5)
    torch.testing.assert_close(found, torch.tensor([[share, 1 - share]]))


def test_cosine_pool_leaves_masked_rows_out_of_the_mean_and_the_weights():
    x = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [7.0, -9.0]]])
    found = cosine_pool(x, torch.tensor([[True, True, False]]), temperature=2.0)
    torch.testing.assert_close(found, torch.tensor([[0.5, 0.5]]))


def test_cosine_pool_of_one_is_itself_and_of_none_is_zero():
    x = torch.tensor([[[3.0, 4.0], [9.0, 9.0]], [[3.0, 4.0], [9.0, 9.0]]])
    found = cosine_pool(x, torch.tensor([[True, False], [False, False]]), temperature=2.0)
    torch.testing.assert_close(found, torch.tensor([[3.0, 4.0], [0.0, 0.0]]))


def test_a_high_temperature_pools_to_the_mean_and_a_low_one_to_the_most_typical():
    x = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]])
    every = torch.ones(1, 3, dtype=torch.bool)
    torch.testing.assert_close(cosine_pool(x, every, 1e6), torch.tensor([[1 / 3, 2 / 3]]))
    torch.testing.assert_close(cosine_pool(x, every, 1e-3), torch.tensor([[0.0, 1.0]]))


def test_heads_divide_the_dimension():
    parameters = {"heads": 3, "depth": 1, "feed_forward": 0, "pool_temperature": 1.0}
    with pytest.raises(InputError, match=r"teacher\.heads is 3, expected a divisor of 16"):
        MetaTeacher.from_parameters(16, parameters)


def test_weights_of_another_teacher_are_refused():
    state = MetaTeacher(D, heads=2).state_dict()
    assert torch.equal(
        next(iter(MetaTeacher(D, heads=2).filled(state).state_dict().values())), next(iter(state.values()))
    )
    for other in (MetaTeacher(D, heads=2, depth=2), MetaTeacher(2 * D, heads=2)):
        with pytest.raises(WrongWeights, match="not those of these features and parameters"):
            other.filled(state)

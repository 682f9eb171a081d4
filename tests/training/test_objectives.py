import math

import pytest
import torch
import torch.nn.functional as F
from tiny_models import unit_rows

from pipeline.training.objectives import contrastive, cosine_distance, divergence, sigmoid, squared_distance

RAGGED = torch.tensor([[1, 1, 0], [0, 0, 1]], dtype=torch.bool)
"""Two captions of the first image, one of the second."""


def unit(rows, seed):
    return torch.from_numpy(unit_rows(rows, 6, seed=seed))


def with_angles(cosines):
    """An identity of images, and texts whose similarity to image i is cosines[i][j]."""
    return torch.eye(len(cosines)), torch.tensor(cosines).T.contiguous()


@pytest.mark.parametrize("scale", [1.0, 20.0, 100.0])
def test_one_positive_is_cross_entropy_both_ways(scale):
    image, text = unit(5, 1), unit(5, 2)
    logits, labels = scale * image @ text.T, torch.arange(5)
    wanted = (F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels)) / 2
    torch.testing.assert_close(contrastive(image, text, scale), wanted)
    torch.testing.assert_close(contrastive(image, text, scale, positives=torch.eye(5, dtype=torch.bool)), wanted)


def test_two_pairs_by_hand():
    # Similarities [[1, 0], [0, 1]] at scale 1: each row and each column is -log(e / (e + 1)).
    image, text = with_angles([[1.0, 0.0], [0.0, 1.0]])
    assert contrastive(image, text, 1.0).item() == pytest.approx(math.log(1 + math.exp(-1)))


def test_several_positives_by_hand():
    # Pairs 0 and 1 have equal captions, all similarities are 0: every softmax is 1/3, so is every positive's share.
    image, text = with_angles([[0.0] * 3] * 3)
    same = torch.tensor([[1, 1, 0], [1, 1, 0], [0, 0, 1]], dtype=torch.bool)
    assert contrastive(image, text, 10.0, same).item() == pytest.approx(math.log(3))


def test_positives_share_their_row_evenly():
    # Row 0: positives 0 and 1 with logits 2 and 0, against 0: -(log p0 + log p1) / 2, likewise in the others.
    image, text = with_angles([[2.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    same = torch.tensor([[1, 1, 0], [1, 1, 0], [0, 0, 1]], dtype=torch.bool)
    total = math.exp(2) + 2
    first = -(2 - math.log(total) + 0 - math.log(total)) / 2
    assert contrastive(image, text, 1.0, same).item() == pytest.approx((first + 2 * math.log(3)) / 3)


def test_equal_captions_are_not_pushed_apart():
    texts = torch.eye(4)
    same = torch.eye(4, dtype=torch.bool)
    same[0, 1] = same[1, 0] = True
    images = torch.eye(4, requires_grad=True)
    contrastive(images, texts, 5.0, same).backward()
    assert images.grad[0, 1] < 0, "image 0 is pulled to text 1, which says the same"
    assert images.grad[0, 2] > 0, "and pushed from text 2, which does not"
    images = torch.eye(4, requires_grad=True)
    contrastive(images, texts, 5.0).backward()
    assert images.grad[0, 1] > 0, "without that knowledge it would be pushed from text 1 too"


def test_sigmoid_of_two_pairs_by_hand():
    # Similarities [[1, 0], [0, 1]], s 2 and b -1: logits 1 on the diagonal, -1 elsewhere, each with label z, so all
    # four terms are log sigmoid(1), and they are divided by two texts.
    image, text = with_angles([[1.0, 0.0], [0.0, 1.0]])
    assert sigmoid(image, text, 2.0, -1.0).item() == pytest.approx(2 * math.log(1 + math.exp(-1)))


def test_sigmoid_with_several_positives_and_negatives_by_hand():
    # All similarities are 0 and b is ln 3: a positive costs log 4/3, any other log 4; there are six of three texts.
    image, text = torch.eye(4)[:2], torch.eye(4)[[3, 3, 3]]
    same, bias = torch.tensor([[1, 1, 0], [0, 0, 1]], dtype=torch.bool), math.log(3)
    six = 3 * math.log(4 / 3) + 3 * math.log(4)
    assert sigmoid(image, text, 5.0, bias, same).item() == pytest.approx(six / 3)
    negatives, allowed = torch.eye(4)[[2, 2]], torch.tensor([[1, 1], [1, 0]], dtype=torch.bool)
    found = sigmoid(image, text, 5.0, bias, same, negatives, allowed)
    assert found.item() == pytest.approx((six + 3 * math.log(4)) / 3)
    assert sigmoid(image, text, 5.0, bias, same, negatives).item() == pytest.approx((six + 4 * math.log(4)) / 3)


def test_sigmoid_pulls_every_positive_and_pushes_every_other_text_by_itself():
    same = torch.tensor([[1, 1, 0], [0, 0, 1]], dtype=torch.bool)
    image = torch.zeros(2, 3, requires_grad=True)
    sigmoid(image, torch.eye(3), 1.0, 0.0, same).backward()
    torch.testing.assert_close(image.grad, torch.where(same, -1 / 6, 1 / 6))


def test_it_is_symmetric_in_images_and_texts():
    image, text = unit(5, 1), unit(5, 2)
    same = torch.eye(5, dtype=torch.bool)
    same[1, 4] = same[4, 1] = True
    torch.testing.assert_close(contrastive(image, text, 7.0, same), contrastive(text, image, 7.0, same))


def test_gradients_are_those_of_finite_differences():
    image, text = (unit(3, seed).double().requires_grad_() for seed in (1, 2))
    scale = torch.tensor(3.0, dtype=torch.double, requires_grad=True)
    same = torch.tensor([[1, 1, 0], [1, 1, 0], [0, 0, 1]], dtype=torch.bool)
    assert torch.autograd.gradcheck(lambda *x: contrastive(*x), (image, text, scale))
    assert torch.autograd.gradcheck(lambda *x: contrastive(*x, same), (image, text, scale))
    assert torch.autograd.gradcheck(cosine_distance, (image, text))
    bias = torch.tensor(-2.0, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(lambda *x: sigmoid(*x, same), (image, text, scale, bias))
    assert torch.autograd.gradcheck(squared_distance, (image, text))


def test_gradients_with_ragged_captions_and_negatives_are_those_of_finite_differences():
    image, text, negatives = (unit(n, n)[:, :3].double().requires_grad_() for n in (2, 3, 2))
    allowed = torch.tensor([[True, False], [True, True]])
    assert torch.autograd.gradcheck(lambda *x: contrastive(x[0], x[1], 3.0, RAGGED, x[2]), (image, text, negatives))
    assert torch.autograd.gradcheck(
        lambda *x: contrastive(x[0], x[1], 3.0, RAGGED, x[2], allowed), (image, text, negatives)
    )


@pytest.mark.parametrize("alpha", [0.0, 0.5])
def test_gradients_of_a_divergence_are_those_of_finite_differences(alpha):
    found = 3 * unit(2, 1).double()[:, :3]
    target = 3 * unit(2, 2).double()[:, :3]
    assert torch.autograd.gradcheck(lambda x: divergence(x, target, RAGGED, alpha), (found.requires_grad_(),))


def test_cosine_distance_by_hand():
    found = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
    target = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, -1.0], [0.8, 0.6]])
    assert cosine_distance(found, target).item() == pytest.approx((0 + 1 + 2 + (1 - 0.96)) / 4)


def test_cosine_distance_does_not_ask_for_unit_length():
    found, target = unit(4, 1), unit(4, 2)
    torch.testing.assert_close(cosine_distance(3 * found, 0.5 * target), cosine_distance(found, target))


def test_squared_distance_by_hand():
    found = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 3.0]])
    target = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    assert squared_distance(found, target).item() == pytest.approx((0 + 2 + 4) / 3)


def test_squared_distance_of_unit_vectors_is_twice_their_cosine_distance():
    found, target = unit(5, 1), unit(5, 2)
    torch.testing.assert_close(squared_distance(found, target), 2 * cosine_distance(found, target))


def ragged(extra=()):
    """Two images, three texts and some negatives, all of similarity 0."""
    return torch.eye(2, 4), torch.zeros(3, 4), 7.0, RAGGED, *extra


def test_pictures_with_several_captions_by_hand():
    # Every row is a softmax over 3 texts, every column one over 2 images.
    assert contrastive(*ragged()).item() == pytest.approx((math.log(3) + math.log(2)) / 2)


def test_unequal_similarities_of_pictures_with_several_captions_by_hand():
    image, text = torch.eye(2), torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.0, 2.0]])
    first, second = math.log(math.e + 2), math.log(2 + math.exp(2))
    rows = (((first - 1) + first) / 2 + (second - 2)) / 2
    columns = (math.log(1 + math.exp(-1)) + math.log(2) + math.log(1 + math.exp(-2))) / 3
    assert contrastive(image, text, 1.0, RAGGED).item() == pytest.approx((rows + columns) / 2)


def test_a_text_that_two_pictures_share_by_hand():
    # Text 1 is right for both images: it has half of every share in its column, and in the first image's row.
    both = torch.tensor([[1, 1, 0], [0, 1, 1]], dtype=torch.bool)
    image, text = torch.eye(2), torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.0, 1.0]])
    total = math.log(math.e + 2)
    rows = total - 1 / 2
    columns = (2 * math.log(1 + math.exp(-1)) + math.log(2)) / 3
    assert contrastive(image, text, 1.0, both).item() == pytest.approx((rows + columns) / 2)


def test_negatives_are_columns_of_the_pictures_softmax_alone():
    negatives = torch.zeros(2, 4)
    found = contrastive(*ragged([negatives]))
    assert found.item() == pytest.approx((math.log(5) + math.log(2)) / 2)
    everything = torch.ones(2, 2, dtype=torch.bool)
    torch.testing.assert_close(contrastive(*ragged([negatives, everything])), found)


def test_a_negative_that_is_right_for_a_picture_is_left_out_of_its_row():
    allowed = torch.tensor([[False, True], [True, True]])
    found = contrastive(*ragged([torch.zeros(2, 4), allowed]))
    assert found.item() == pytest.approx(((math.log(4) + math.log(5)) / 2 + math.log(2)) / 2)
    image = unit(2, 1).requires_grad_()
    negatives = unit(2, 3).requires_grad_()
    contrastive(image, unit(3, 2), 5.0, RAGGED, negatives, torch.tensor([[False, True], [False, True]])).backward()
    assert negatives.grad[0].tolist() == [0.0] * 6
    assert negatives.grad[1].abs().max() > 0
    assert image.grad.isfinite().all()


def test_negatives_also_stand_beside_the_diagonal():
    image, text, negatives = unit(3, 1), unit(3, 2), unit(2, 3)
    diagonal = torch.eye(3, dtype=torch.bool)
    torch.testing.assert_close(
        contrastive(image, text, 9.0, negatives=negatives), contrastive(image, text, 9.0, diagonal, negatives)
    )


def test_no_negatives_at_all_change_nothing():
    image, text = unit(2, 1), unit(3, 2)
    found = contrastive(image, text, 9.0, RAGGED, torch.zeros(0, 6), torch.zeros(2, 0, dtype=torch.bool))
    torch.testing.assert_close(found, contrastive(image, text, 9.0, RAGGED))


def kl(wanted, found):
    return sum(q * math.log(q / p) for q, p in zip(wanted, found, strict=True) if q)


def test_a_divergence_by_hand():
    # Wanted is softmax(1, 0) in both rows and columns, found is 1/2 everywhere.
    high = math.e / (math.e + 1)
    found = divergence(torch.zeros(2, 2), torch.eye(2))
    assert found.item() == pytest.approx(kl([high, 1 - high], [0.5, 0.5]))


def test_half_of_a_divergence_may_be_to_the_positives():
    high = math.e / (math.e + 1)
    wanted = [(1 + high) / 2, (1 - high) / 2]
    found = divergence(torch.zeros(2, 2), torch.eye(2), torch.eye(2, dtype=torch.bool), alpha=0.5)
    assert found.item() == pytest.approx(kl(wanted, [0.5, 0.5]))


def test_a_divergence_to_the_positives_alone_is_the_contrastive_loss_less_their_entropy():
    image, text = unit(2, 1), unit(3, 2)
    found = divergence(5 * image @ text.T, torch.zeros(2, 3), RAGGED, alpha=1.0)
    entropy = math.log(2) / 2 / 2  # of the two captions of the first of two images; columns have one positive
    assert found.item() == pytest.approx(contrastive(image, text, 5.0, RAGGED).item() - entropy, abs=1e-5)


@pytest.mark.parametrize("alpha", [0.0, 0.5])
def test_a_divergence_of_ragged_captions_runs_along_rows_and_along_columns(alpha):
    found, target = 4 * unit(2, 1)[:, :3], 4 * unit(2, 2)[:, :3]

    def along(found, target, positives):
        total = 0.0
        for row, goal, right in zip(found, target, positives, strict=True):
            soft = (goal.double().exp() / goal.double().exp().sum()).tolist()
            hard = (right.double() / right.double().sum()).tolist()
            wanted = [alpha * h + (1 - alpha) * s for h, s in zip(hard, soft, strict=True)]
            total += kl(wanted, (row.double().exp() / row.double().exp().sum()).tolist())
        return total / len(found)

    wanted = (along(found, target, RAGGED) + along(found.T, target.T, RAGGED.T)) / 2
    assert divergence(found, target, RAGGED, alpha).item() == pytest.approx(wanted, rel=1e-4)


def test_equal_similarities_do_not_diverge_whatever_is_added_to_all():
    logits = 4 * unit(4, 1)
    assert divergence(logits, logits).item() == pytest.approx(0, abs=1e-6)
    assert divergence(logits, logits + 3).item() == pytest.approx(0, abs=1e-6)
    assert divergence(logits, 2 * logits).item() > 0.01


def test_the_gradient_of_a_divergence_goes_into_what_was_found_alone():
    found, target = unit(2, 1)[:, :3].clone().requires_grad_(), unit(2, 2)[:, :3].clone().requires_grad_()
    divergence(found, target, RAGGED, alpha=0.5).backward()
    assert found.grad.abs().max() > 0
    assert target.grad is None


def test_at_equal_similarities_a_divergence_has_no_gradient():
    found = (4 * unit(4, 1)).requires_grad_()
    divergence(found, found.detach()).backward()
    assert found.grad.abs().max() < 1e-6


def test_hard_labels_need_positives():
    with pytest.raises(AssertionError, match="positives"):
        divergence(torch.zeros(2, 2), torch.zeros(2, 2), alpha=0.5)

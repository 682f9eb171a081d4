import math

import pytest
import torch
import torch.nn.functional as F
from tiny_models import unit_rows

from pipeline.objectives import contrastive, cosine_distance


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
    torch.testing.assert_close(contrastive(image, text, scale, same=torch.eye(5, dtype=torch.bool)), wanted)


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


def test_cosine_distance_by_hand():
    found = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
    target = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, -1.0], [0.8, 0.6]])
    assert cosine_distance(found, target).item() == pytest.approx((0 + 1 + 2 + (1 - 0.96)) / 4)


def test_cosine_distance_does_not_ask_for_unit_length():
    found, target = unit(4, 1), unit(4, 2)
    torch.testing.assert_close(cosine_distance(3 * found, 0.5 * target), cosine_distance(found, target))

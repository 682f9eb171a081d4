import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from pipeline.distillation.best_epoch import retrieval
from pipeline.distillation.interpolation import ALPHAS, choose, mix, retained


def figures(alpha, zeroshot):
    return {
        "val_text_to_image_recall@1": 0.1 + 0.1 * alpha,
        "val_image_to_text_recall@1": 0.2 + 0.1 * alpha,
        "val_zeroshot_top1": zeroshot(alpha),
    }


def line():
    """A model of one weight, 0 at the base and 1 at the student, so that its weight is alpha."""
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, 1.0)
    return model, {"weight": torch.zeros(1, 1)}


def walk(zeroshot, keep):
    model, base = line()
    chosen, points = choose(
        model, base, lambda: figures(model.weight.item(), zeroshot), figures(0.0, zeroshot), keep
    )  # fmt: skip
    return model, chosen, points


def test_mixing_is_the_straight_line_and_leaves_counters_alone():
    base = {"weight": torch.tensor([0.0, 2.0]), "steps": torch.tensor(3)}
    student = {"weight": torch.tensor([1.0, 4.0]), "steps": torch.tensor(7)}
    mixed = mix(base, student, 0.25)
    assert mixed["weight"].tolist() == [0.25, 2.5]
    assert mixed["steps"].item() == 7


def test_the_student_itself_is_taken_where_it_keeps_enough():
    model, chosen, points = walk(lambda alpha: 0.5, keep=1.0)
    assert chosen["alpha"] == 1.0
    assert model.weight.item() == 1.0
    assert [p["alpha"] for p in points] == pytest.approx([0, *ALPHAS]), "nothing is beyond, so nothing is refined"


def test_the_best_retrieval_among_points_that_keep_enough_is_taken():
    model, chosen, _ = walk(lambda alpha: 0.5 * (1 - 0.1 * alpha), keep=0.955)
    assert chosen["alpha"] == pytest.approx(0.45)
    assert model.weight.item() == pytest.approx(0.45)


def test_where_no_point_keeps_enough_the_one_that_keeps_most_is_taken():
    _, chosen, points = walk(lambda alpha: 0.5 - 0.4 * alpha, keep=0.999)
    assert chosen["alpha"] == pytest.approx(ALPHAS[0] / 8)
    assert [p["alpha"] for p in points[:5]] == pytest.approx([0, 0.0125, 0.025, 0.05, 0.1])


@given(st.floats(0.0, 0.999))
def test_the_choice_is_within_an_eightieth_of_the_last_point_that_keeps_enough(last):
    _, chosen, points = walk(lambda alpha: 0.5 if alpha <= last + 1e-6 else 0.4, keep=0.9)
    alphas = [p["alpha"] for p in points]
    assert alphas == sorted(alphas)
    kept = max((a for a in alphas[1:] if a <= last + 1e-6), default=None)
    if kept is not None:
        assert chosen["alpha"] == kept
        assert last - kept < 0.0125 + 1e-6
    else:
        assert last < 0.0125


def test_retained_is_the_worst_of_the_class_groups():
    start = {"val_zeroshot_top1": 0.5, "val_zeroshot_unseen_top1": 0.4, "val_text_to_image_recall@1": 0.1}
    assert retained({"val_zeroshot_top1": 0.5, "val_zeroshot_unseen_top1": 0.2}, start) == pytest.approx(0.5)
    assert retained({}, {"val_text_to_image_recall@1": 0.1}) == 1.0
    assert retained({"val_zeroshot_top1": 0.6}, {"val_zeroshot_top1": 0.5}) == pytest.approx(1.2)


def test_a_point_has_to_keep_enough_at_the_lower_end_of_its_interval():
    def uncertain(alpha):
        return {**figures(alpha, lambda a: 0.5 - 0.01 * a), "val_zeroshot_top1_error": 0.01 * alpha}

    model, base = line()
    # (0.5 - 0.02645 alpha) / 0.5 >= 0.97 up to alpha = 0.567; by the accuracy alone every point keeps 0.98
    chosen, points = choose(model, base, lambda: uncertain(model.weight.item()), uncertain(0.0), 0.97)
    assert chosen["alpha"] == pytest.approx(0.5625)
    assert retained(points[-1], points[0]) == pytest.approx(0.98)
    assert retained(points[-1], points[0], errors=2.0) == pytest.approx(0.94)


def test_an_accuracy_of_nothing_cannot_be_lost():
    start = {"val_zeroshot_top1": 0.0, "val_zeroshot_unseen_top1": 0.4}
    assert retained({"val_zeroshot_top1": 0.0, "val_zeroshot_unseen_top1": 0.3}, start) == pytest.approx(0.75)


def test_retrieval_is_the_sum_of_both_ways():
    assert retrieval(figures(1.0, lambda alpha: 9.9)) == pytest.approx(0.2 + 0.3)


def test_the_ends_of_the_line_are_base_and_student():
    base, student = {"weight": torch.tensor([0.1, 2.3])}, {"weight": torch.tensor([1.7, -4.9])}
    assert torch.equal(mix(base, student, 0.0)["weight"], base["weight"])
    assert torch.equal(mix(base, student, 1.0)["weight"], student["weight"])


def test_the_points_say_what_was_found_and_the_first_is_the_base():
    _, chosen, points = walk(lambda alpha: 0.5 - 0.1 * alpha, keep=0.9)
    assert points[0] == {"alpha": 0.0, **figures(0.0, lambda alpha: 0.5)}
    assert points[5] == pytest.approx({"alpha": 0.5, **figures(0.5, lambda alpha: 0.45)})
    assert chosen in points[1:]


def test_the_way_itself_leaves_the_ends_as_they_were():
    model, base = line()
    choose(model, base, lambda: figures(0.0, lambda alpha: 0.5), figures(0.0, lambda alpha: 0.5), 1.0)
    assert base["weight"].item() == 0.0
    assert model.weight.item() == pytest.approx(ALPHAS[0]), "of equal points the first"

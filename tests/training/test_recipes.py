import typing

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tiny_models import unit_rows

from pipeline import params
from pipeline.objectives import contrastive
from pipeline.training.recipes import RECIPES, StudentBatch


def unit(rows, seed):
    return torch.from_numpy(unit_rows(rows, 6, seed=seed))


def batch(text_is_frozen=True, **changed):
    text = unit(4, 2)
    image = unit(4, 1).requires_grad_()
    parts = {
        "image": image, "text": text, "scale": torch.tensor(20.0), "same": torch.eye(4, dtype=torch.bool),
        "image_in_target": image, "text_in_target": text, "target": unit(4, 3), "base_image": unit(4, 4),
        "base_text": text if text_is_frozen else unit(4, 5), "text_is_frozen": text_is_frozen,
    }  # fmt: skip
    return StudentBatch(**{**parts, **changed})


def mean_cosine(a, b):
    return float(np.mean([np.dot(x, y) for x, y in zip(a.detach().numpy(), b.detach().numpy(), strict=True)]))


def test_every_recipe_is_a_parameter_and_every_parameter_a_recipe():
    accepted = typing.get_args(params.Student.model_fields["recipe"].annotation)
    assert sorted(accepted) == sorted(RECIPES)
    given = {
        "init": "base", "text": "frozen", "temperature": "learnable", "epochs": 1, "batch": 2, "lr": 0.1,
        "weight_decay": 0.0, "keep": 1.0, "weights": {},
    }  # fmt: skip
    for name in RECIPES:
        assert params.Student(recipe=name, **given).recipe == name
    with pytest.raises(ValueError, match="recipe"):
        params.Student(recipe="dclip2", **given)


def test_every_term_has_a_weight_of_its_name():
    for recipe in RECIPES.values():
        for frozen in (True, False):
            assert set(recipe.terms(batch(text_is_frozen=frozen))) <= set(params.Weights.model_fields)


def test_contrastive_is_clips_loss_alone():
    b = batch()
    terms = RECIPES["contrastive"].terms(b)
    assert list(terms) == ["contrastive"]
    logits = 20 * b.image @ b.text.T
    labels = torch.arange(4)
    torch.testing.assert_close(
        terms["contrastive"], (F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels)) / 2
    )


@pytest.mark.parametrize("name", RECIPES)
def test_equal_captions_reach_the_contrastive_term(name):
    same = torch.eye(4, dtype=torch.bool)
    same[0, 3] = same[3, 0] = True
    b = batch(same=same)
    term = RECIPES[name].terms(b)["contrastive"]
    torch.testing.assert_close(term, contrastive(b.image, b.text, 20.0, same))
    assert term.item() != contrastive(b.image, b.text, 20.0).item()


def test_dclip_pulls_the_image_to_the_target():
    b = batch()
    terms = RECIPES["dclip"].terms(b)
    assert set(terms) == {"teacher", "text", "contrastive"}
    assert terms["teacher"].item() == pytest.approx(1 - mean_cosine(b.image_in_target, b.target), abs=1e-6)


def test_dclips_second_term_is_exactly_zero_with_frozen_text():
    b = batch(text=unit(512, 2), text_in_target=unit(512, 2), base_text=unit(512, 2), image=unit(512, 1),
              image_in_target=unit(512, 1), target=unit(512, 3), same=torch.eye(512, dtype=torch.bool))  # fmt: skip
    assert RECIPES["dclip"].terms(b)["text"].item() == 0


def test_dclips_second_term_holds_a_trained_text_to_the_base():
    b = batch(text_is_frozen=False)
    found = RECIPES["dclip"].terms(b)["text"].item()
    assert found == pytest.approx(1 - mean_cosine(b.text_in_target, b.base_text), abs=1e-6)
    assert found > 0.1


def test_dclip_clean_also_holds_the_image_to_the_base():
    b = batch()
    terms = RECIPES["dclip_clean"].terms(b)
    assert set(terms) == {"teacher", "preserve", "contrastive"}
    assert terms["teacher"].item() == pytest.approx(1 - mean_cosine(b.image_in_target, b.target), abs=1e-6)
    assert terms["preserve"].item() == pytest.approx(1 - mean_cosine(b.image_in_target, b.base_image), abs=1e-6)


def test_dclip_clean_holds_the_text_to_the_base_where_it_is_trained():
    b = batch(text_is_frozen=False)
    terms = RECIPES["dclip_clean"].terms(b)
    assert set(terms) == {"teacher", "preserve", "contrastive", "text"}
    assert terms["text"].item() == pytest.approx(1 - mean_cosine(b.text_in_target, b.base_text), abs=1e-6)


def test_a_student_of_another_width_is_compared_in_the_targets_space():
    b = batch(image=torch.from_numpy(unit_rows(4, 3, seed=7)), text=torch.from_numpy(unit_rows(4, 3, seed=8)))
    for name in ("dclip", "dclip_clean"):
        terms = RECIPES[name].terms(b)
        assert terms["teacher"].item() == pytest.approx(1 - mean_cosine(b.image_in_target, b.target), abs=1e-6)
        torch.testing.assert_close(terms["contrastive"], contrastive(b.image, b.text, 20.0))


@pytest.mark.parametrize("name", RECIPES)
def test_every_term_of_images_moves_the_image(name):
    for term in set(RECIPES[name].terms(batch())) - {"text"}:
        b = batch()
        RECIPES[name].terms(b)[term].backward()
        assert b.image.grad.abs().max() > 0


def test_the_caption_free_recipes_read_targets_of_the_image_alone():
    assert RECIPES["dclip"].target == "pair", "as published"
    assert RECIPES["dclip_clean"].target == RECIPES["shuffled_targets"].target == "image"
    assert RECIPES["contrastive"].target is None


def test_the_control_differs_from_its_recipe_by_the_shuffling_alone():
    control, recipe = RECIPES["shuffled_targets"], RECIPES["dclip_clean"]
    assert control.shuffled and not recipe.shuffled
    assert (control.terms, control.target, control.data) == (recipe.terms, recipe.target, recipe.data)

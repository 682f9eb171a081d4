import dataclasses
import typing

import numpy as np
import pytest
import torch
from tiny_models import unit_rows

from pipeline import params
from pipeline.training.recipes import RECIPES, Embedded, preserve_similarities

OWNER = [0, 0, 1, 2, 3, 3]
"""Six captions of four pictures. The first of picture 1 says what the first of picture 0 says."""
SCALE, BASE_SCALE = 20.0, 30.0
TEACHERS = {
    "dclip": "regions", "dclip_clean": "regions", "dclip_regions": "regions", "similarity": "regions",
    "feature_distillation": "regions", "shuffled_targets": "regions", "text_only_teacher": "text",
    "no_regions": "picture",
}  # fmt: skip
TRAINED = [name for name, recipe in RECIPES.items() if recipe.terms]


def unit(rows, seed, width=6):
    return torch.from_numpy(unit_rows(rows, width, seed=seed))


def positives():
    found = torch.tensor(OWNER)[None, :] == torch.arange(4)[:, None]
    found[1, 0] = found[0, 2] = True
    return found


def batch(recipe="dclip_clean", text_is_frozen=True, **changed):
    """What `recipe` is given; the student is narrower than the target, so that the two spaces cannot be confused."""
    asked = RECIPES[recipe]
    rows = {"image": 4, "pair": 6, None: None}[asked.target]
    parts = {
        "image": unit(4, 1).requires_grad_(), "text": unit(6, 2).requires_grad_(not text_is_frozen),
        "scale": torch.tensor(SCALE, requires_grad=True), "owner": torch.tensor(OWNER), "positives": positives(),
        "image_in_target": unit(4, 3, 8).requires_grad_(),
        "text_in_target": unit(6, 4, 8).requires_grad_(not text_is_frozen),
        "target": None if rows is None else unit(rows, 5, 8),
        "base_image": unit(4, 6, 8) if asked.data == "corpora" else None, "base_text": unit(6, 7, 8),
        "base_scale": BASE_SCALE, "text_is_frozen": text_is_frozen, "noise": 0.8 * unit(4, 8, 8),
        "negatives": unit(3, 9) if asked.negatives else None,
        "allowed": torch.tensor([[1, 0, 1], [1, 1, 1], [0, 1, 1], [1, 1, 1]]).bool() if asked.negatives else None,
        "region_in_target": unit(4, 10, 8).requires_grad_() if asked.regions else None,
        "base_region": unit(4, 11, 8) if asked.regions else None,
    }  # fmt: skip
    return Embedded(**{**parts, **changed})


def arrays(b):
    """The same batch in numpy's float64."""
    return dataclasses.replace(
        b,
        **{
            field.name: getattr(b, field.name).detach().numpy().astype(np.float64)
            for field in dataclasses.fields(b)
            if isinstance(getattr(b, field.name), torch.Tensor) and getattr(b, field.name).is_floating_point()
        },
    )


def log_softmax(logits):
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


def shares(right):
    return right / right.sum(axis=1, keepdims=True)


def info_nce(b):
    right = b.positives.numpy().astype(float)
    logits = b.scale * b.image @ b.text.T
    wide = logits
    if b.negatives is not None:
        extra = np.where(b.allowed.numpy(), b.scale * b.image @ b.negatives.T, -np.inf)
        wide = np.concatenate([logits, extra], axis=1)
    rows = -(shares(right) * log_softmax(wide)[:, : len(b.text)]).sum(axis=1).mean()
    columns = -(shares(right.T) * log_softmax(logits.T)).sum(axis=1).mean()
    return (rows + columns) / 2


def kl(found, wanted):
    return (wanted * (np.log(wanted) - log_softmax(found))).sum(axis=1).mean()


def softened(found, target, right, alpha):
    both = [(found, target, right), (found.T, target.T, right.T)]
    return np.mean([kl(f, alpha * shares(p) + (1 - alpha) * np.exp(log_softmax(t))) for f, t, p in both])


def cosine(a, b):
    return np.mean([1 - x @ y for x, y in zip(a, b, strict=True)])


def squared(a, b):
    return np.mean([((x - y) ** 2).sum() for x, y in zip(a, b, strict=True)])


def trained_text(b):
    return {} if b.text_is_frozen else {"text": cosine(b.text_in_target, b.base_text)}


def contrastive(b):
    return {"contrastive": info_nce(b)}


def preserving(b):
    return {"preserve": cosine(b.image_in_target, b.base_image), **trained_text(b), **contrastive(b)}


def preserving_regions(b):
    return {"regions": cosine(b.region_in_target, b.base_region), **trained_text(b), **contrastive(b)}


def dclip_regions(b):
    return {"teacher": cosine(b.image_in_target, b.target), **preserving_regions(b)}


def dclip(b):
    return {
        "teacher": cosine(b.image_in_target[OWNER], b.target), "text": 0.0, **trained_text(b), **contrastive(b),
    }  # fmt: skip


def dclip_clean(b):
    return {"teacher": cosine(b.image_in_target, b.target), **preserving(b)}


def similarity(b):
    found, target = b.scale * b.image @ b.text.T, b.base_scale * b.target @ b.base_text.T
    return {"similarities": softened(found, target, b.positives.numpy().astype(float), 0.0), **preserving(b)}


def preserving_similarities(b):
    found, target = b.scale * b.image @ b.text.T, b.base_scale * b.base_image @ b.base_text.T
    kept = softened(found, target, b.positives.numpy().astype(float), 0.0)
    return {"preserve_similarities": kept, **contrastive(b)}


def feature_distillation(b):
    return {"teacher": squared(b.image_in_target, b.target), **contrastive(b)}


def clip_refine(b):
    found, target = b.scale * b.image @ b.text.T, b.base_scale * b.base_image @ b.base_text.T
    text = 0.0 if b.text_is_frozen else squared(b.text_in_target, b.noise[OWNER])
    return {
        "random": (squared(b.image_in_target, b.noise) + text) / 2,
        "hybrid": softened(found, target, b.positives.numpy().astype(float), 0.5),
    }


EQUATIONS = {
    "contrastive": contrastive, "hard_negatives": contrastive, "continue_base": contrastive, "labclip": contrastive,
    "preserving": preserving, "dclip": dclip, "text_only_teacher": dclip, "dclip_clean": dclip_clean,
    "shuffled_targets": dclip_clean, "no_regions": dclip_clean, "similarity": similarity,
    "preserving_regions": preserving_regions, "dclip_regions": dclip_regions,
    "preserving_similarities": preserving_similarities, "feature_distillation": feature_distillation,
    "clip_refine": clip_refine,
}  # fmt: skip


@pytest.mark.parametrize("frozen", [True, False])
@pytest.mark.parametrize("name", TRAINED)
def test_the_terms_of_a_recipe_are_its_equation(name, frozen):
    b = batch(name, text_is_frozen=frozen)
    found = {term: value.item() for term, value in RECIPES[name].terms(b).items()}
    assert found == pytest.approx(EQUATIONS[name](arrays(b)), rel=1e-5, abs=1e-6)


def test_a_recipe_without_terms_is_a_closed_form():
    assert set(RECIPES) - set(TRAINED) == {"procrustes"}
    assert RECIPES["procrustes"].linear


def test_preserved_similarities_are_those_of_the_base():
    b = arrays(batch())
    found, target = b.scale * b.image @ b.text.T, b.base_scale * b.base_image @ b.base_text.T
    term = preserve_similarities(batch())["preserve_similarities"].item()
    assert term == pytest.approx(softened(found, target, b.positives.numpy().astype(float), 0.0), rel=1e-5)


def test_every_recipe_is_a_parameter_and_every_parameter_a_recipe():
    accepted = typing.get_args(params.Student.model_fields["recipe"].annotation)
    assert sorted(accepted) == sorted(RECIPES)
    assert len(set(accepted)) == len(accepted)


def test_every_term_has_a_weight_of_its_name_and_every_weight_a_term():
    terms = {term for name in TRAINED for frozen in (True, False) for term in RECIPES[name].terms(batch(name, frozen))}
    assert terms == set(params.Weights.model_fields)


@pytest.mark.parametrize("name", TRAINED)
def test_every_term_is_one_finite_number_that_moves_the_student(name):
    for frozen in (True, False):
        for term in RECIPES[name].terms(batch(name, frozen)):
            b = batch(name, frozen)
            value = RECIPES[name].terms(b)[term]
            assert value.shape == () and value.isfinite()
            if term == "text" and frozen:
                assert not value.requires_grad
                continue
            value.backward()
            own = (b.image, b.image_in_target, b.text, b.text_in_target, b.region_in_target)
            moved = [x.grad for x in own if x is not None and x.grad is not None]
            assert max(gradient.abs().max() for gradient in moved) > 0


@pytest.mark.parametrize("name", ["contrastive", "hard_negatives", "dclip", "clip_refine"])
def test_a_caption_that_two_pictures_share_counts_for_both(name):
    alone = torch.tensor(OWNER)[None, :] == torch.arange(4)[:, None]
    term = "hybrid" if name == "clip_refine" else "contrastive"
    together, apart = (RECIPES[name].terms(batch(name, positives=p))[term] for p in (positives(), alone))
    assert together.item() != pytest.approx(apart.item(), rel=1e-3)


def test_a_forbidden_negative_is_not_one():
    b = batch("hard_negatives")
    everywhere = RECIPES["hard_negatives"].terms(batch("hard_negatives", allowed=torch.ones(4, 3).bool()))
    nowhere = RECIPES["hard_negatives"].terms(batch("hard_negatives", allowed=torch.zeros(4, 3).bool()))
    plain = RECIPES["contrastive"].terms(b_without := batch("contrastive"))
    assert b_without.negatives is None
    torch.testing.assert_close(nowhere["contrastive"], plain["contrastive"])
    some = RECIPES["hard_negatives"].terms(b)["contrastive"]
    assert plain["contrastive"] < some < everywhere["contrastive"]


def test_of_learnt_temperatures_every_recipe_with_similarities_has_a_gradient():
    for name in TRAINED:
        b = batch(name)
        torch.stack(list(RECIPES[name].terms(b).values())).sum().backward()
        assert b.scale.grad.abs() > 0


def test_a_recipe_that_is_not_given_its_target_fails():
    for name in TEACHERS:
        with pytest.raises(AssertionError, match="targets"):
            RECIPES[name].terms(batch(name, target=None))
    with pytest.raises(AssertionError, match="targets"):
        RECIPES["preserving"].terms(batch("preserving", base_image=None))
    with pytest.raises(AssertionError, match="targets"):
        RECIPES["preserving_regions"].terms(batch("preserving_regions", base_region=None))


def test_which_recipes_read_targets_and_of_which_teacher():
    assert {name: r.teacher for name, r in RECIPES.items() if r.target} == TEACHERS
    assert {name for name, r in RECIPES.items() if r.teacher} == set(TEACHERS)
    assert {name for name, r in RECIPES.items() if r.target == "pair"} == {"dclip", "text_only_teacher"}


def test_what_else_recipes_need():
    assert {name for name, r in RECIPES.items() if r.shuffled} == {"shuffled_targets"}
    assert {name for name, r in RECIPES.items() if r.data == "base"} == {"continue_base"}
    assert {name for name, r in RECIPES.items() if r.negatives} == {"hard_negatives"}
    assert {name for name, r in RECIPES.items() if r.regions} == {"preserving_regions", "dclip_regions"}
    assert {name for name, r in RECIPES.items() if r.linear} == {"procrustes", "labclip"}


def test_every_teacher_is_a_value_of_its_parameter():
    accepted = typing.get_args(params.Teacher.model_fields["inputs"].annotation)
    assert set(TEACHERS.values()) == set(accepted)


@pytest.mark.parametrize(
    ("control", "recipe", "change"),
    [
        ("shuffled_targets", "dclip_clean", {"shuffled": True}),
        ("no_regions", "dclip_clean", {"teacher": "picture"}),
        ("text_only_teacher", "dclip", {"teacher": "text"}),
        ("continue_base", "contrastive", {"data": "base"}),
        ("hard_negatives", "contrastive", {"negatives": True}),
        ("labclip", "contrastive", {"linear": True}),
    ],
)
def test_a_control_differs_from_its_recipe_by_one_thing_alone(control, recipe, change):
    assert RECIPES[control] == dataclasses.replace(RECIPES[recipe], **change)


@pytest.mark.parametrize(("recipe", "alone"), [("dclip_clean", "preserving"), ("dclip_regions", "preserving_regions")])
def test_a_recipe_without_a_teacher_is_the_one_with_a_teacher_but_for_that(recipe, alone):
    b = batch(recipe)
    clean, without = RECIPES[recipe].terms(b), RECIPES[alone].terms(b)
    assert {name: v.item() for name, v in clean.items() if name != "teacher"} == {
        n: v.item() for n, v in without.items()
    }

import dataclasses
import typing

import numpy as np
import pytest
import torch
from tiny_recipes import OWNER, SCALE, arrays, batch, positives

from pipeline.params.features import Teacher
from pipeline.recipes import RECIPES, TERMS
from pipeline.recipes.embedded import EmbeddedNegatives, EmbeddedTeacher

TEACHERS = {
    "dclip": "regions", "dclip_clean": "regions", "dclip_regions": "regions", "similarity": "regions",
    "feature_distillation": "regions", "shuffled_targets": "regions", "text_only_teacher": "text",
    "no_regions": "image", "dclip+knowledge": "regions",
}  # fmt: skip
TRAINED = [name for name, recipe in RECIPES.items() if recipe.terms]


def log_softmax(logits):
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


def shares(right):
    return right / right.sum(axis=1, keepdims=True)


def info_nce(b):
    right = b.positives.numpy().astype(float)
    logits = b.scale * b.image @ b.text.T
    wide = logits
    if b.negatives is not None:
        extra = np.where(b.negatives.allowed.numpy(), b.scale * b.image @ b.negatives.text.T, -np.inf)
        wide = np.concatenate([logits, extra], axis=1)
    paired = right.any(axis=1)
    rows = -(shares(right[paired]) * log_softmax(wide)[paired, : len(b.text)]).sum(axis=1).mean()
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
    return {} if b.text_is_frozen else {"text": cosine(b.text_in_base, b.base_text)}


def contrastive(b):
    return {"contrastive": info_nce(b)}


def preserving(b):
    return {"preserve": cosine(b.image_in_base, b.base_image), **trained_text(b), **contrastive(b)}


def preserving_regions(b):
    return {"regions": cosine(b.regions.in_base, b.regions.base), **trained_text(b), **contrastive(b)}


def dclip_regions(b):
    return {"teacher": cosine(b.image_in_target, b.target), **preserving_regions(b)}


def dclip(b):
    return {
        "teacher": cosine(b.image_in_target[OWNER], b.target), "text": 0.0, **trained_text(b), **contrastive(b),
    }  # fmt: skip


def dclip_clean(b):
    return {"teacher": cosine(b.image_in_target, b.target), **preserving(b)}


def similarity(b):
    found, target = b.scale * b.image @ b.text.T, b.target_scale * b.target @ b.target_text.T
    return {"similarities": softened(found, target, b.positives.numpy().astype(float), 0.0), **preserving(b)}


def preserving_similarities(b):
    found, target = b.scale * b.image @ b.text.T, b.base_scale * b.base_image @ b.base_text.T
    kept = softened(found, target, b.positives.numpy().astype(float), 0.0)
    return {"preserve_similarities": kept, **contrastive(b)}


def averaged(found, targets):
    """KL both ways to the mean of the teachers' probabilities."""
    both = [(found, targets), (found.T, [target.T for target in targets])]
    return np.mean([kl(f, np.mean([np.exp(log_softmax(t)) for t in wanted], axis=0)) for f, wanted in both])


def affinity(b):
    wanted = [t.scale * t.image @ t.text.T for t in b.teachers]
    return {"affinity": averaged(b.scale * b.image @ b.text.T, wanted), **contrastive(b)}


def affinity_preserving(b):
    return {**affinity(b), **preserving_regions(b)}


def affinity_regions(b):
    wanted = [t.scale * t.region @ t.phrase.T for t in b.teachers]
    found = b.scale * b.regions.image @ b.phrase.T
    return {"region_affinity": averaged(found, wanted), **affinity_preserving(b)}


def feature_distillation(b):
    return {"teacher": squared(b.image_in_target, b.target), **contrastive(b)}


def clip_refine(b):
    found, target = b.scale * b.image @ b.text.T, b.base_scale * b.base_image @ b.base_text.T
    text = 0.0 if b.text_is_frozen else squared(b.text_in_base, b.noise[OWNER])
    return {
        "random": (squared(b.image_in_base, b.noise) + text) / 2,
        "hybrid": softened(found, target, b.positives.numpy().astype(float), 0.5),
    }


def cross_entropy(logits, known):
    """Of each caption with the concepts that it has."""
    at = np.arange(len(logits))[:, None]
    return -(known.shares * log_softmax(logits)[at, known.concepts.numpy()]).sum(axis=1).mean()


def knowledge(b):
    known = b.knowledge
    return {
        "language": squared(known.text_in_language, known.language),
        "concepts": (cross_entropy(known.image_concepts[OWNER], known) + cross_entropy(known.text_concepts, known)) / 2,
    }


def knowledge_clip(b):
    return {**knowledge(b), **contrastive(b)}


def dclip_knowledge(b):
    return {**knowledge(b), **dclip_clean(b)}


def semi(b):
    query, logits = b.image[4:], b.scale * b.image[4:] @ b.text.T
    kernel, u = np.exp((query @ b.image[OWNER].T - 1) * b.scale), np.ones(1)
    for _ in range(10):
        v = 1 / 6 / (kernel.T @ u)
        u = 1 / (kernel @ v)
    plan = u[:, None] * kernel * v
    phrases = b.scale * query[0] @ b.phrase.T
    of = [phrase for caption, phrase in b.phrase_pairs.numpy().T if caption == plan[0].argmax()]
    shares = np.exp(phrases[of]) / np.exp(phrases[of]).sum()
    return {
        "pseudo_captions": -(plan * log_softmax(logits)).sum(), **contrastive(b),
        "keywords": -(shares * log_softmax(phrases[None])[0, of]).sum(),
    }  # fmt: skip


EQUATIONS = {
    "contrastive": contrastive, "hard_negatives": contrastive, "continue_base": contrastive, "labclip": contrastive,
    "preserving": preserving, "dclip": dclip, "text_only_teacher": dclip, "dclip_clean": dclip_clean,
    "shuffled_targets": dclip_clean, "no_regions": dclip_clean, "similarity": similarity,
    "preserving_regions": preserving_regions, "dclip_regions": dclip_regions,
    "preserving_similarities": preserving_similarities, "feature_distillation": feature_distillation,
    "affinity": affinity, "affinity_preserving": affinity_preserving, "affinity_regions": affinity_regions,
    "affinity_base": affinity_regions, "affinity_shuffled": affinity_regions,
    "clip_refine": clip_refine, "knowledge_clip": knowledge_clip, "dclip+knowledge": dclip_knowledge,
    "given_negatives": contrastive, "semi": semi,
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
    b = arrays(batch("preserving_similarities"))
    found, target = b.scale * b.image @ b.text.T, b.base_scale * b.base_image @ b.base_text.T
    term = RECIPES["preserving_similarities"].terms(batch("preserving_similarities"))["preserve_similarities"].item()
    assert term == pytest.approx(softened(found, target, b.positives.numpy().astype(float), 0.0), rel=1e-5)


def test_every_term_is_declared_and_every_declared_one_is_a_recipes():
    terms = {term for name in TRAINED for frozen in (True, False) for term in RECIPES[name].terms(batch(name, frozen))}
    assert terms == set(TERMS)


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
            parts = [part for group in (b, b.regions, b.knowledge) if group for part in vars(group).values()]
            parts = [x for x in parts if isinstance(x, torch.Tensor) and x is not b.scale]
            moved = [x.grad for x in parts if x.is_leaf and x.grad is not None]
            assert max(gradient.abs().max() for gradient in moved) > 0


@pytest.mark.parametrize("name", ["contrastive", "hard_negatives", "dclip", "clip_refine"])
def test_a_caption_that_two_pictures_share_counts_for_both(name):
    alone = torch.tensor(OWNER)[None, :] == torch.arange(4)[:, None]
    term = "hybrid" if name == "clip_refine" else "contrastive"
    together, apart = (RECIPES[name].terms(batch(name, positives=p))[term] for p in (positives(), alone))
    assert together.item() != pytest.approx(apart.item(), rel=1e-3)


def test_a_forbidden_negative_is_not_one():
    b = batch("hard_negatives")
    everywhere, nowhere = (
        RECIPES["hard_negatives"].terms(batch("hard_negatives", negatives=EmbeddedNegatives(b.negatives.text, allowed)))
        for allowed in (torch.ones(4, 3).bool(), torch.zeros(4, 3).bool())
    )
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
        RECIPES["preserving_regions"].terms(batch("preserving_regions", regions=None))
    for name in ("knowledge_clip", "dclip+knowledge"):
        with pytest.raises(AssertionError, match="data"):
            RECIPES[name].terms(batch(name, knowledge=None))


def test_which_recipes_read_targets_and_of_which_teacher():
    assert {name: r.teacher for name, r in RECIPES.items() if r.target} == TEACHERS
    assert {name for name, r in RECIPES.items() if r.teacher} == set(TEACHERS)
    assert {name for name, r in RECIPES.items() if r.target == "pair"} == {"dclip", "text_only_teacher"}


def test_what_else_recipes_need():
    assert {name for name, r in RECIPES.items() if r.shuffled} == {"shuffled_targets", "affinity_shuffled"}
    assert {name for name, r in RECIPES.items() if r.data == "base"} == {"continue_base"}
    negatives = {name: r.negatives for name, r in RECIPES.items() if r.negatives}
    assert negatives == {"hard_negatives": "rule", "given_negatives": "given"}
    assert {name for name, r in RECIPES.items() if r.semi} == {"semi"}
    with_phrases = {"affinity_regions", "affinity_base", "affinity_shuffled"}
    with_regions = {"preserving_regions", "dclip_regions", "affinity_preserving"} | with_phrases
    assert {name for name, r in RECIPES.items() if r.regions} == with_regions
    assert {name for name, r in RECIPES.items() if r.phrases} == with_phrases | {"semi"}
    taught = {name: r.teachers for name, r in RECIPES.items() if r.teachers}
    assert taught.pop("affinity_base") == "base"
    assert taught == dict.fromkeys(
        ["affinity", "affinity_preserving", "affinity_regions", "affinity_shuffled"], "given"
    )
    assert {name for name, r in RECIPES.items() if r.linear} == {"procrustes", "labclip"}
    assert {name for name, r in RECIPES.items() if r.knowledge} == {"knowledge_clip", "dclip+knowledge"}


@pytest.mark.parametrize("name", RECIPES)
def test_which_recipes_have_the_contrastive_loss_is_declared(name):
    terms = RECIPES[name].terms(batch(name)) if name in TRAINED else {}
    assert ("contrastive" in terms) == RECIPES[name].contrastive


def test_every_teacher_is_a_value_of_its_parameter():
    accepted = typing.get_args(Teacher.model_fields["inputs"].annotation)
    assert set(TEACHERS.values()) == set(accepted)


NAMES = ("name", "about", "reference")
"""What two recipes never share."""


@pytest.mark.parametrize(
    ("control", "recipe", "change"),
    [
        ("shuffled_targets", "dclip_clean", {"shuffled": True}),
        ("no_regions", "dclip_clean", {"teacher": "image"}),
        ("text_only_teacher", "dclip", {"teacher": "text"}),
        ("continue_base", "contrastive", {"data": "base"}),
        ("hard_negatives", "contrastive", {"negatives": "rule"}),
        ("labclip", "contrastive", {"linear": True}),
        ("affinity_base", "affinity_regions", {"teachers": "base"}),
        ("affinity_shuffled", "affinity_regions", {"shuffled": True}),
    ],
)
def test_a_control_differs_from_its_recipe_by_one_thing_alone(control, recipe, change):
    alike = dataclasses.replace(RECIPES[control], **{name: getattr(RECIPES[recipe], name) for name in NAMES})
    assert alike == dataclasses.replace(RECIPES[recipe], **change)


@pytest.mark.parametrize(("recipe", "alone"), [("dclip_clean", "preserving"), ("dclip_regions", "preserving_regions")])
def test_a_recipe_without_a_teacher_is_the_one_with_a_teacher_but_for_that(recipe, alone):
    b = batch(recipe)
    clean, without = RECIPES[recipe].terms(b), RECIPES[alone].terms(b)
    assert {name: v.item() for name, v in clean.items() if name != "teacher"} == {
        n: v.item() for n, v in without.items()
    }


@pytest.mark.parametrize(("recipe", "alone"), [("knowledge_clip", "contrastive"), ("dclip+knowledge", "dclip_clean")])
def test_a_recipe_without_knowledge_is_the_one_with_it_but_for_two_terms(recipe, alone):
    b = batch(recipe, text_is_frozen=False)
    found, without = RECIPES[recipe].terms(b), RECIPES[alone].terms(b)
    assert {n: v.item() for n, v in found.items() if n not in ("language", "concepts")} == {
        n: v.item() for n, v in without.items()
    }
    assert set(found) - set(without) == {"language", "concepts"}


@pytest.mark.parametrize("name", ["affinity_preserving", "affinity_regions"])
def test_a_recipe_of_affinities_is_preserving_regions_but_for_them(name):
    b = batch(name)
    found, without = RECIPES[name].terms(b), RECIPES["preserving_regions"].terms(b)
    assert {n: v.item() for n, v in found.items() if "affinity" not in n} == {n: v.item() for n, v in without.items()}


def test_a_student_as_its_own_teacher_has_nothing_to_learn_from_affinities():
    b = batch("affinity_regions", text_is_frozen=False)
    own = EmbeddedTeacher(SCALE, b.image.detach(), b.text.detach(), b.regions.image.detach(), b.phrase.detach())
    terms = RECIPES["affinity_regions"].terms(dataclasses.replace(b, teachers=[own, own]))
    assert terms["affinity"].item() == pytest.approx(0, abs=1e-6)
    assert terms["region_affinity"].item() == pytest.approx(0, abs=1e-6)


def test_a_rotation_of_a_teachers_space_changes_nothing():
    b = batch("affinity_regions")
    turned = [
        dataclasses.replace(t, **{n: v.flip(1) for n, v in vars(t).items() if isinstance(v, torch.Tensor)})
        for t in b.teachers
    ]
    found, same = (RECIPES["affinity_regions"].terms(x) for x in (b, dataclasses.replace(b, teachers=turned)))
    assert {n: v.item() for n, v in found.items()} == pytest.approx({n: v.item() for n, v in same.items()}, rel=1e-5)


UNCAPTIONED = torch.tensor([[1, 1, 0, 0, 0, 0], [0, 0, 1, 0, 0, 0], [0, 0, 0, 1, 1, 1], [0, 0, 0, 0, 0, 0]]).bool()


@pytest.mark.parametrize("name", ["contrastive", "hard_negatives", "clip_refine", "affinity", "affinity_regions"])
def test_an_image_without_captions_is_left_out_of_what_needs_one(name):
    owner = torch.tensor([0, 0, 1, 2, 2, 2])
    b = batch(name, positives=UNCAPTIONED, owner=owner)
    terms = RECIPES[name].terms(b)
    assert all(value.isfinite() for value in terms.values())
    if "contrastive" in terms and name != "hard_negatives":  # its rows are those of a batch without it; columns see it
        right, logits = UNCAPTIONED[:3].numpy().astype(float), SCALE * (b.image @ b.text.T).detach().numpy()
        rows = -(shares(right) * log_softmax(logits[:3])).sum(axis=1).mean()
        columns = -(shares(UNCAPTIONED.T.numpy().astype(float)) * log_softmax(logits.T)).sum(axis=1).mean()
        assert terms["contrastive"].item() == pytest.approx((rows + columns) / 2, rel=1e-5)
    if "affinity" in terms:
        terms["affinity"].backward()
        assert b.image.grad[3].abs().max() > 0, "a teacher says what it is like, whether or not it has a caption"


def test_a_batch_without_any_caption_is_no_loss():
    none = torch.zeros(4, 0).bool()
    b = batch("affinity", positives=none, owner=torch.zeros(0).long(), text=torch.zeros(0, 6))
    b.teachers = [dataclasses.replace(t, text=t.text[:0]) for t in b.teachers]
    assert {name: value.item() for name, value in RECIPES["affinity"].terms(b).items()} == {
        "affinity": 0.0, "contrastive": 0.0,
    }  # fmt: skip

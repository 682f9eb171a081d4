import dataclasses
import shutil

import pytest
import torch
import torch.nn.functional as F
from tiny_models import random_pixels, tiny_clip, unit_rows
from tiny_step import (
    CAPTIONS,
    OFF,
    TRAINABLE,
    VIT,
    assert_close,
    batch_of,
    gradients,
    of,
    pairs,
    plainly,
    shared,
    step_of,
    student,
    taken,
)

from pipeline.distillation.layers import image_groups, unfreeze
from pipeline.distillation.pairs import Pairs, Teacher
from pipeline.distillation.student import Student


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("recipe", TRAINABLE)
def test_a_step_has_the_terms_and_gradients_of_a_plain_forward_and_backward(recipe):
    made, data = of(recipe), pairs(recipe)
    terms, found = taken(made, data, recipe)
    wanted_terms, wanted = plainly(made, data, recipe)
    assert terms == pytest.approx(wanted_terms, abs=1e-5)
    assert_close(found, wanted)
    given = [g for g in found.values() if g is not None]
    assert sum(float(g.abs().max()) > 1e-4 for g in given) > 0.9 * len(given), "they are not all zero"


@pytest.mark.parametrize("micro_batch", [1, 3, 5, 9])
@pytest.mark.parametrize("recipe", TRAINABLE)
def test_pieces_have_the_terms_and_gradients_of_the_whole_batch(recipe, micro_batch):
    made, data = of(recipe), pairs(recipe)
    terms, found = taken(made, data, recipe, micro_batch=micro_batch)
    wanted_terms, wanted = taken(made, data, recipe)
    assert terms == pytest.approx(wanted_terms, abs=1e-5)
    assert_close(found, wanted)


@pytest.mark.parametrize("micro_batch", [0, 3])
@pytest.mark.parametrize("recipe", ["dclip", "dclip_clean", "feature_distillation", "dclip+knowledge"])
def test_a_student_of_another_width_has_the_gradients_of_a_plain_backward(recipe, micro_batch):
    made, data = of(recipe, width=8), pairs(recipe)
    terms, found = taken(made, data, recipe, micro_batch=micro_batch)
    wanted_terms, wanted = plainly(made, data, recipe)
    assert terms == pytest.approx(wanted_terms, abs=1e-5)
    assert_close(found, wanted)
    assert found["image_to_base.weight"].abs().max() > 1e-4
    assert (found["text_to_base.weight"] is None) == (recipe == "feature_distillation")


@pytest.mark.parametrize("recipe", ["dclip", "dclip_regions", "similarity"])
def test_targets_in_the_space_of_another_teacher_are_reached_by_a_projection_of_their_own(recipe):
    data = pairs(recipe)
    rows = len(data.targets)
    space = Teacher(25.0, unit_rows(10, 7, seed=8), unit_rows(len(data.caption_embeddings), 7, seed=9))
    data = dataclasses.replace(data, targets=unit_rows(rows, 7, seed=3), target_space=space)
    made = student(target_dimension=7)
    terms, found = taken(made, data, recipe)
    wanted_terms, wanted = plainly(made, data, recipe)
    assert terms == pytest.approx(wanted_terms, abs=1e-5)
    assert_close(found, wanted)
    assert (found["image_to_target.weight"] is None) == (recipe == "similarity")


@pytest.mark.parametrize("micro_batch", [0, 3])
def test_teachers_of_any_width_teach_a_student_of_another_without_a_projection(micro_batch):
    made, data = of("affinity_regions", width=8), pairs("affinity_regions")
    terms, found = taken(made, data, "affinity_regions", micro_batch=micro_batch)
    wanted_terms, wanted = plainly(made, data, "affinity_regions")
    assert terms == pytest.approx(wanted_terms, abs=1e-5)
    assert_close(found, wanted)
    alone = taken(made, data, "affinity", micro_batch=micro_batch)[1]
    assert alone["image_to_base.weight"] is None


@pytest.mark.parametrize("micro_batch", [0, 3])
@pytest.mark.parametrize("recipe", ["contrastive", "hard_negatives"])
def test_the_sigmoid_loss_has_the_gradients_of_a_plain_backward_and_its_bias_too(recipe, micro_batch):
    made, data = student(contrastive="sigmoid"), pairs(recipe)
    terms, found = taken(made, data, recipe, micro_batch=micro_batch)
    wanted_terms, wanted = plainly(made, data, recipe)
    assert terms == pytest.approx(wanted_terms, abs=1e-4)
    assert_close(found, wanted)
    assert found["bias"].abs() > 1e-4


@pytest.mark.parametrize("micro_batch", [0, 3])
@pytest.mark.parametrize("recipe", ["contrastive", "hard_negatives", "dclip", "affinity_regions", "clip_refine"])
def test_a_student_with_frozen_text_has_the_gradients_of_a_plain_backward(recipe, micro_batch):
    made, data = shared(train_text=False), pairs(recipe, frozen=True)
    terms, found = taken(made, data, recipe, micro_batch=micro_batch)
    wanted_terms, wanted = plainly(made, data, recipe)
    assert terms == pytest.approx(wanted_terms, abs=1e-5)
    assert_close(found, wanted)
    assert all(found[f"towers.model.{name}"] is None for name, _ in made.text_parameters())


@pytest.mark.parametrize("micro_batch", [0, 3])
def test_terms_and_gradients_are_weighted_by_name(micro_batch):
    weights = {"teacher": 3.0, "preserve": 0.0, "contrastive": 0.5}
    made, data = shared(), pairs("dclip_clean")
    terms, found = taken(made, data, "dclip_clean", micro_batch=micro_batch, weights=weights)
    wanted_terms, wanted = plainly(made, data, "dclip_clean", weights)
    assert (terms, terms["preserve"]) == (pytest.approx(wanted_terms, abs=1e-5), 0)
    assert_close(found, wanted)


@pytest.mark.parametrize("micro_batch", [0, 3])
def test_of_two_terms_of_knowledge_each_moves_its_own_head(micro_batch):
    made, data = of("knowledge_clip"), pairs("knowledge_clip")
    for term, moved in (("language", {"to_language.weight"}), ("concepts", {"to_concepts.weight", "to_concepts.bias"})):
        weights = {"language": 0.0, "concepts": 0.0, "contrastive": 0.0, term: 1.0}
        _, found = taken(made, data, "knowledge_clip", micro_batch=micro_batch, weights=weights)
        heads_moved = {n for n, g in found.items() if n.startswith("to_") and g.abs().max() > 1e-4}
        assert heads_moved == moved
        assert found["towers.model.text_projection"].abs().max() > 1e-4
        of_image = found["towers.model.visual.attnpool.c_proj.weight"].abs().max()
        assert (of_image > 1e-5) == (term == "concepts"), "images are classified, and not mapped to the language"


@pytest.mark.parametrize("micro_batch", [0, 4])
def test_the_learnable_temperature_gets_the_gradient_of_a_difference_quotient(micro_batch):
    made, data = shared(), pairs("contrastive")
    _, found = taken(made, data, "contrastive", micro_batch=micro_batch)

    def loss(change):
        with torch.no_grad():
            made.log_scale += change
        terms, _ = taken(made, data, "contrastive")
        with torch.no_grad():
            made.log_scale -= change
        return terms["contrastive"]

    assert found["log_scale"].item() == pytest.approx((loss(0.05) - loss(-0.05)) / 0.1, rel=0.02)


def test_a_fixed_temperature_gets_no_gradient():
    assert taken(shared(temperature=0.1), pairs("contrastive"), "contrastive", micro_batch=3)[1]["log_scale"] is None


def test_gradients_are_added_to_those_that_are_there():
    made, data = shared(), pairs("contrastive")
    made.zero_grad()
    step, batch = step_of(made, "contrastive", micro_batch=3), batch_of(made, data, "contrastive")
    step(batch, OFF)
    once = gradients(made)
    step(batch, OFF)
    assert_close(gradients(made), {name: None if g is None else 2 * g for name, g in once.items()}, atol=2e-5)


def test_the_terms_hold_no_graph():
    made = shared()
    terms = step_of(made, "dclip_clean")(batch_of(made, pairs("dclip_clean"), "dclip_clean"), OFF)
    assert not any(term.requires_grad for term in terms.values())


def test_a_piece_is_never_larger_than_asked(monkeypatch):
    made, data = shared(), pairs("contrastive")
    step, shown = step_of(made, "contrastive", micro_batch=4), []
    forward = made.towers.forward
    monkeypatch.setattr(
        made.towers, "forward", lambda x, t: shown.append((len(x), torch.is_grad_enabled())) or forward(x, t)
    )
    step(batch_of(made, data, "contrastive"), OFF)
    assert shown == [(4, False), (3, False), (3, False), (4, True), (3, True), (3, True)]
    shown.clear()
    step_of(made, "contrastive", micro_batch=10)(batch_of(made, data, "contrastive"), OFF)
    assert shown == [(10, True)], "one piece needs no second forward"


def test_more_pieces_than_texts_do_no_harm():
    data = Pairs(random_pixels(8), [["a cat"]] * 4 + [["a dog"]] * 4, unit_rows(8, 16))
    found = []
    for micro_batch in (0, 1):
        made = shared()
        made.zero_grad()
        step_of(made, "contrastive", micro_batch=micro_batch)(batch_of(made, data, "contrastive", count=8), OFF)
        found.append(gradients(made))
    assert_close(found[1], found[0])


@pytest.mark.parametrize("micro_batch", [0, 3])
def test_a_scaler_scales_every_gradient_and_unscales_to_the_same(micro_batch):
    made, data = shared(width=8), pairs("dclip_clean")
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, enabled=True)
    terms, plain = taken(made, data, "dclip_clean", micro_batch=micro_batch)
    optimizer = torch.optim.SGD(made.parameters(), lr=1.0)
    scaled_terms, scaled = taken(made, data, "dclip_clean", micro_batch=micro_batch, scaler=scaler)
    assert scaled_terms == terms, "terms are not scaled"
    assert_close(scaled, {name: None if g is None else 1024 * g for name, g in plain.items()}, atol=1e-2)
    scaler.unscale_(optimizer)
    assert_close(gradients(made), plain)


@pytest.mark.parametrize("recipe", ["contrastive", "dclip_clean"])
@pytest.mark.parametrize("micro_batch", [0, 3])
def test_bfloat16_is_close_and_leaves_parameters_and_gradients_float32(recipe, micro_batch):
    made, data = shared(temperature=0.5), pairs(recipe)
    terms, found = taken(made, data, recipe, micro_batch=micro_batch, precision="bfloat16")
    wanted_terms, wanted = taken(made, data, recipe)
    assert terms == pytest.approx(wanted_terms, abs=0.02)
    assert terms != wanted_terms
    assert all(g.dtype == torch.float32 for g in found.values() if g is not None)
    for name in ("towers.model.visual.attnpool.c_proj.weight", "towers.model.text_projection", "log_scale"):
        if wanted[name] is not None:
            assert F.cosine_similarity(found[name].flatten(), wanted[name].flatten(), dim=0) > 0.98, name


@pytest.mark.parametrize("micro_batch", [0, 3])
@pytest.mark.parametrize("layers", [0, 1, 2])
def test_frozen_layers_get_no_gradient_and_the_others_the_same(layers, micro_batch):
    made, data = student(vision=VIT), pairs("contrastive")
    _, everything = taken(made, data, "contrastive")
    unfreeze(made.clip.model, layers)
    _, found = taken(made, data, "contrastive", micro_batch=micro_batch)
    groups = image_groups(made.clip.model)
    own = {id(p) for group in groups[len(groups) - layers :] for p in group}
    frozen = {f"towers.model.visual.{n}" for n, p in made.clip.model.visual.named_parameters() if id(p) not in own}
    assert len(frozen) > 5
    assert_close(found, {n: None if n in frozen else g for n, g in everything.items()})


def test_after_prepare_layers_that_were_frozen_are_trained():
    made, data = student(vision=VIT), pairs("contrastive")
    unfreeze(made.clip.model, 1)
    step = step_of(made, "contrastive")
    step(batch_of(made, data, "contrastive"), OFF)
    assert made.clip.model.visual.conv1.weight.grad is None
    unfreeze(made.clip.model, None)
    step.prepare()
    step(batch_of(made, data, "contrastive"), OFF)
    assert made.clip.model.visual.conv1.weight.grad is not None


def linear_pairs():
    return Pairs(unit_rows(10, 16, seed=7), CAPTIONS, unit_rows(sum(map(len, CAPTIONS)), 16), unit_rows(10, 16, seed=7))


@pytest.mark.parametrize("micro_batch", [0, 3])
def test_a_linear_student_gets_the_gradient_of_its_map(micro_batch):
    made = Student(tiny_clip(), base_dimension=16, train_text=False, temperature="learnable", linear=True)
    data = linear_pairs()
    terms = step_of(made, "labclip", micro_batch=micro_batch)(batch_of(made, data, "labclip"), OFF)
    found = gradients(made)
    made.zero_grad()
    batch = batch_of(made, data, "labclip")
    image = F.normalize(batch.pixels @ made.towers.matrix.T, dim=-1)
    logits = made.log_scale.exp() * image @ batch.base_text.T
    rows = torch.stack([logits[i].log_softmax(0)[batch.positives[i]].mean() for i in range(10)])
    columns = torch.stack([logits[:, j].log_softmax(0)[batch.positives[:, j]].mean() for j in range(logits.shape[1])])
    loss = -(rows.mean() + columns.mean()) / 2
    loss.backward()
    assert terms["contrastive"].item() == pytest.approx(loss.item(), abs=1e-5)
    assert_close(found, gradients(made))
    assert {name for name, g in found.items() if g is not None} == {"towers.matrix", "log_scale"}


def test_a_linear_student_is_trained_in_bfloat16_too():
    made = Student(tiny_clip(), base_dimension=16, train_text=False, temperature="learnable", linear=True)
    batch = batch_of(made, linear_pairs(), "labclip")
    terms = step_of(made, "labclip", precision="bfloat16")(batch, OFF)
    wanted = step_of(made, "labclip")(batch, OFF)
    assert terms["contrastive"].item() == pytest.approx(wanted["contrastive"].item(), abs=0.05)


COMPILERS = ("c++", "g++", "clang++")


@pytest.mark.skipif(not any(map(shutil.which, COMPILERS)), reason="torch.compile needs a C++ compiler")
def test_compiled_towers_have_the_same_gradients():
    vision = {**VIT, "layers": 1}
    made, data = student(train_text=False, vision=vision), pairs("contrastive", frozen=True)
    terms, found = taken(made, data, "contrastive", compiled=True)
    wanted_terms, wanted = taken(made, data, "contrastive")
    assert terms == pytest.approx(wanted_terms, abs=1e-4)
    assert_close(found, wanted, atol=1e-4)

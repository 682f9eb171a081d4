import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tiny_models import config, random_pixels, tiny_clip
from torch import nn

from pipeline.clip.towers import create
from pipeline.objectives import contrastive
from pipeline.training.student import Student, start
from pipeline.weights import weights_hash


def made(clip=None, *, target_dimension=16, train_text=False, temperature="learnable"):
    return Student(
        clip or tiny_clip(), target_dimension=target_dimension, train_text=train_text, temperature=temperature
    )


def take_steps(student, count=3):
    pixels = torch.from_numpy(random_pixels(4))
    tokens = student.clip.tokenize(["a cat", "a dog", "a red star", "two moons"])
    optimizer = torch.optim.AdamW(student.parameter_groups(0.1), lr=0.01)
    for _ in range(count):
        image, text = student.encode_images(pixels), student.encode_texts(tokens)
        image_in_target, text_in_target = student.to_target(image, text)
        loss = contrastive(image, text, student.scale) + (image_in_target * text_in_target).sum(1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def copies(tensors):
    return {name: value.detach().clone() for name, value in tensors}


def moved(before, after):
    return {name for name, value in after if not torch.equal(before[name], value)}


@pytest.fixture(params=["CLIP", "CustomTextCLIP"])
def clip(request):
    cfg = config()
    cfg["model_cfg"]["custom_text"] = request.param == "CustomTextCLIP"
    torch.manual_seed(0)
    return create(cfg)


def test_frozen_text_does_not_move_and_gets_no_gradient(clip):
    student = made(clip)
    before = copies(student.text_parameters())
    take_steps(student)
    assert len(before) > 10
    assert moved(before, student.text_parameters()) == set()
    assert all(p.grad is None for _, p in student.text_parameters())


def test_the_image_tower_moves(clip):
    student = made(clip)
    before = copies(student.model.visual.named_parameters())
    take_steps(student)
    assert "attnpool.c_proj.weight" in moved(before, student.model.visual.named_parameters())
    assert "conv1.weight" in moved(before, student.model.visual.named_parameters())


def test_text_moves_where_it_is_trained(clip):
    student = made(clip, train_text=True)
    before = copies(student.text_parameters())
    take_steps(student)
    assert len(moved(before, student.text_parameters())) == len(before)


def test_the_text_parameters_are_all_that_a_text_embedding_depends_on(clip):
    student = made(clip, train_text=True)
    student.encode_texts(student.clip.tokenize(["a cat"])).sum().backward()
    with_gradient = {name for name, p in student.model.named_parameters() if p.grad is not None}
    assert with_gradient == {name for name, _ in student.text_parameters()}


@pytest.mark.parametrize("train_text", [False, True])
def test_batchnorm_keeps_its_statistics(train_text):
    clip = tiny_clip()
    clip.model.train()
    student = made(clip, train_text=train_text)
    norms = [m for m in student.modules() if isinstance(m, nn.BatchNorm2d)]
    before = copies(student.model.named_buffers())
    take_steps(student)
    assert norms
    assert not any(m.training for m in norms)
    assert moved(before, student.model.named_buffers()) == set()


def test_of_the_same_width_nothing_is_projected():
    student = made(target_dimension=16)
    image, text = F.normalize(torch.randn(3, 16), dim=-1), F.normalize(torch.randn(3, 16), dim=-1)
    for found, given in zip(student.to_target(image, text), (image, text), strict=True):
        torch.testing.assert_close(found, given)
    assert not any("to_target" in name for name, _ in student.named_parameters())


def test_of_another_width_the_projections_are_learnt():
    student = made(tiny_clip(embed_dim=8), target_dimension=16, train_text=True)
    image, text = student.encode_images(torch.from_numpy(random_pixels(2))), torch.randn(2, 8)
    assert image.shape == (2, 8)
    for projected in student.to_target(image, text):
        assert projected.shape == (2, 16)
        torch.testing.assert_close(projected.norm(dim=-1), torch.ones(2))
    before = copies(student.named_parameters())
    take_steps(student)
    assert {"image_to_target.weight", "text_to_target.weight"} <= moved(before, student.named_parameters())


def test_projections_are_not_part_of_the_model_that_is_saved():
    student = made(tiny_clip(embed_dim=8), target_dimension=16)
    assert set(student.clip.model.state_dict()) == set(tiny_clip(embed_dim=8).model.state_dict())


def test_a_given_temperature_is_fixed():
    student = made(temperature=0.05)
    assert student.scale.item() == pytest.approx(20)
    take_steps(student)
    assert student.scale.item() == pytest.approx(20)


def test_a_learnable_temperature_starts_at_the_models_own_and_moves():
    student = made()
    assert student.scale.item() == pytest.approx(1 / 0.07, rel=1e-5)
    take_steps(student)
    assert student.scale.item() != pytest.approx(1 / 0.07, rel=1e-3)


def test_the_scale_is_at_most_100():
    student = made()
    student.model.logit_scale.data.fill_(9.0)
    assert student.scale.item() == 100


def test_decay_is_for_matrices_and_every_trained_parameter_has_a_place():
    student = made(train_text=True)
    decayed, plain = student.parameter_groups(0.3)
    assert (decayed["weight_decay"], plain["weight_decay"]) == (0.3, 0.0)
    assert all(p.ndim >= 2 for p in decayed["params"])
    assert any(p is student.model.logit_scale for p in plain["params"])
    placed = [id(p) for group in (decayed, plain) for p in group["params"]]
    assert sorted(placed) == sorted(id(p) for p in student.parameters())


def test_frozen_parameters_are_not_in_the_optimizer():
    student = made(temperature=0.05)
    placed = {id(p) for group in student.parameter_groups(0.1) for p in group["params"]}
    assert placed == {id(p) for p in student.model.visual.parameters()}


def test_embeddings_are_unit_length_and_those_of_the_model():
    student = made()
    pixels = random_pixels(3)
    found = student.encode_images(torch.from_numpy(pixels))
    torch.testing.assert_close(found.norm(dim=-1), torch.ones(3))
    given = student.clip.normalise(torch.from_numpy(pixels))
    torch.testing.assert_close(found, F.normalize(student.model.encode_image(given), dim=-1))


def test_a_student_from_the_base_is_a_copy():
    base = tiny_clip()
    weights = base.weights
    clip = start("base", base, seed=3)
    assert clip.weights == weights
    take_steps(made(clip, train_text=True))
    assert clip.weights != weights
    assert base.weights == weights


def test_a_student_with_its_own_towers_has_seeded_fresh_weights(tmp_path):
    path = tmp_path / "narrow.json"
    path.write_text(json.dumps(config(embed_dim=8)["model_cfg"]))
    base = tiny_clip()
    clip = start(str(path), base, seed=3)
    assert clip.dimension == 8
    assert clip.weights == start(str(path), base, seed=3).weights
    assert clip.weights != start(str(path), base, seed=4).weights


def test_the_checkpointed_state_restores_the_model_exactly():
    student = made()
    state = {name: value.clone() for name, value in student.state_dict().items()}
    start_hash = weights_hash(student.clip.model.state_dict())
    take_steps(student)
    student.load_state_dict(state)
    assert weights_hash(student.clip.model.state_dict()) == start_hash
    assert np.isfinite(student.scale.item())

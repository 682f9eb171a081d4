import json
import math

import pytest
import torch
import torch.nn.functional as F
from tiny_models import COMPUTE, config, random_pixels, tiny_clip, unit_rows
from torch import nn

from pipeline.artifacts.weights import weights_hash
from pipeline.clip import encode, towers
from pipeline.clip.towers import create
from pipeline.distillation.student import LinearTower, Student, Towers, start
from pipeline.training.objectives import contrastive

TEXTS = ["a cat", "a dog", "a red star", "two moons"]


def made(clip=None, *, base_dimension=16, train_text=False, temperature="learnable", linear=False, **more):
    return Student(
        clip or tiny_clip(), base_dimension=base_dimension, train_text=train_text, temperature=temperature,
        linear=linear, **more,
    )  # fmt: skip


def unit(rows, seed, width=16):
    return torch.from_numpy(unit_rows(rows, width, seed=seed))


def take_steps(student, count=3):
    linear = isinstance(student.towers, LinearTower)
    images = unit(4, 1) if linear else torch.from_numpy(random_pixels(4))
    tokens = student.clip.tokenize(TEXTS) if student.train_text else None
    optimizer = torch.optim.AdamW(student.parameter_groups(0.1), lr=0.01)
    for _ in range(count):
        image, text = student.towers(images, tokens)
        if text is None:
            text = unit(4, 2, student.clip.dimension)
        image_in_base, text_in_base = student.image_in_base(image), student.text_in_base(text)
        loss = contrastive(image, text, student.scale) + (image_in_base * text_in_base).sum(1).mean()
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
    before = copies(student.clip.model.visual.named_parameters())
    take_steps(student)
    assert "attnpool.c_proj.weight" in moved(before, student.clip.model.visual.named_parameters())
    assert "conv1.weight" in moved(before, student.clip.model.visual.named_parameters())


def test_text_moves_where_it_is_trained(clip):
    student = made(clip, train_text=True)
    before = copies(student.text_parameters())
    take_steps(student)
    assert len(moved(before, student.text_parameters())) == len(before)


def test_the_text_parameters_are_all_that_a_text_embedding_depends_on(clip):
    student = made(clip, train_text=True)
    _, text = student.towers(torch.from_numpy(random_pixels(1)), student.clip.tokenize(["a cat"]))
    text.sum().backward()
    with_gradient = {name for name, p in student.clip.model.named_parameters() if p.grad is not None}
    assert with_gradient == {name for name, _ in student.text_parameters()}


@pytest.mark.parametrize("train_text", [False, True])
def test_batchnorm_keeps_its_statistics(train_text):
    clip = tiny_clip()
    clip.model.train()
    student = made(clip, train_text=train_text)
    norms = [m for m in student.modules() if isinstance(m, nn.BatchNorm2d)]
    before = copies(student.clip.model.named_buffers())
    take_steps(student)
    assert norms
    assert not any(m.training for m in norms)
    assert moved(before, student.clip.model.named_buffers()) == set()


def test_of_the_same_width_nothing_is_projected():
    student = made(base_dimension=16)
    image, text = F.normalize(torch.randn(3, 16), dim=-1), F.normalize(torch.randn(3, 16), dim=-1)
    for found, given in zip((student.image_in_base(image), student.text_in_base(text)), (image, text), strict=True):
        torch.testing.assert_close(found, given)
    assert not any("to_target" in name for name, _ in student.named_parameters())


def test_of_another_width_the_projections_are_learnt():
    student = made(tiny_clip(embed_dim=8), base_dimension=16, train_text=True)
    image, text = student.towers(torch.from_numpy(random_pixels(2)), student.clip.tokenize(TEXTS[:2]))
    assert image.shape == text.shape == (2, 8)
    for projected in (student.image_in_base(image), student.text_in_base(text)):
        assert projected.shape == (2, 16)
        torch.testing.assert_close(projected.norm(dim=-1), torch.ones(2))
    before = copies(student.named_parameters())
    take_steps(student)
    assert {"image_to_base.weight", "text_to_base.weight"} <= moved(before, student.named_parameters())


def test_projections_are_not_part_of_the_model_that_is_saved():
    student = made(tiny_clip(embed_dim=8), base_dimension=16)
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
    student.log_scale.data.fill_(9.0)
    assert student.scale.item() == pytest.approx(100)


def siglip():
    """A CLIP as SigLIPs are: with a bias, and a scale above 100."""
    cfg = config()
    cfg["model_cfg"] |= {"custom_text": True, "init_logit_bias": -12.5, "init_logit_scale": math.log(117)}
    torch.manual_seed(0)
    return create(cfg)


@pytest.mark.parametrize("contrastive", ["softmax", "sigmoid"])
def test_the_scale_is_at_most_the_models_own_where_that_is_more(contrastive):
    student = made(siglip(), contrastive=contrastive)
    assert student.scale.item() == pytest.approx(117)
    assert student.finished().scale == pytest.approx(117)
    student.log_scale.data.fill_(9.0)
    assert student.scale.item() == pytest.approx(117)


def test_the_bias_of_the_sigmoid_loss_is_the_models_own_moves_and_reaches_the_model_when_it_is_finished(tmp_path):
    student = made(siglip(), contrastive="sigmoid")
    assert student.bias.item() == -12.5
    assert any(p is student.bias for p in student.heads)
    student.bias.data.fill_(-11.0)
    assert student.clip.model.logit_bias.item() == -12.5
    student.finished().save(tmp_path)
    assert towers.load(tmp_path).model.logit_bias.item() == -11.0


def test_a_model_without_a_bias_gets_one_while_it_is_trained():
    student = made(contrastive="sigmoid")
    assert student.bias.item() == -10
    assert set(student.finished().model.state_dict()) == set(tiny_clip().model.state_dict())
    assert made().bias is None


def test_a_learnable_temperature_comes_back_from_its_limit():
    """OpenAI's CLIPs have a logit_scale of 4.6052, which is a scale of 100.003."""
    clip = tiny_clip()
    clip.model.logit_scale.data.fill_(4.6052)
    student = made(clip)
    (5 * student.scale).backward()
    assert student.log_scale.grad > 0


def test_the_finished_models_scale_is_the_losses():
    student = made()
    student.log_scale.data.fill_(9.0)
    assert student.finished().scale == pytest.approx(100, rel=1e-6)


def test_the_temperature_is_the_students_and_reaches_the_model_when_it_is_finished():
    student = made()
    before = student.clip.scale
    take_steps(student)
    assert student.clip.scale == before
    assert not student.clip.model.logit_scale.requires_grad
    assert student.finished().scale == pytest.approx(student.scale.item(), rel=1e-6)
    assert student.clip.scale != pytest.approx(before, rel=1e-3)


def test_decay_is_for_matrices_and_every_trained_parameter_has_a_place():
    student = made(train_text=True)
    decayed, plain = student.parameter_groups(0.3)
    assert (decayed["weight_decay"], plain["weight_decay"]) == (0.3, 0.0)
    assert all(p.ndim >= 2 for p in decayed["params"])
    assert any(p is student.log_scale for p in plain["params"])
    placed = [id(p) for group in (decayed, plain) for p in group["params"]]
    assert sorted(placed) == sorted(id(p) for n, p in student.named_parameters() if not n.endswith("logit_scale"))


def test_frozen_parameters_are_not_in_the_optimizer():
    student = made(temperature=0.05)
    placed = {id(p) for group in student.parameter_groups(0.1) for p in group["params"]}
    assert placed == {id(p) for p in student.clip.model.visual.parameters()}


@pytest.mark.parametrize("linear", [False, True])
@pytest.mark.parametrize("temperature", [0.05, "learnable"])
def test_the_heads_are_all_that_is_trained_beside_the_towers(linear, temperature):
    student = made(temperature=temperature, linear=linear)
    own = [student.log_scale] if temperature == "learnable" else []
    assert [id(p) for p in student.heads] == [id(p) for p in own]
    projected = made(tiny_clip(embed_dim=8), train_text=True, temperature=temperature)
    found = {id(p) for p in projected.heads}
    projections = {id(projected.image_to_base.weight), id(projected.text_to_base.weight)}
    assert found == projections | ({id(projected.log_scale)} if own else set())


def test_embeddings_are_unit_length_and_those_of_the_model(clip):
    student = made(clip)
    pixels = torch.from_numpy(random_pixels(3))
    image, text = student.towers(pixels, student.clip.tokenize(TEXTS))
    for found in (image, text):
        assert found.dtype == torch.float32
        torch.testing.assert_close(found.norm(dim=-1), torch.ones(len(found)))
    torch.testing.assert_close(image, encode.images(clip, pixels.numpy(), COMPUTE), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(text, encode.texts(clip, TEXTS, COMPUTE), rtol=1e-4, atol=1e-6)


def test_without_tokens_the_text_tower_does_not_run(clip, monkeypatch):
    monkeypatch.setattr(clip.model, "encode_text", None)
    image, text = Towers(clip)(torch.from_numpy(random_pixels(3)))
    assert image.shape == (3, 16)
    assert text is None


def test_the_statistics_of_pictures_are_no_weights():
    assert not {"mean", "std"} & {name.split(".")[-1] for name in Towers(tiny_clip()).state_dict()}


def test_a_linear_tower_starts_as_the_identity_and_maps_to_unit_length():
    tower, images = LinearTower(16), unit(3, 1)
    found, text = tower(images)
    assert text is None
    torch.testing.assert_close(found, images)
    tower.matrix.data = torch.randn(16, 16, generator=torch.Generator().manual_seed(0))
    found, _ = tower(images)
    for row, image in zip(found, images, strict=True):
        mapped = tower.matrix @ image
        torch.testing.assert_close(row, mapped / mapped.norm())


def test_of_a_linear_student_only_the_map_and_the_temperature_are_trained(clip):
    student = made(clip, linear=True)
    assert {name for name, p in student.named_parameters() if p.requires_grad} == {"log_scale", "towers.matrix"}
    assert not any(p.requires_grad for p in clip.model.parameters())
    before = copies(clip.model.state_dict().items())
    take_steps(student)
    assert moved(before, clip.model.state_dict().items()) == set(), "until it is finished"
    assert not torch.equal(student.towers.matrix, torch.eye(16))


def projection_of(clip):
    return {name for name, _ in clip.model.named_parameters() if name.startswith("visual.attnpool.c_proj")}


def test_a_finished_linear_student_is_a_model_with_the_map_in_its_last_layer(clip, tmp_path):
    student = made(clip, linear=True)
    pixels = random_pixels(3)
    cached = encode.images(clip, pixels, COMPUTE)
    before = copies(clip.model.state_dict().items())
    take_steps(student)
    wanted, _ = student.towers(cached)
    changed = moved(before, student.finished().model.state_dict().items())
    assert changed == {*projection_of(clip), "logit_scale"}
    clip.save(tmp_path)
    loaded = towers.load(tmp_path)
    torch.testing.assert_close(encode.images(loaded, pixels, COMPUTE), wanted.detach(), rtol=1e-4, atol=1e-5)
    assert torch.equal(encode.texts(loaded, TEXTS, COMPUTE), encode.texts(clip, TEXTS, COMPUTE))
    assert loaded.scale == pytest.approx(student.scale.item(), rel=1e-6)


def test_finishing_a_linear_student_again_maps_nothing_twice():
    student = made(linear=True)
    take_steps(student)
    once = student.finished().weights
    assert student.finished().weights == once
    student.towers.matrix.data = torch.eye(16)
    student.log_scale.data = made().log_scale.data
    assert student.finished().weights == tiny_clip().weights


@pytest.mark.parametrize("train_text", [False, True])
def test_a_finished_student_is_a_model_of_the_same_embeddings_and_temperature(clip, train_text, tmp_path):
    student = made(clip, train_text=train_text)
    take_steps(student)
    student.finished().save(tmp_path)
    loaded = towers.load(tmp_path)
    image, text = student.towers(torch.from_numpy(random_pixels(4)), clip.tokenize(TEXTS))
    found = encode.images(loaded, random_pixels(4), COMPUTE), encode.texts(loaded, TEXTS, COMPUTE)
    for got, wanted in zip(found, (image, text), strict=True):
        torch.testing.assert_close(got, wanted.detach(), rtol=1e-4, atol=1e-5)
    assert loaded.scale == pytest.approx(student.scale.item(), rel=1e-6)


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


@pytest.mark.parametrize("linear", [False, True])
def test_the_checkpointed_state_restores_the_model_exactly(linear):
    student = made(linear=linear)
    state = {name: value.clone() for name, value in student.state_dict().items()}
    start_hash = weights_hash(student.clip.model.state_dict())
    take_steps(student)
    assert weights_hash(student.finished().model.state_dict()) != start_hash
    student.load_state_dict(state)
    assert weights_hash(student.finished().model.state_dict()) == start_hash


def test_a_target_of_another_clip_as_wide_as_the_student_is_reached_from_the_identity():
    image = torch.from_numpy(unit_rows(3, 16))
    own, other, wider = (made(target_dimension=width) for width in (None, 16, 24))
    assert own.image_to_target is own.image_to_base
    torch.testing.assert_close(other.image_in_target(image), image)
    assert other.image_to_target.weight.requires_grad
    assert wider.image_in_target(image).shape == (3, 24)

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tiny_models import COMPUTE, random_pixels, tiny_clip, unit_rows
from tiny_training import FIGURES, complete, copies, moved, pairs, run, student, training

from pipeline.clip import encode
from pipeline.distillation.linear import procrustes
from pipeline.recipes import RECIPES


def projection(before):
    return {name for name in before if name.startswith("visual.attnpool.c_proj")}


@pytest.mark.parametrize("name", [name for name in RECIPES if RECIPES[name].linear])
def test_a_linear_recipe_changes_nothing_but_the_last_projection(name):
    made = student(linear=True)
    before = copies(made)
    assert run(made, complete(name), training(name)).best_epoch == 1
    allowed = {"logit_scale"} if name == "labclip" else set()
    made.finished()
    assert projection(before) <= moved(before, made) <= projection(before) | allowed


def test_procrustes_solves_for_every_caption_and_its_picture():
    made, data = student(linear=True), complete("procrustes")
    found, told = [], []
    validate = lambda clip: found.append(clip.weights) or FIGURES  # noqa: E731
    result = run(made, data, training("procrustes"), validate, log=lambda history: told.append(list(history)))
    wanted = procrustes(torch.from_numpy(data.pixels[data.owner]), torch.from_numpy(data.caption_embeddings))
    torch.testing.assert_close(made.towers.matrix.detach(), wanted)
    assert result.history == [{"epoch": 0, **FIGURES}, {"epoch": 1, **FIGURES}]
    assert (result.best_epoch, result.best["epoch"]) == (1, 1)
    assert told[-1] == result.history
    assert found == [tiny_clip().weights, made.finished().weights]


def test_procrustes_finds_the_rotation_that_was_planted():
    turn = torch.linalg.qr(torch.randn(16, 16, generator=torch.Generator().manual_seed(2)))[0]
    images = unit_rows(40, 16, seed=6)
    data = pairs([[f"{i}"] for i in range(40)], images, caption_embeddings=images @ turn.numpy().T)
    made = student(linear=True)
    run(made, data, training("procrustes"))
    torch.testing.assert_close(made.towers.matrix.detach(), turn, rtol=0, atol=1e-4)


def test_labclip_brings_cached_pictures_to_their_captions():
    turn = np.linalg.qr(np.random.default_rng(2).normal(size=(16, 16)))[0].astype(np.float32)
    images = unit_rows(64, 16, seed=6)
    data = pairs([[f"{i}"] for i in range(64)], images, caption_embeddings=images @ turn.T)
    made = student(linear=True, temperature=0.05)
    history = run(made, data, training("labclip", epochs=12, batch=16, lr=0.03)).history
    assert history[-1]["loss"] < 0.5 * history[1]["loss"]
    pixels = random_pixels(3)
    cached = encode.images(tiny_clip(), pixels, COMPUTE)
    wanted = F.normalize(cached @ made.towers.matrix.detach().T, dim=-1)
    torch.testing.assert_close(encode.images(made.finished(), pixels, COMPUTE), wanted, rtol=1e-3, atol=1e-5)

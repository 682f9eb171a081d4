import numpy as np
import pytest
import torch
from tiny_gpu import PretendedGpu
from tiny_models import COMPUTE, random_pixels, tiny_clip

from pipeline.clip import encode
from pipeline.errors import InputError
from pipeline.models.pretrain import Pretraining, Runs, pretrain, shift, shifted
from pipeline.training import checkpoint, objectives
from pipeline.training.objectives import contrastive

COLOURS = {"red": (230, 20, 20), "green": (20, 200, 30), "blue": (20, 30, 230), "white": (250, 250, 250)}


def world(count=32):
    """Images of one noisy colour each, with its name."""
    names = [list(COLOURS)[i % 4] for i in range(count)]
    noise = random_pixels(count).astype(np.int64) // 16
    plain = np.array([COLOURS[name] for name in names])[:, :, None, None]
    return np.clip(plain + noise, 0, 255).astype(np.uint8), names


def trained(seed=0, epochs=2, batch=8, runs=None, clip=None, from_scratch=True):
    clip = clip or tiny_clip(seed)
    how = Pretraining(epochs, batch, lr=5e-3, weight_decay=0.01, seed=seed, from_scratch=from_scratch)
    return clip, pretrain(clip, *world(), how, what="models.clip", runs=runs)


def test_pretraining_learns_and_says_how(capsys):
    clip, history = trained(epochs=40)
    assert [row["epoch"] for row in history] == list(range(1, 41))
    assert history[-1]["loss"] < history[0]["loss"] - 0.2
    assert not clip.model.training
    pixels, names = world(4)
    similarity = encode.images(clip, pixels, COMPUTE) @ encode.texts(clip, names, COMPUTE).T
    assert similarity.argmax(dim=1).tolist() == [0, 1, 2, 3]
    assert "models.clip, epoch 40 of 40" in capsys.readouterr().err


def test_a_gpus_way_to_the_batches_trains_the_same_model(monkeypatch):
    wanted, history = trained()
    PretendedGpu(monkeypatch)
    found, same_history = trained()
    assert (found.weights, same_history) == (wanted.weights, history)


def test_equal_seeds_give_equal_weights():
    first, history = trained(seed=3, epochs=2)
    torch.randn(7)
    again, same_history = trained(seed=3, epochs=2)
    assert again.weights == first.weights
    assert same_history == history
    assert trained(seed=4, epochs=2)[0].weights != first.weights


def test_equal_captions_of_a_batch_are_positives_of_each_other(monkeypatch):
    given = []

    def spy(image, text, scale, positives):
        given.append((text.detach(), positives))
        return contrastive(image, text, scale, positives)

    monkeypatch.setattr(objectives, "contrastive", spy)
    trained(epochs=1)
    assert len(given) == 4
    for text, positives in given:
        assert positives.sum() > 8
        assert torch.equal(positives, (text[:, None] == text[None, :]).all(dim=-1))


def running_statistics(clip):
    state = clip.model.state_dict()
    return torch.cat([state[name].flatten() for name in state if name.endswith(("running_mean", "running_var"))])


def test_a_clip_that_goes_on_keeps_the_statistics_that_it_learnt_from_scratch():
    new = running_statistics(tiny_clip())
    base, _ = trained()
    learnt = running_statistics(base)
    assert (learnt != new).all()
    weights = base.weights
    went_on, _ = trained(seed=1, clip=base, from_scratch=False)
    assert went_on.weights != weights
    assert torch.equal(running_statistics(went_on), learnt)


def test_an_unfull_batch_is_left_to_the_next_epoch(monkeypatch):
    sizes = []

    def spy(image, text, scale, positives):
        sizes.append(len(image))
        return contrastive(image, text, scale, positives)

    monkeypatch.setattr(objectives, "contrastive", spy)
    trained(epochs=2, batch=20)
    assert sizes == [20, 20]


def test_a_shift_moves_a_picture_by_whole_pixels_and_repeats_its_border():
    ramp = torch.arange(32, dtype=torch.uint8).expand(2, 3, 32, 32).contiguous()
    for right in (-3, 0, 2):
        for moved, axis in ((shifted(ramp, 1, right), ramp), (shifted(ramp.mT, right, 1), ramp.mT)):
            expected = (torch.arange(32) - right).clamp(0, 31).to(torch.uint8)
            assert (moved.shape, moved.dtype) == (axis.shape, torch.uint8)
            assert torch.equal(moved if axis is ramp else moved.mT, expected.expand(2, 3, 32, 32))


@pytest.mark.parametrize(("side", "most"), [(64, 4), (128, 8)])
def test_every_shift_up_to_a_sixteenth_of_the_side_occurs(side, most):
    generator = torch.Generator().manual_seed(0)
    seen = {by for _ in range(200) for by in shift(side, generator)}
    assert seen == set(range(-most, most + 1))


@pytest.mark.parametrize("killed_in", [1, 2, 3])
def test_a_training_that_was_killed_goes_on_to_the_same_weights(tmp_path, monkeypatch, killed_in):
    runs, steps = Runs(tmp_path, "code"), []
    expected, history = trained(epochs=3)

    def dying(*given, **more):
        steps.append(given)
        if len(steps) == 4 * killed_in - 1:
            raise KeyboardInterrupt
        return contrastive(*given, **more)

    monkeypatch.setattr(objectives, "contrastive", dying)
    with pytest.raises(KeyboardInterrupt):
        trained(epochs=3, runs=runs)
    found, same_history = trained(epochs=3, runs=runs)
    assert (found.weights, same_history) == (expected.weights, history)
    assert len(steps) == (4 * killed_in - 1) + 4 * (4 - killed_in)


def test_a_checkpoint_serves_the_training_that_left_it_alone(tmp_path):
    for runs, more in (
        (Runs(tmp_path, "code"), {}), (Runs(tmp_path, "code"), {"seed": 1}), (Runs(tmp_path, "code"), {"epochs": 1}),
        (Runs(tmp_path, "other code"), {}), (Runs(tmp_path, "code"), {}),
    ):  # fmt: skip
        trained(runs=runs, **more)
    found = list(tmp_path.glob("*/clip.pt"))
    assert len(found) == 4
    for path in found:
        checkpoint.check(path)


def test_fewer_pairs_than_a_batch_are_refused():
    with pytest.raises(InputError, match=r"32 base pairs, and a batch is 33: lower models\.clip\.batch"):
        trained(batch=33)

import numpy as np
import pytest
import torch
from tiny_models import COMPUTE, CONFIG, random_pixels

from pipeline.clip import encode
from pipeline.errors import InputError
from pipeline.models.pretrain import SHIFT, pretrain, shifted
from pipeline.training import objectives
from pipeline.training.objectives import contrastive

COLOURS = {"red": (230, 20, 20), "green": (20, 200, 30), "blue": (20, 30, 230), "white": (250, 250, 250)}


def world(count=32):
    """Images of one noisy colour each, with its name."""
    names = [list(COLOURS)[i % 4] for i in range(count)]
    noise = random_pixels(count).astype(np.int64) // 16
    plain = np.array([COLOURS[name] for name in names])[:, :, None, None]
    return np.clip(plain + noise, 0, 255).astype(np.uint8), names


def trained(seed=0, epochs=2, **changed):
    pixels, captions = world()
    settings = {"epochs": epochs, "batch": 8, "lr": 5e-3, "weight_decay": 0.01, "seed": seed, **changed}
    return pretrain(CONFIG, pixels, captions, **settings)


def test_pretraining_learns_and_says_how(capsys):
    clip, history = trained(epochs=40)
    assert [row["epoch"] for row in history] == list(range(1, 41))
    assert history[-1]["loss"] < history[0]["loss"] - 0.2
    assert not clip.model.training
    pixels, names = world(4)
    similarity = encode.images(clip, pixels, COMPUTE) @ encode.texts(clip, names, COMPUTE).T
    assert similarity.argmax(dim=1).tolist() == [0, 1, 2, 3]
    assert "pretrain CLIP" in capsys.readouterr().err


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
    seen = set()
    for seed in range(40):
        moved = shifted(ramp, torch.Generator().manual_seed(seed))
        assert (moved.shape, moved.dtype) == (ramp.shape, torch.uint8)
        by = int(moved[0, 0, 0, 16]) - 16
        assert abs(by) <= SHIFT
        assert torch.equal(moved[0, 0, 0], (torch.arange(32) + by).clamp(0, 31).to(torch.uint8))
        seen.add(by)
    assert len(seen) >= 7


def test_fewer_pairs_than_a_batch_are_refused():
    with pytest.raises(InputError, match=r"32 base pairs, and a batch is 33: lower models\.clip\.batch"):
        trained(batch=33)

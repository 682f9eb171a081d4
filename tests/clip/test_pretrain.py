import numpy as np
import torch
from tiny_models import COMPUTE, CONFIG, random_pixels

from pipeline import objectives
from pipeline.clip import encode
from pipeline.clip.pretrain import SHIFT, batches, pretrain, sharing_a_word, shifted
from pipeline.objectives import contrastive

COLOURS = {"red": (230, 20, 20), "green": (20, 200, 30), "blue": (20, 30, 230), "white": (250, 250, 250)}


def world(count=32):
    """Pictures of one noisy colour each, with its name."""
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

    def spy(image, text, scale, same):
        given.append((text.detach(), same))
        return contrastive(image, text, scale, same)

    monkeypatch.setattr(objectives, "contrastive", spy)
    trained(epochs=1)
    assert len(given) == 4
    for text, same in given:
        assert same.sum() > 8
        assert torch.equal(same, (text[:, None] == text[None, :]).all(dim=-1))


def test_words_that_some_but_not_most_captions_share_make_groups():
    captions = ["a red star", "a red moon", "a blue star", "a green cat", "a cat and a cat"]
    assert [rows.tolist() for rows in sharing_a_word(captions, low=0.3, high=0.5)] == [[3, 4], [0, 1], [0, 2]]
    assert sharing_a_word(captions, low=0.9, high=1.0)[0].tolist() == [0, 1, 2, 3, 4]
    assert sharing_a_word(captions, low=0.5, high=0.9) == []


def test_half_of_a_batch_shares_a_word_and_the_other_half_repeats_nothing():
    colours = ("red", "green", "blue", "white", "black")
    captions = [f"{colours[i % 5]} number{i}" for i in range(50)]
    found = list(batches(captions, 10, np.random.default_rng(0)))
    assert [len(rows) for rows in found] == [10] * 5
    drawn = np.concatenate([rows[:5] for rows in found])
    assert len(set(drawn.tolist())) == 25
    shared = [{captions[i].split()[0] for i in rows[5:]} for rows in found]
    assert all(len(words) == 1 for words in shared)
    assert all(len(set(rows[5:].tolist())) == 5 for rows in found)
    assert len(set.union(*shared)) > 1, "not always the same word"


def test_without_a_shared_word_an_epoch_is_one_random_order():
    found = list(batches([f"caption{i}" for i in range(20)], 8, np.random.default_rng(0)))
    rows = np.concatenate(found)
    assert len(found) == 2 and len(set(rows.tolist())) == 16
    assert rows.tolist() != sorted(rows.tolist())


def test_an_unfull_batch_is_left_to_the_next_epoch(monkeypatch):
    sizes = []

    def spy(image, text, scale, same):
        sizes.append(len(image))
        return contrastive(image, text, scale, same)

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

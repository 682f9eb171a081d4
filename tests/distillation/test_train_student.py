import numpy as np
import pytest
import torch
from tiny_knowledge import heads
from tiny_models import tiny_clip, unit_rows
from tiny_training import FIGURES, complete, copies, copy_of, moved, numbered, pairs, run, scored, student, training

from pipeline.distillation.train import train
from pipeline.recipes import RECIPES

EVERY = [
    (name, text) for name, r in RECIPES.items() if not r.linear for text in (False, True) if text or not r.knowledge
]


@pytest.mark.parametrize(("name", "train_text"), EVERY)
def test_every_recipe_trains(name, train_text):
    made = student(train_text, **heads(name))
    text = {n: p.detach().clone() for n, p in made.text_parameters()}
    before = copies(made)
    history = run(made, complete(name, 4, train_text), training(name, epochs=1, max_grad_norm=1.0)).history
    assert [row["epoch"] for row in history] == [0, 1]
    assert all(np.isfinite(value) for row in history for value in row.values())
    terms = set(history[1]) - {"epoch", "loss", "lr", "gradient_norm", *FIGURES}
    assert history[1]["loss"] == pytest.approx(sum(history[1][term] for term in terms), rel=1e-5)
    made.finished()
    assert "visual.conv1.weight" in moved(before, made)
    assert text.keys() & moved(before, made) == (text.keys() if train_text else set())


@pytest.mark.parametrize("train_text", [False, True])
def test_a_short_training_on_random_data_lowers_the_loss(train_text):
    data = pairs([[c] for c in numbered(16)], caption_embeddings=unit_rows(16, 16, seed=5))
    how = training("contrastive", epochs=6, batch=8, lr=3e-3)
    history = train(student(train_text), data, lambda clip: FIGURES, how, device="cpu").history
    assert history[-1]["loss"] < 0.8 * history[1]["loss"]


def test_terms_are_weighted_by_name():
    captions = [[c] for c in numbered(8)]
    data = pairs(captions, image_embeddings=unit_rows(8, 16, seed=2), targets=unit_rows(8, 16, seed=3))

    def first_epoch(**weights):
        how = training("dclip_clean", epochs=1, lr=1e-9, weights=weights)
        return train(student(), data, lambda clip: FIGURES, how, device="cpu").history[1]

    plain, weighted = first_epoch(), first_epoch(teacher=3.0, preserve=0.0)
    assert weighted["teacher"] == pytest.approx(3 * plain["teacher"], rel=1e-4)
    assert weighted["preserve"] == 0
    assert weighted["loss"] == pytest.approx(plain["contrastive"] + 3 * plain["teacher"], rel=1e-4)


def test_equal_seeds_train_equal_students():
    def trained(seed):
        made = student()
        data = pairs([[f"{i} a", f"{i} b"] for i in range(8)])
        train(made, data, lambda clip: FIGURES, training("contrastive", seed=seed), device="cpu")
        return made.finished().weights

    assert trained(1) == trained(1)
    assert trained(1) != trained(2)


def test_the_number_of_threads_changes_nothing():
    def trained(threads):
        made = student()
        run(made, complete("clip_refine"), training("clip_refine", threads=threads))
        return made.finished().weights

    assert trained(1) == trained(3)


CHUNKED = [(name, text) for name in ("hard_negatives", "dclip_clean") for text in (False, True)]


@pytest.mark.parametrize(("name", "train_text"), [*CHUNKED, ("dclip+knowledge", True)])
def test_in_chunks_a_batch_trains_as_at_once(name, train_text):
    def trained(micro_batch):
        made = student(train_text, **heads(name))
        history = run(
            made, complete(name, 8, train_text), training(name, epochs=1, batch=8, micro_batch=micro_batch)
        ).history
        return history[1]["loss"], copy_of(made.finished())

    loss, wanted = trained(0)
    found, states = trained(3)
    assert found == pytest.approx(loss, rel=1e-5)
    before = copy_of(tiny_clip())
    for name, value in states.items():
        if "k_proj.bias" in name or "in_proj_bias" in name:
            continue  # a key's bias has no gradient but rounding, which AdamW makes a step of
        step = (wanted[name] - before[name]).abs().max()
        assert (value - wanted[name]).abs().mean() <= 0.05 * step + 1e-7, name


def test_chunks_of_more_pictures_than_there_are_distinct_texts():
    data = pairs([["the same"]] * 4)
    how = training("contrastive", micro_batch=1, epochs=1)
    assert np.isfinite(run(student(train_text=True), data, how).history[1]["loss"])


def test_a_fixed_temperature_is_the_finished_models():
    made = student(temperature=0.05)
    run(made, complete("contrastive", 4), training("contrastive"))
    assert made.finished().scale == pytest.approx(20)


def test_the_learning_rate_warms_up_and_falls_to_nothing():
    how = training("contrastive", epochs=4, warmup=0.5, lr=0.5e-3)
    history = run(student(), complete("contrastive"), how).history
    rates = [row["lr"] for row in history[1:]]  # after 2, 4, 6 and all 8 steps
    assert rates == pytest.approx([0.5e-3 * 3 / 4, 0.5e-3, 0.25e-3, 0], abs=1e-9)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_trains_float32_weights(precision):
    """In float16 the first steps only lower the loss scale, until no gradient overflows."""
    made, data = student(), complete("contrastive", 4)
    before = copies(made)
    how = training("contrastive", epochs=8, precision=precision, max_grad_norm=1.0)
    history = run(made, data, how, scored(*range(9))).history
    exact = run(student(), data, training("contrastive", epochs=1)).history
    assert history[1]["loss"] == pytest.approx(exact[1]["loss"], rel=0.05)
    assert history[1]["loss"] != exact[1]["loss"]
    assert "visual.conv1.weight" in moved(before, made)
    assert all(v.dtype == torch.float32 for v in copies(made).values() if v.is_floating_point())


def test_compiled_towers_are_those_that_train(monkeypatch):
    compiled = []
    monkeypatch.setattr(torch, "compile", lambda module: compiled.append(module) or module)
    made = student()
    run(made, complete("contrastive", 4), training("contrastive", epochs=1, compiled=True))
    assert compiled
    assert all(module is made.towers for module in compiled)


def test_every_epoch_is_told_as_it_ends():
    told = []
    run(
        student(), complete("contrastive", 4), training("contrastive", epochs=2),
        log=lambda history: told.append([row["epoch"] for row in history]),
    )  # fmt: skip
    assert told == [[0], [0, 1], [0, 1, 2]]

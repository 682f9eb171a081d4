import dataclasses

import pytest
from tiny_training import complete, run, student, training

from pipeline.distillation import train as training_module
from pipeline.recipes import RECIPES


class Killed(Exception):
    pass


def kill_at(monkeypatch, name, step):
    recipe, count = RECIPES[name], iter(range(1000))

    def terms(b):
        if next(count) == step:
            raise Killed
        return recipe.terms(b)

    monkeypatch.setitem(RECIPES, name, dataclasses.replace(recipe, terms=terms))


@pytest.mark.parametrize(
    ("name", "changed", "step"),
    [
        ("contrastive", {"layers": 1, "unfreeze": 1}, 2),
        ("contrastive", {"layers": 1, "unfreeze": 1}, 3),
        ("clip_refine", {"ema_decay": 0.5, "captions": None}, 3),
        ("shuffled_targets", {"micro_batch": 3, "max_grad_norm": 1.0}, 2),
        ("labclip", {}, 3),
    ],
    ids=str,
)
def test_a_killed_and_resumed_training_equals_an_uninterrupted_one(monkeypatch, tmp_path, name, changed, step):
    """Two steps an epoch: killed before the first or the second step of epoch 2."""
    how, linear = training(name, interval=0.0, **changed), RECIPES[name].linear
    whole = student(linear=linear)
    wanted = run(whole, complete(name), how)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        kill_at(patch, name, step)
        run(student(linear=linear), complete(name), how, checkpoint=tmp_path / "c.pt", fingerprint="f")
    resumed, told = student(linear=linear), []
    found = run(
        resumed, complete(name), how, checkpoint=tmp_path / "c.pt", fingerprint="f",
        log=lambda history: told.append(len(history)),
    )  # fmt: skip
    assert found == wanted
    assert resumed.finished().weights == whole.finished().weights
    assert told == [2, 3]


def test_a_resumed_training_goes_on_with_as_many_layers(monkeypatch, tmp_path):
    how = training("contrastive", epochs=3, layers=1, unfreeze=1)
    data = complete("contrastive", 4)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        kill_at(patch, "contrastive", 1)
        run(student(), data, how, checkpoint=tmp_path / "c.pt")
    made = student()
    optimised = []
    real = training_module.unfreeze

    def unfreeze(model, layers):
        optimised.append(layers)
        return real(model, layers)

    monkeypatch.setattr(training_module, "unfreeze", unfreeze)
    run(made, data, how, checkpoint=tmp_path / "c.pt")
    assert optimised == [2, 3]

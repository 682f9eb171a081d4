import pytest
import torch
from tiny_training import FIGURES, complete, run, student, training

from pipeline.distillation.layers import image_groups
from pipeline.errors import InputError


def changes_by_epoch(made, data, how, **given):
    """Which groups of the image tower, from its output (1), have moved in each epoch."""
    groups, epochs = image_groups(made.clip.model)[::-1], []
    last = []

    def validate(clip):
        now = [[p.detach().clone() for p in group] for group in groups]
        if last:
            both = enumerate(zip(last[-1], now, strict=True), 1)
            epochs.append({i for i, (a, b) in both if not all(map(torch.equal, a, b))})
        last.append(now)
        return FIGURES

    run(made, data, how, validate, **given)
    return epochs


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"layers": 1}, [{1}, {1}, {1}]),
        ({"layers": 2}, [{1, 2}, {1, 2}, {1, 2}]),
        ({"layers": 1, "unfreeze": 1}, [{1}, {1, 2}, {1, 2, 3}]),
        ({"layers": 2, "unfreeze": 2}, [{1, 2}, {1, 2}, {1, 2, 3}]),
        ({"layers": 5, "unfreeze": 1}, [{*range(1, 6)}, {*range(1, 7)}, {*range(1, 7)}]),
        ({"layers": None}, [{*range(1, 7)}] * 3),
    ],
    ids=str,
)
def test_layers_are_trained_from_the_output_on_more_of_them_as_epochs_pass(changed, expected):
    how = training("contrastive", epochs=3, **changed)
    assert changes_by_epoch(student(), complete("contrastive", 4), how) == expected


def test_frozen_layers_do_not_decay():
    how = training("contrastive", epochs=1, layers=1, weight_decay=0.5)
    assert changes_by_epoch(student(), complete("contrastive", 4), how) == [{1}]


def test_towers_are_compiled_again_when_other_layers_are_trained(monkeypatch):
    trained = []

    def compiled(module):
        trained.append(sum(p.requires_grad for p in module.model.visual.parameters()))
        return module

    monkeypatch.setattr(torch, "compile", compiled)
    how = training("contrastive", epochs=2, compiled=True, layers=1, unfreeze=1)
    run(student(), complete("contrastive", 4), how)
    assert trained[-2] < trained[-1]


def test_more_layers_than_the_tower_has_are_refused():
    with pytest.raises(InputError, match=r"student\.layers is 7, .* 6 groups"):
        run(student(), complete("contrastive", 4), training("contrastive", layers=7))

import pytest
import torch
from tiny_loop import Killed, Task


@pytest.mark.parametrize(("scores", "best"), [([0, 1, 5, 2, 3], 2), ([0, 4, 4, 1, 4], 1), ([0, 1, 2, 3, 4], 4)])
@pytest.mark.parametrize("ema_decay", [0.0, 0.9])
def test_the_best_epochs_weights_are_what_is_left(scores, best, ema_decay):
    task = Task(scores=scores, ema_decay=ema_decay)
    result = task.loop.run()
    assert result.best_epoch == best
    assert result.best["score"] == scores[best]
    assert torch.equal(task.weight, task.states[best])
    assert not torch.equal(task.states[best], task.states[best - 1])


def test_the_untrained_start_is_never_the_result():
    task = Task(scores=[9, 1, 2, 1, 1])
    assert task.loop.run().best_epoch == 2


@pytest.mark.parametrize("ema_decay", [0.0, 0.9])
def test_the_best_epoch_survives_a_kill(tmp_path, ema_decay):
    given = {"scores": [0, 5, 1, 2, 3], "ema_decay": ema_decay, "interval": 0.0}
    first = Task(tmp_path / "run.pt", kill_at=(3, 2), **given)
    with pytest.raises(Killed):
        first.loop.run()
    second = Task(tmp_path / "run.pt", **given)
    assert second.loop.run().best_epoch == 1
    assert torch.equal(second.weight, first.states[1])


# The best epoch is 1; with patience 2 the run ends after epoch 3.
IMPATIENT = {"scores": [0, 5, 1, 2, 9], "patience": 2, "interval": 0.0}


def test_training_stops_after_epochs_without_a_better_one():
    task = Task(**IMPATIENT)
    result = task.loop.run()
    assert [row["epoch"] for row in result.history] == [0, 1, 2, 3]
    assert (result.best_epoch, task.epochs) == (1, [1, 2, 3])
    assert torch.equal(task.weight, task.states[1])


def test_without_patience_every_epoch_is_trained():
    assert Task(**{**IMPATIENT, "patience": 0}).loop.run().best_epoch == 4


def test_patience_begins_anew_with_every_better_epoch():
    assert Task(scores=[0, 1, 0, 2, 0], patience=2).loop.run().history[-1]["epoch"] == 4


@pytest.mark.parametrize("place", [(2, 2), (3, 1), (3, 3)])
def test_a_resumed_run_is_as_impatient(tmp_path, place):
    whole = Task(tmp_path / "whole.pt", **IMPATIENT)
    result = whole.loop.run()
    with pytest.raises(Killed):
        Task(tmp_path / "run.pt", kill_at=place, **IMPATIENT).loop.run()
    second = Task(tmp_path / "run.pt", **IMPATIENT)
    assert second.loop.run() == result
    assert torch.equal(second.weight, whole.weight)


def test_a_run_that_was_stopped_is_not_trained_on(tmp_path):
    first = Task(tmp_path / "run.pt", **IMPATIENT)
    result = first.loop.run()
    again = Task(tmp_path / "run.pt", **IMPATIENT)
    assert again.loop.run() == result
    assert again.taken == []
    assert torch.equal(again.weight, first.weight)

import pytest
import torch
from torch import nn

from pipeline.errors import InputError
from pipeline.training.loop import Loop, TrainingDiverged
from pipeline.training.schedule import warmup_cosine

TARGET = torch.tensor([1.0, -2.0, 3.0])
EPOCHS = 4


class Killed(Exception):
    pass


class Task:
    """Fit three numbers with noise of torch's own generator; can be killed after an epoch, and says what it did."""

    def __init__(self, checkpoint=None, fingerprint="f", kill_in=None, scores=None, steps=3, nan_at=None):
        torch.manual_seed(0)
        self.module = nn.Linear(3, 1, bias=False)
        self.dropout = nn.Dropout(0.5)
        self.kill_in, self.scores, self.nan_at, self.steps = kill_in, scores, nan_at, steps
        self.epochs: list[int] = []
        self.states: dict[int, torch.Tensor] = {}
        self.step = 0
        optimizer = torch.optim.AdamW(self.module.parameters(), lr=0.1)
        self.loop = Loop(
            what="student", module=self.module, optimizer=optimizer,
            schedule=warmup_cosine(optimizer, warmup=2, steps=EPOCHS * steps), epochs=EPOCHS, seed=5,
            batches=self.batches, losses=self.losses, validate=self.validate,
            better=lambda new, old: new["score"] > old["score"], checkpoint=checkpoint, fingerprint=fingerprint,
        )  # fmt: skip

    @property
    def weight(self):
        return self.module.weight.detach().clone()

    def batches(self, epoch):
        self.epochs.append(epoch)
        for i in range(self.steps):
            if epoch == self.kill_in and i == 1:
                raise Killed
            yield torch.randn(8, 3)

    def losses(self, x):
        self.step += 1
        error = self.module(self.dropout(x))[:, 0] - x @ TARGET
        square = (error * error).mean()
        if self.step == self.nan_at:
            square = square * torch.nan
        return {"square": square, "size": 0.01 * self.module.weight.pow(2).sum()}

    def validate(self):
        epoch = self.epochs[-1] if self.epochs else 0
        self.states[epoch] = self.weight
        score = self.scores[epoch] if self.scores else -float((self.weight - TARGET).abs().sum())
        return {"score": score}


@pytest.mark.parametrize("killed_in", [1, 2, EPOCHS])
def test_a_killed_and_resumed_run_equals_an_uninterrupted_one_bit_for_bit(tmp_path, killed_in):
    whole = Task(tmp_path / "whole.pt")
    result = whole.loop.run()

    first = Task(tmp_path / "killed.pt", kill_in=killed_in)
    with pytest.raises(Killed):
        first.loop.run()
    torch.manual_seed(123)  # another process begins with another state
    second = Task(tmp_path / "killed.pt")
    resumed = second.loop.run()

    assert second.epochs == list(range(killed_in, EPOCHS + 1))
    assert resumed == result
    assert torch.equal(second.weight, whole.weight)
    old, new = (torch.load(tmp_path / f"{n}.pt", weights_only=True) for n in ("whole", "killed"))
    assert torch.equal(new["module"]["weight"], old["module"]["weight"])
    for name in ("exp_avg", "exp_avg_sq", "step"):
        assert torch.equal(new["optimizer"]["state"][0][name], old["optimizer"]["state"][0][name])
    assert new["schedule"]["last_epoch"] == old["schedule"]["last_epoch"] == EPOCHS * 3


def test_a_finished_run_is_not_trained_again(tmp_path):
    first = Task(tmp_path / "run.pt")
    result = first.loop.run()
    again = Task(tmp_path / "run.pt")
    assert again.loop.run() == result
    assert again.epochs == []
    assert torch.equal(again.weight, first.weight)


def test_a_checkpoint_of_another_fingerprint_is_not_used(tmp_path):
    Task(tmp_path / "run.pt", fingerprint="old").loop.run()
    other = Task(tmp_path / "run.pt", fingerprint="new")
    other.loop.run()
    assert other.epochs == [1, 2, 3, 4]
    assert torch.load(tmp_path / "run.pt", weights_only=True)["fingerprint"] == "new"


def test_a_checkpoint_of_another_version_is_not_used(tmp_path):
    Task(tmp_path / "run.pt").loop.run()
    state = torch.load(tmp_path / "run.pt", weights_only=True)
    torch.save({**state, "version": state["version"] + 1}, tmp_path / "run.pt")
    other = Task(tmp_path / "run.pt")
    other.loop.run()
    assert other.epochs == [1, 2, 3, 4]


def test_training_needs_no_checkpoint():
    task = Task()
    task.loop.run()
    assert task.epochs == [1, 2, 3, 4]


def test_training_brings_the_loss_down():
    history = Task().loop.run().history
    assert history[-1]["loss"] < history[1]["loss"]
    assert history[-1]["score"] > history[0]["score"]


def test_history_starts_before_training_and_names_every_term():
    history = Task().loop.run().history
    assert [row["epoch"] for row in history] == [0, 1, 2, 3, 4]
    assert set(history[0]) == {"epoch", "score"}
    for row in history[1:]:
        assert set(row) == {"epoch", "score", "square", "size", "loss"}
        assert row["loss"] == pytest.approx(row["square"] + row["size"])


@pytest.mark.parametrize(("scores", "best"), [([0, 1, 5, 2, 3], 2), ([0, 4, 4, 1, 4], 1), ([0, 1, 2, 3, 4], 4)])
def test_the_best_epochs_weights_are_what_is_left(scores, best):
    task = Task(scores=scores)
    result = task.loop.run()
    assert result.best_epoch == best
    assert result.best["score"] == scores[best]
    assert torch.equal(task.weight, task.states[best])
    assert not torch.equal(task.states[best], task.states[best - 1])


def test_the_untrained_start_is_never_the_result():
    task = Task(scores=[9, 1, 2, 1, 1])
    assert task.loop.run().best_epoch == 2


def test_the_best_epoch_survives_a_kill(tmp_path):
    first = Task(tmp_path / "run.pt", scores=[0, 5, 1, 2, 3], kill_in=3)
    with pytest.raises(Killed):
        first.loop.run()
    second = Task(tmp_path / "run.pt", scores=[0, 5, 1, 2, 3])
    assert second.loop.run().best_epoch == 1
    assert torch.equal(second.weight, first.states[1])


def test_a_loss_that_is_not_finite_names_epoch_step_and_terms(tmp_path):
    task = Task(tmp_path / "run.pt", nan_at=5)  # three steps an epoch: the second step of the second epoch
    with pytest.raises(TrainingDiverged, match=r"student: loss is nan in epoch 2, step 2 \(square nan, size 0\.") as e:
        task.loop.run()
    assert "Lower student.lr" in str(e.value)
    assert str(tmp_path / "run.pt") in str(e.value)
    assert torch.load(tmp_path / "run.pt", weights_only=True)["epoch"] == 1
    assert torch.isfinite(task.weight).all()


def test_a_loss_of_infinity_stops_too():
    task = Task()
    task.loop.losses = lambda x: {"square": task.module(x).sum() * torch.inf}
    with pytest.raises(TrainingDiverged, match="epoch 1, step 1"):
        task.loop.run()


def test_an_epoch_without_a_full_batch_is_an_error():
    with pytest.raises(InputError, match=r"no full batch; lower student\.batch"):
        Task(steps=0).loop.run()

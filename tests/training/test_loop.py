import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from pipeline.errors import InputError
from pipeline.training.loop import CHECKPOINT_VERSION, Loop, TrainingDiverged, differentiate
from pipeline.training.schedule import warmup_cosine

TARGET = torch.tensor([1.0, -2.0, 3.0])
EPOCHS, STEPS = 4, 3
FULL = {"interval": 0.0, "average": 0.9, "max_norm": 1.0}
"""Saves after every step, averages weights and clips gradients."""


class Killed(Exception):
    pass


class Task:
    """Fit three numbers with noise of torch's own generator; can be killed before a step, and says what it did."""

    def __init__(self, checkpoint=None, kill_at=None, scores=None, steps=STEPS, broken=None, **changed):
        torch.manual_seed(0)
        self.module = nn.Linear(3, 1, bias=False)
        self.dropout = nn.Dropout(0.5)
        self.kill_at, self.scores, self.broken = kill_at, scores, broken or {}
        self.epoch, self.epochs = 0, []
        self.taken: list[tuple[int, int]] = []
        self.states: dict[int, torch.Tensor] = {}
        self.logged: list[list[int]] = []
        optimizer = torch.optim.AdamW(self.module.parameters(), lr=0.1)
        self.loop = Loop(**{
            "what": "student", "module": self.module, "optimizer": optimizer,
            "schedule": warmup_cosine(optimizer, warmup=2, steps=EPOCHS * steps), "epochs": EPOCHS, "seed": 5,
            "batches": self.batches, "backward": differentiate(self.losses), "validate": self.validate,
            "better": lambda new, old: new["score"] > old["score"], "steps": steps, "checkpoint": checkpoint,
            "fingerprint": "f", "name_batch": lambda batch: f"samples 8, 9 and {len(batch) + 2}",
            "log": lambda history: self.logged.append([row["epoch"] for row in history]), **changed,
        })  # fmt: skip

    @property
    def weight(self):
        return self.module.weight.detach().clone()

    def batches(self, epoch, done):
        self.epoch = epoch
        self.epochs.append(epoch)
        for i in range(done, self.loop.steps):
            if (epoch, i + 1) == self.kill_at:
                self.kill()
            self.taken.append((epoch, i + 1))
            yield torch.randn(8, 3)

    def kill(self):
        raise Killed

    def losses(self, x):
        error = self.module(self.dropout(x))[:, 0] - x @ TARGET
        square = (error * error).mean() * self.broken.get(self.taken[-1], 1.0)
        return {"square": square, "size": 0.01 * self.module.weight.pow(2).sum()}

    def validate(self, module):
        self.states[self.epoch] = weight = module.weight.detach().clone()
        score = self.scores[self.epoch] if self.scores else -float((weight - TARGET).abs().sum())
        return {"score": score}


def read(path):
    return torch.load(path, weights_only=True)


def assert_equal(found, wanted):
    """Equal bit for bit, tensors in any nesting."""
    assert type(found) is type(wanted)
    if isinstance(wanted, torch.Tensor):
        assert torch.equal(found, wanted)
    elif isinstance(wanted, dict):
        assert found.keys() == wanted.keys()
        for key in wanted:
            assert_equal(found[key], wanted[key])
    elif isinstance(wanted, list | tuple):
        assert len(found) == len(wanted)
        for a, b in zip(found, wanted, strict=True):
            assert_equal(a, b)
    else:
        assert found == wanted


PLACES = [(1, 1), (1, 2), (1, 3), (2, 1), (3, 2), (4, 3)]
SETTINGS = {
    "plain": {},
    "every step saved": {"interval": 0.0},
    "averaged and clipped": FULL,
    "averaged and clipped, epochs saved": {**FULL, "interval": 1e9},
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("setting", SETTINGS)
def test_a_killed_and_resumed_run_equals_an_uninterrupted_one_bit_for_bit(tmp_path, place, setting):
    whole = Task(tmp_path / "whole.pt", **SETTINGS[setting])
    result = whole.loop.run()

    first = Task(tmp_path / "killed.pt", kill_at=place, **SETTINGS[setting])
    with pytest.raises(Killed):
        first.loop.run()
    torch.manual_seed(123)  # another process begins with another state
    second = Task(tmp_path / "killed.pt", **SETTINGS[setting])
    if (tmp_path / "killed.pt").exists():
        nn.init.zeros_(second.module.weight)  # the checkpoint's are taken
    resumed = second.loop.run()

    assert resumed == result
    assert torch.equal(second.weight, whole.weight)
    assert_equal(read(tmp_path / "killed.pt"), read(tmp_path / "whole.pt"))
    every_step = SETTINGS[setting].get("interval") == 0
    wanted = [at for at in whole.taken if at >= (place if every_step else (place[0], 1))]
    assert second.taken == wanted, "steps that a checkpoint holds are not done again, all others are"


def test_a_run_killed_again_and_again_equals_an_uninterrupted_one(tmp_path):
    whole = Task(tmp_path / "whole.pt", **FULL)
    result = whole.loop.run()
    for place in PLACES:
        with pytest.raises(Killed):
            Task(tmp_path / "killed.pt", kill_at=place, **FULL).loop.run()
    last = Task(tmp_path / "killed.pt", **FULL)
    assert last.loop.run() == result
    assert last.taken == [(4, 3)]
    assert_equal(read(tmp_path / "killed.pt"), read(tmp_path / "whole.pt"))


def scaler(interval=2):
    return torch.amp.GradScaler("cpu", init_scale=8.0, growth_interval=interval)


def test_the_scale_of_float16_gradients_survives_a_kill(tmp_path):
    whole = Task(tmp_path / "whole.pt", scaler=scaler(), **FULL)
    result = whole.loop.run()
    assert whole.loop.scaler.get_scale() == 8 * 2 ** (EPOCHS * STEPS // 2)
    with pytest.raises(Killed):
        Task(tmp_path / "killed.pt", scaler=scaler(), kill_at=(2, 3), **FULL).loop.run()
    second = Task(tmp_path / "killed.pt", scaler=scaler(), **FULL)
    assert second.loop.run() == result
    assert second.loop.scaler.get_scale() == whole.loop.scaler.get_scale()
    assert torch.equal(second.weight, whole.weight)


def test_a_loss_that_is_not_finite_is_an_error_in_float16_too():
    with pytest.raises(TrainingDiverged, match="compute in float32 or bfloat16"):
        Task(scaler=scaler(), broken={(2, 1): torch.inf}).loop.run()


def test_scaled_gradients_take_the_same_steps():
    plain, scaled = Task(**FULL), Task(scaler=scaler(), **FULL)
    assert scaled.loop.run() == plain.loop.run()  # powers of two change no bit
    assert torch.equal(scaled.weight, plain.weight)


def test_a_finished_run_is_not_trained_again(tmp_path):
    first = Task(tmp_path / "run.pt", **FULL)
    result = first.loop.run()
    again = Task(tmp_path / "run.pt", **FULL)
    assert again.loop.run() == result
    assert (again.taken, again.states) == ([], {})
    assert torch.equal(again.weight, first.weight)


def test_a_checkpoint_of_another_fingerprint_is_not_used(tmp_path):
    Task(tmp_path / "run.pt", fingerprint="old").loop.run()
    other = Task(tmp_path / "run.pt", fingerprint="new")
    other.loop.run()
    assert other.epochs == [1, 2, 3, 4]
    assert read(tmp_path / "run.pt")["fingerprint"] == "new"


@pytest.mark.parametrize("version", [CHECKPOINT_VERSION - 1, CHECKPOINT_VERSION + 1])
def test_a_checkpoint_of_another_version_is_not_used(tmp_path, version):
    Task(tmp_path / "run.pt").loop.run()
    torch.save({"version": version, "fingerprint": "f", "something": "else"}, tmp_path / "run.pt")
    other = Task(tmp_path / "run.pt")
    other.loop.run()
    assert other.epochs == [1, 2, 3, 4]


def test_training_needs_no_checkpoint():
    task = Task(interval=0.0)
    task.loop.run()
    assert task.epochs == [1, 2, 3, 4]


def test_the_checkpoint_within_an_epoch_is_written_only_after_the_interval(tmp_path):
    for interval, saved in ((1e9, (2, 0)), (0.0, (2, 2))):
        with pytest.raises(Killed):
            Task(tmp_path / f"{interval}.pt", interval=interval, kill_at=(2, 3)).loop.run()
        state = read(tmp_path / f"{interval}.pt")
        assert (state["epoch"], state["done"]) == saved


def test_nothing_is_left_beside_the_checkpoint(tmp_path):
    Task(tmp_path / "runs" / "run.pt", **FULL).loop.run()
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["run.pt"]


def test_training_brings_the_loss_down():
    history = Task().loop.run().history
    assert history[-1]["loss"] < history[1]["loss"]
    assert history[-1]["score"] > history[0]["score"]


def test_history_starts_before_training_and_names_every_term():
    history = Task().loop.run().history
    assert [row["epoch"] for row in history] == [0, 1, 2, 3, 4]
    assert set(history[0]) == {"epoch", "score"}
    for row in history[1:]:
        assert set(row) == {"epoch", "score", "square", "size", "loss", "lr", "gradient_norm"}
        assert row["loss"] == pytest.approx(row["square"] + row["size"])
    assert history[-1]["lr"] == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(("scores", "best"), [([0, 1, 5, 2, 3], 2), ([0, 4, 4, 1, 4], 1), ([0, 1, 2, 3, 4], 4)])
@pytest.mark.parametrize("average", [0.0, 0.9])
def test_the_best_epochs_weights_are_what_is_left(scores, best, average):
    task = Task(scores=scores, average=average)
    result = task.loop.run()
    assert result.best_epoch == best
    assert result.best["score"] == scores[best]
    assert torch.equal(task.weight, task.states[best])
    assert not torch.equal(task.states[best], task.states[best - 1])


def test_the_untrained_start_is_never_the_result():
    task = Task(scores=[9, 1, 2, 1, 1])
    assert task.loop.run().best_epoch == 2


@pytest.mark.parametrize("average", [0.0, 0.9])
def test_the_best_epoch_survives_a_kill(tmp_path, average):
    given = {"scores": [0, 5, 1, 2, 3], "average": average, "interval": 0.0}
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


def test_the_log_is_told_every_epoch():
    task = Task()
    task.loop.run()
    assert task.logged == [[0], [0, 1], [0, 1, 2], [0, 1, 2, 3], [0, 1, 2, 3, 4]]


def new_rows(logged):
    """Epochs in the order in which a log that skips what it knows gets them."""
    known = []
    for history in logged:
        known += history[len(known) :]
    return known


@pytest.mark.parametrize("interval", [0.0, 1e9])
@pytest.mark.parametrize("place", [(1, 2), (3, 1), (3, 2)])
def test_after_resuming_the_log_is_told_what_it_missed_and_every_epoch_once(tmp_path, place, interval):
    first = Task(tmp_path / "run.pt", kill_at=place, interval=interval)
    with pytest.raises(Killed):
        first.loop.run()
    assert new_rows(first.logged) == list(range(place[0]))
    second = Task(tmp_path / "run.pt", interval=interval)
    second.loop.run()
    assert second.logged[0] == list(range(place[0]))
    assert new_rows(second.logged) == [0, 1, 2, 3, 4]
    assert len(second.logged) == 1 + 5 - place[0]


def test_begin_is_called_before_every_epoch_also_of_a_resumed_run(tmp_path):
    begun = []
    for kill_at in ((2, 2), None):
        task = Task(tmp_path / "run.pt", kill_at=kill_at, interval=0.0)
        task.loop.begin = lambda epoch, task=task: begun.append((epoch, len(task.taken)))
        if kill_at:
            with pytest.raises(Killed):
                task.loop.run()
        else:
            task.loop.run()
    assert begun == [(1, 0), (2, 3), (2, 0), (3, 2), (4, 5)]


class Counting:
    """w = 0 has the gradient -slope, and SGD of learning rate 1: w is slope * t after t steps."""

    def __init__(self, slope=1.0, **changed):
        self.module = nn.Linear(1, 1, bias=False)
        nn.init.zeros_(self.module.weight)
        self.slope, self.shown = slope, []
        optimizer = torch.optim.SGD(self.module.parameters(), lr=1.0)
        self.loop = Loop(**{
            "what": "student", "module": self.module, "optimizer": optimizer,
            "schedule": torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0), "epochs": 2, "seed": 0,
            "batches": lambda epoch, done: range(done, 2), "backward": differentiate(self.losses), "steps": 2,
            "validate": self.validate, "better": lambda new, old: True, **changed,
        })  # fmt: skip

    def losses(self, batch):
        return {"a": -0.25 * self.slope * self.module.weight.sum(), "b": -0.75 * self.slope * self.module.weight.sum()}

    def validate(self, module):
        self.shown.append(float(module.weight.detach()))
        return {}

    @property
    def weight(self):
        return float(self.module.weight.detach())


def test_without_averaging_the_last_weights_are_the_result():
    task = Counting()
    history = task.loop.run().history
    assert (task.weight, task.shown) == (4.0, [0.0, 2.0, 4.0])
    assert [row["loss"] for row in history[1:]] == [-0.5, -2.5]  # the means of 0, -1 and of -2, -3
    assert [row["b"] for row in history[1:]] == [-0.375, -1.875]


def test_the_result_is_the_moving_average_of_the_weights():
    task = Counting(average=0.5)
    task.loop.run()
    # Steps end at 1, 2, 3, 4; the average begins with the first: 1, (1 + 2) / 2, (1.5 + 3) / 2, (2.25 + 4) / 2.
    assert task.shown == [0.0, 1.5, 3.125]
    assert task.weight == 3.125


def test_gradients_are_scaled_down_to_the_largest_length():
    task = Counting(slope=10.0, max_norm=0.5)
    history = task.loop.run().history
    assert task.shown == pytest.approx([0.0, 1.0, 2.0], abs=1e-5)
    assert [row["gradient_norm"] for row in history[1:]] == [10.0, 10.0]


def test_short_gradients_are_left_as_they_are():
    task = Counting(slope=0.25, max_norm=0.5)
    task.loop.run()
    assert task.shown == [0.0, 0.5, 1.0]


def test_a_scaled_gradient_is_clipped_as_it_is_without_the_scale():
    task = Counting(slope=10.0, max_norm=0.5, scaler=scaler())
    assert [row["gradient_norm"] for row in task.loop.run().history[1:]] == [10.0, 10.0]
    assert task.shown == pytest.approx([0.0, 1.0, 2.0], abs=1e-5)


@pytest.mark.parametrize("max_norm", [0.0, 1.0])
@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")
def test_a_step_whose_float16_gradient_overflows_is_left_out_and_the_scale_is_halved(max_norm):
    task = Counting(scaler=scaler(interval=100), max_norm=max_norm, slope=0.5)

    def backward(batch, scaler):
        terms = differentiate(task.losses)(batch, scaler)
        if scaler.get_scale() == 8:
            task.module.weight.grad.fill_(torch.inf)
        return terms

    task.loop.backward = backward
    history = task.loop.run().history
    assert task.shown == pytest.approx([0.0, 0.5, 1.5])
    assert task.loop.scaler.get_scale() == 4.0
    if max_norm:
        assert history[1]["gradient_norm"] == 0.25  # the mean of none and 0.5


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("setting", ["plain", "averaged and clipped"])
def test_a_loss_that_is_not_finite_names_epoch_step_samples_and_terms(tmp_path, value, setting):
    saved = tmp_path / "run.pt"
    with pytest.raises(Killed):
        Task(saved, kill_at=(2, 2), **SETTINGS[setting]).loop.run()
    before = saved.read_bytes()
    task = Task(saved, broken={(2, 1): value, (2, 2): value}, **SETTINGS[setting])
    step = 2 if "interval" in SETTINGS[setting] else 1
    message = (
        rf"student: loss is {value} in epoch 2, step {step} \(square {value}, size 0\.\d+\), of samples 8, 9 and 10\."
    )
    with pytest.raises(TrainingDiverged, match=message) as error:
        task.loop.run()
    assert "Lower student.lr, raise its temperature" in str(error.value)
    assert "float32" not in str(error.value), "it is computed in float32"
    assert str(error.value).endswith(f"the last good checkpoint is {saved}")
    assert torch.isfinite(task.weight).all()
    assert saved.read_bytes() == before


def test_after_a_loss_that_was_not_finite_the_run_can_be_resumed(tmp_path):
    whole = Task(tmp_path / "whole.pt", **FULL)
    result = whole.loop.run()
    with pytest.raises(TrainingDiverged):
        Task(tmp_path / "run.pt", broken={(3, 2): torch.nan}, **FULL).loop.run()
    second = Task(tmp_path / "run.pt", **FULL)
    assert second.loop.run() == result
    assert second.taken[0] == (3, 2)


@pytest.mark.parametrize("max_norm", [0.0, 1.0])
def test_a_gradient_that_is_not_finite_breaks_neither_weights_nor_checkpoint(tmp_path, max_norm):
    task = Counting(checkpoint=tmp_path / "run.pt", interval=0.0, max_norm=max_norm)
    task.loop.backward = differentiate(lambda batch: {"root": task.module.weight.abs().sqrt().sum()})  # inf at w = 0
    with pytest.raises(TrainingDiverged):
        task.loop.run()
    assert task.weight == 0
    assert not (tmp_path / "run.pt").exists()


def test_terms_that_cancel_to_nan_stop_too():
    task = Counting()
    task.loop.backward = differentiate(
        lambda batch: {"up": task.module.weight.sum() + torch.inf, "down": task.module.weight.sum() - torch.inf}
    )
    with pytest.raises(TrainingDiverged, match=r"epoch 1, step 1 \(up inf, down -inf\)\. Lower"):
        task.loop.run()
    assert task.weight == 0


def test_an_error_without_a_checkpoint_names_none():
    with pytest.raises(TrainingDiverged) as error:
        Task(broken={(1, 1): torch.nan}).loop.run()
    assert "checkpoint" not in str(error.value)


def test_an_epoch_without_a_full_batch_is_an_error():
    with pytest.raises(InputError, match=r"no full batch; lower student\.batch"):
        Task(steps=0).loop.run()


# Real kills: a process ends itself with SIGKILL, so that no handler, no `finally` and no buffer of its own runs.


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def run_task(checkpoint, place, while_saving):
    task = Task(Path(checkpoint), kill_at=None if while_saving else place, **FULL)
    task.kill = die
    if while_saving:
        save = torch.save

        def torn(state, path):
            save(state, path)
            if (state["epoch"], state["done"]) == place:
                with Path(path).open("r+b") as stream:
                    stream.truncate(1000)
                die()

        torch.save = torn
    task.loop.run()


def run_student(checkpoint, kill_at_step):
    """Prints the hash of the weights; three steps an epoch."""
    from tiny_models import random_pixels, tiny_clip, unit_rows

    from pipeline.training import recipes
    from pipeline.training.batches import Pairs
    from pipeline.training.student import Student
    from pipeline.training.train import StudentTraining, train

    torch.set_num_threads(1)
    own, steps = recipes.RECIPES["preserving"], []

    def terms(b):
        steps.append(b)
        if len(steps) == kill_at_step:
            die()
        return own.terms(b)

    recipes.RECIPES["preserving"] = recipes.Recipe(terms)
    torch.manual_seed(0)
    student = Student(tiny_clip(), target_dimension=16, train_text=True, temperature="learnable")
    captions = [[f"{word} {i}" for word in ("cat", "dog")] for i in range(13)]
    pairs = Pairs(random_pixels(13), captions, unit_rows(26, 16), unit_rows(13, 16))
    how = StudentTraining(
        recipe="preserving", epochs=3, batch=4, lr=1e-3, weight_decay=0.1, weights={}, seed=2, chunk=2, layers=2,
        unfreeze=1, threads=2, **FULL,
    )  # fmt: skip
    score = {"val_text_to_image_recall@1": 0.5, "val_image_to_text_recall@1": 0.5}
    result = train(
        student, pairs, lambda clip: {**score, "weights": clip.model.visual.conv1.weight.sum().item()}, how,
        device="cpu", checkpoint=Path(checkpoint),
    )  # fmt: skip
    print(student.finished().weights, result.history, result.best_epoch, len(steps))


def process(call):
    """Run a call of this file's functions in a process of its own."""
    here = Path(__file__).parent
    path = os.pathsep.join(str(folder) for folder in (here, here.parent, here.parents[1]))
    return subprocess.run(
        [sys.executable, "-c", f"import test_loop; test_loop.{call}"], env=os.environ | {"PYTHONPATH": path},
        capture_output=True, text=True, timeout=300, cwd=here.parents[1],
    )  # fmt: skip


@pytest.mark.parametrize("while_saving", [False, True])
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL")
def test_a_process_killed_in_mid_epoch_goes_on_where_it_was(tmp_path, while_saving):
    whole = Task(tmp_path / "whole.pt", **FULL)
    result = whole.loop.run()
    ended = process(f"run_task({str(tmp_path / 'run.pt')!r}, (2, 2), {while_saving})")
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    state = read(tmp_path / "run.pt")
    assert (state["epoch"], state["done"]) == (2, 1)

    resumed = Task(tmp_path / "run.pt", **FULL)
    assert resumed.loop.run() == result
    assert resumed.taken[0] == (2, 2)
    assert torch.equal(resumed.weight, whole.weight)
    assert_equal(read(tmp_path / "run.pt"), read(tmp_path / "whole.pt"))


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL")
def test_a_student_whose_process_is_killed_in_mid_epoch_becomes_the_same(tmp_path):
    killed = process(f"run_student({str(tmp_path / 'run.pt')!r}, 5)")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    state = read(tmp_path / "run.pt")
    assert (state["epoch"], state["done"]) == (2, 1)
    both = process(
        f"run_student({str(tmp_path / 'run.pt')!r}, 0); test_loop.run_student({str(tmp_path / 'w.pt')!r}, 0)"
    )
    assert both.returncode == 0, both.stderr
    resumed, whole = (line for line in both.stdout.splitlines() if "resumed" not in line)
    assert (resumed.rsplit(" ", 1)[1], whole.rsplit(" ", 1)[1]) == ("5", "9")
    assert resumed.rsplit(" ", 1)[0] == whole.rsplit(" ", 1)[0]

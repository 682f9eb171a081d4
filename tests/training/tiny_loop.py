"""Trainings of a few numbers in the real loop, whose course is known."""

import torch
from torch import nn

from pipeline.training.loop import Loop, differentiate
from pipeline.training.schedule import warmup_cosine

TARGET = torch.tensor([1.0, -2.0, 3.0])
EPOCHS, STEPS = 4, 3
FULL = {"interval": 0.0, "ema_decay": 0.9, "max_grad_norm": 1.0}
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


SETTINGS = {
    "plain": {},
    "every step saved": {"interval": 0.0},
    "averaged and clipped": FULL,
    "averaged and clipped, epochs saved": {**FULL, "interval": 1e9},
}


def scaler(interval=2):
    return torch.amp.GradScaler("cpu", init_scale=8.0, growth_interval=interval)


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

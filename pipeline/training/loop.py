"""The training loop that teacher and student share: epochs, best epoch, early stop, averaged weights, exact resume."""

import copy
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from pipeline.errors import InputError
from pipeline.machine.progress import track
from pipeline.training import checkpoint
from pipeline.training.distributed import Group

B = TypeVar("B")

Figures = dict[str, float]
Terms = dict[str, Tensor]
"""Named loss terms, already weighted; their sum is minimised."""


class TrainingDiverged(InputError):
    """The loss, or its gradient, is no longer finite."""


@dataclass(frozen=True)
class Trained:
    """What a run leaves beside the weights.

    Attributes:
        history: figures of every epoch: `epoch` (0 is the start), mean loss terms, validation figures.
        best_epoch: whose weights were kept.
    """

    history: list[Figures]
    best_epoch: int

    @property
    def best(self) -> Figures:
        """Figures of the best epoch."""
        return next(row for row in self.history if row["epoch"] == self.best_epoch)


def differentiate(losses: Callable[[B], Terms]) -> Callable[[B, torch.amp.GradScaler], Terms]:
    """The `backward` of a loop whose loss is one graph: the terms of a batch, their gradients in `.grad`."""

    def backward(batch: B, scaler: torch.amp.GradScaler) -> Terms:
        terms = losses(batch)
        scaler.scale(torch.stack(list(terms.values())).sum()).backward()
        return terms

    return backward


@dataclass
class Loop(Generic[B]):
    """Train `module` for `epochs` epochs and end with the weights of its best one.

    A checkpoint holds everything that a step depends on: weights, optimizer, schedule, generators, and how many steps
    of the epoch are done. So a run killed at any moment and run again equals one that was not (bit for bit on CPU).

    Attributes:
        what: one word for progress and errors.
        module: what is trained; its state_dict is the result.
        batches: epoch (from 1) and steps to leave out, to its batches.
        backward: adds a batch's gradients to `.grad`, with its loss multiplied by the scaler; returns its terms.
        name_batch: says which samples a batch holds, for an error.
        begin: called before an epoch, before the first also; returns what the optimizer trains in it.
        max_grad_norm: gradients are scaled down to this Euclidean length; 0 for never.
        patience: epochs without a better one after which training stops; 0 for never.
        ema_decay: decay a step of an exponential moving average of the weights, which is then the result; 0 for none.
        scaler: of float16 gradients.
        group: the processes that train together; the first validates and saves.
        checkpoint: file for resuming, removed by nobody here; None for none.
        interval: seconds after which a checkpoint is written within an epoch; one is written after each epoch anyway.
        fingerprint: of everything the run depends on; a checkpoint of another one is not used.
        log: is given the history after every epoch, and after resuming.
    """

    what: str
    module: nn.Module
    optimizer: Optimizer
    schedule: LRScheduler
    epochs: int
    seed: int
    batches: Callable[[int, int], Iterable[B]]
    backward: Callable[[B, torch.amp.GradScaler], Terms]
    validate: Callable[[nn.Module], Figures]
    better: Callable[[Figures, Figures], bool]
    steps: int
    name_batch: Callable[[B], str] = lambda batch: ""
    begin: Callable[[int], None] = lambda epoch: None
    max_grad_norm: float = 0.0
    patience: int = 0
    ema_decay: float = 0.0
    scaler: torch.amp.GradScaler = field(default_factory=lambda: torch.amp.GradScaler("cpu", enabled=False))
    group: Group = field(default_factory=Group)
    checkpoint: Path | None = None
    interval: float = 600.0
    fingerprint: str = ""
    log: Callable[[list[Figures]], None] = lambda history: None
    history: list[Figures] = field(default_factory=list)
    best: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        self._averaged: AveragedModel | None = None
        if self.ema_decay:
            self._averaged = AveragedModel(self.module, multi_avg_fn=get_ema_multi_avg_fn(self.ema_decay))
        self._trained = [p for group in self.optimizer.param_groups for p in group["params"]]
        self._sums: dict[str, tuple[float, int]] = {}  # and of how many steps: a scaler may leave some out
        self._saved = time.monotonic()

    def run(self) -> Trained:
        """Train; afterwards `module` holds the best epoch's weights.

        Raises:
            TrainingDiverged: a loss or a gradient is NaN or infinite.
            InputError: an epoch has no step, or not all processes have the same checkpoint.
        """
        if self.steps == 0:
            raise InputError(f"{self.what}: an epoch has no full batch; lower {self.what}.batch or keep more samples")
        epoch, done = self._resume()
        if len(places := self.group.everywhere((epoch, done))) > 1:
            raise InputError(
                f"{self.what}: processes would go on from different (epoch, step): {sorted(places)}; let all machines "
                f"share DCLIP_HOME, or remove {self.checkpoint}"
            )
        if not self.history:
            self.history.append({"epoch": 0, **self.group.from_first(lambda: self.validate(self._result))})
        self.log(self.history)
        while epoch <= self.epochs and not self._stopped():
            self._epoch(epoch, done)
            epoch, done = epoch + 1, 0
        assert self.best is not None, "epochs is at least 1"
        self.module.load_state_dict(self.best["state"])
        return Trained(self.history, int(self.best["epoch"]))

    @property
    def _result(self) -> nn.Module:
        return self.module if self._averaged is None else self._averaged.module

    @property
    def _parts(self) -> dict[str, Any]:
        """All that has a state_dict, by the names that it has in a checkpoint."""
        models = {"module": self.module, "averaged": self._averaged}
        return {**models, "optimizer": self.optimizer, "schedule": self.schedule, "scaler": self.scaler}

    def _stopped(self) -> bool:
        since = self.history[-1]["epoch"] - (self.best["epoch"] if self.best else 0)
        return bool(self.patience and since >= self.patience)

    def _epoch(self, epoch: int, done: int) -> None:
        if done == 0:
            torch.manual_seed(self.seed * 100_003 + epoch)
            self._sums = {}
        self.begin(epoch)
        batches: Iterable[B] = self.batches(epoch, done)
        if self.group.first:
            title = f"{self.what}, epoch {epoch} of {self.epochs}"
            batches = track(batches, title, total=self.steps - done, unit="steps")
        for batch in batches:
            self._step(batch, epoch, done + 1)
            done += 1
            if done < self.steps and time.monotonic() - self._saved >= self.interval:
                self._save(epoch, done)
        means = {name: total / count for name, (total, count) in self._sums.items()}
        figures = self.group.from_first(lambda: self.validate(self._result))
        self.history.append({"epoch": epoch, **means, "lr": float(self.schedule.get_last_lr()[0]), **figures})
        if self.best is None or self.better(figures, self.best["figures"]):
            self.best = {"epoch": epoch, "figures": figures, "state": copy.deepcopy(self._result.state_dict())}
        self._save(epoch + 1, 0)
        self.log(self.history)

    def _step(self, batch: B, epoch: int, number: int) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        terms = self.backward(batch, self.scaler)
        self.scaler.unscale_(self.optimizer)
        norm = nn.utils.get_total_norm([p.grad for p in self._trained if p.grad is not None])
        *values, length = torch.stack([*(term.detach().float() for term in terms.values()), norm.float()]).tolist()
        named = dict(zip(terms, values, strict=True))
        if not math.isfinite(sum(values)):
            raise TrainingDiverged(self._advice("loss", sum(values), batch, named, epoch, number))
        if math.isfinite(length):
            self._add("gradient_norm", length)
        elif not self.scaler.is_enabled() or self.scaler.get_scale() < 1:
            # otherwise the scaler leaves the step out, and scales less from now on
            raise TrainingDiverged(self._advice("gradient", length, batch, named, epoch, number))
        if self.max_grad_norm:
            nn.utils.clip_grads_with_norm_(self._trained, self.max_grad_norm, norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.schedule.step()
        if self._averaged is not None:
            self._averaged.update_parameters(self.module)
        for name, value in named.items():
            self._add(name, value)
        self._add("loss", sum(values))

    def _add(self, name: str, value: float) -> None:
        total, count = self._sums.get(name, (0.0, 0))
        self._sums[name] = total + value, count + 1

    def _advice(self, what: str, found: float, batch: B, terms: Figures, epoch: int, number: int) -> str:
        parts = ", ".join(f"{name} {value:.4g}" for name, value in terms.items())
        saved = self.checkpoint is not None and self.checkpoint.is_file()
        samples = self.name_batch(batch)
        return (
            f"{self.what}: {what} is {found} in epoch {epoch}, step {number} ({parts})"
            + (f", of {samples}" if samples else "")
            + f". Lower {self.what}.lr, raise its temperature"
            + (" or compute in float32 or bfloat16" if self.scaler.is_enabled() else "")
            + (f"; the last good checkpoint is {self.checkpoint}" if saved else "")
        )

    def _save(self, epoch: int, done: int) -> None:
        """Write a checkpoint from which `epoch` goes on after `done` steps."""
        self._saved = time.monotonic()
        if self.checkpoint is None or not self.group.first:
            return
        state = {"epoch": epoch, "done": done, "sums": self._sums, "history": self.history, "best": self.best}
        state |= {name: None if part is None else part.state_dict() for name, part in self._parts.items()}
        state |= {"rng": torch.get_rng_state(), "cuda_rng": None}
        if torch.cuda.is_available():
            state["cuda_rng"] = torch.cuda.get_rng_state()
        checkpoint.write(self.checkpoint, self.fingerprint, state)

    def _resume(self) -> tuple[int, int]:
        """Read this run's checkpoint, if there is one: the epoch to go on with, and how many of its steps are done."""
        if self.checkpoint is None or (state := checkpoint.read(self.checkpoint, self.fingerprint)) is None:
            return 1, 0
        try:
            self._restore(state)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise InputError(
                f"{self.checkpoint} is whole, but does not fit this training ({error}); was it written by another "
                "version of torch? Remove it to begin anew"
            ) from error
        epoch, done = int(state["epoch"]), int(state["done"])
        if self.group.first:
            print(f"{self.what}: resumed after epoch {epoch - 1} and {done} steps from {self.checkpoint}")
        return epoch, done

    def _restore(self, state: dict[str, Any]) -> None:
        for name, part in self._parts.items():
            if part is not None:
                part.load_state_dict(state[name])
        self.history, self.best, self._sums = state["history"], state["best"], state["sums"]
        torch.set_rng_state(state["rng"])
        if state["cuda_rng"] is not None and torch.cuda.is_available():
            torch.cuda.set_rng_state(state["cuda_rng"])

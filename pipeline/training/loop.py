"""The training loop that teacher and student share: epochs, best epoch by validation, resume after a kill."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from pipeline import files
from pipeline.errors import InputError
from pipeline.progress import track

B = TypeVar("B")

CHECKPOINT_VERSION = 1


class TrainingDiverged(InputError):
    """The loss is no longer finite."""


@dataclass(frozen=True)
class Trained:
    """What a run leaves beside the weights.

    Attributes:
        history: figures of every epoch: `epoch` (0 is the start), mean loss terms, validation figures.
        best_epoch: whose weights were kept.
    """

    history: list[dict[str, float]]
    best_epoch: int

    @property
    def best(self) -> dict[str, float]:
        """Figures of the best epoch."""
        return next(row for row in self.history if row["epoch"] == self.best_epoch)


@dataclass
class Loop(Generic[B]):
    """Train `module` for `epochs` epochs and end with the weights of its best one.

    Every epoch starts from a seed of its own, so that a run resumed from its checkpoint equals an uninterrupted one.

    Attributes:
        what: one word for progress and errors.
        module: what is trained; its state_dict is the result.
        batches: epoch (from 1) to its batches.
        losses: a batch to its loss terms, already weighted; their sum is minimised.
        validate: the module's figures on validation data.
        better: whether the first figures are better than the second.
        checkpoint: file for resuming, removed by nobody here; None for none.
        fingerprint: of everything the run depends on; a checkpoint of another one is not used.
    """

    what: str
    module: nn.Module
    optimizer: Optimizer
    schedule: LRScheduler
    epochs: int
    seed: int
    batches: Callable[[int], Iterable[B]]
    losses: Callable[[B], dict[str, Tensor]]
    validate: Callable[[], dict[str, float]]
    better: Callable[[dict[str, float], dict[str, float]], bool]
    checkpoint: Path | None = None
    fingerprint: str = ""
    history: list[dict[str, float]] = field(default_factory=list)
    best: dict[str, Any] | None = None

    def run(self) -> Trained:
        """Train; afterwards `module` holds the best epoch's weights.

        Raises:
            TrainingDiverged: a loss is NaN or infinite.
        """
        start = self._resume()
        if start == 1:
            self.history.append({"epoch": 0, **self.validate()})
        for epoch in track(range(start, self.epochs + 1), self.what, unit="epochs"):
            torch.manual_seed(self.seed * 100_003 + epoch)
            means = self._epoch(epoch)
            figures = self.validate()
            self.history.append({"epoch": epoch, **means, **figures})
            if self.best is None or self.better(figures, self.best["figures"]):
                self.best = {"epoch": epoch, "figures": figures, "state": copy.deepcopy(self.module.state_dict())}
            self._save(epoch)
        assert self.best is not None, "epochs is at least 1"
        self.module.load_state_dict(self.best["state"])
        return Trained(self.history, int(self.best["epoch"]))

    def _epoch(self, epoch: int) -> dict[str, float]:
        sums: dict[str, float] = {}
        steps = 0
        for batch in self.batches(epoch):
            terms = self.losses(batch)
            loss = torch.stack(list(terms.values())).sum()
            value = loss.item()
            if not math.isfinite(value):
                parts = ", ".join(f"{name} {term.item():.4g}" for name, term in terms.items())
                saved = self.checkpoint is not None and self.checkpoint.is_file()
                raise TrainingDiverged(
                    f"{self.what}: loss is {value} in epoch {epoch}, step {steps + 1} ({parts}). "
                    f"Lower {self.what}.lr, or raise its temperature"
                    + (f"; the last good epoch is in {self.checkpoint}" if saved else "")
                )
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self.optimizer.step()
            self.schedule.step()
            steps += 1
            for name, term in {**terms, "loss": loss}.items():
                sums[name] = sums.get(name, 0.0) + term.item()
        if steps == 0:
            raise InputError(f"{self.what}: an epoch has no full batch; lower {self.what}.batch or keep more samples")
        return {name: value / steps for name, value in sums.items()}

    def _save(self, epoch: int) -> None:
        if self.checkpoint is None:
            return
        state = {
            "version": CHECKPOINT_VERSION, "fingerprint": self.fingerprint, "epoch": epoch, "history": self.history,
            "best": self.best, "module": self.module.state_dict(), "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
        }  # fmt: skip
        with files.whole(self.checkpoint) as temporary:
            torch.save(state, temporary)

    def _resume(self) -> int:
        if self.checkpoint is None or not self.checkpoint.is_file():
            return 1
        state = torch.load(self.checkpoint, weights_only=True, map_location="cpu")
        if (state["version"], state["fingerprint"]) != (CHECKPOINT_VERSION, self.fingerprint):
            return 1
        self.module.load_state_dict(state["module"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.history, self.best = state["history"], state["best"]
        print(f"{self.what}: resumed after epoch {state['epoch']} from {self.checkpoint}")
        return int(state["epoch"]) + 1

"""Train a student by a recipe."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from pipeline.clip.encode import Compute
from pipeline.clip.towers import Clip
from pipeline.distillation.best_epoch import is_better
from pipeline.distillation.layers import image_groups, trained, unfreeze
from pipeline.distillation.linear import procrustes
from pipeline.distillation.loader import Loader
from pipeline.distillation.pairs import Pairs, moved
from pipeline.distillation.step import Step
from pipeline.distillation.student import LinearTower, Student
from pipeline.errors import InputError
from pipeline.params.student import Student as Parameters
from pipeline.recipes import RECIPES
from pipeline.training.distributed import Group
from pipeline.training.loop import Figures, Loop, Trained
from pipeline.training.schedule import warmup_cosine

_LIMITS = ("epochs", "seed", "max_grad_norm", "patience", "ema_decay", "interval")
"""Attributes of `StudentTraining` that `Loop` has by the same names."""


@dataclass(frozen=True)
class StudentTraining:
    """How a student is trained; published values in brackets.

    Attributes:
        recipe: a name in `RECIPES`.
        epochs: passes over the images (2).
        batch: images a step, over all processes.
        lr: of AdamW (1e-6).
        weight_decay: of matrices.
        weights: factor of every loss term (1 each).
        seed: of order, captions and noise.
        captions: captions of an image in a step, at most (1); None for all.
        warmup: share of the steps in which the learning rate rises.
        max_grad_norm: gradients are scaled down to this length; 0 for never.
        micro_batch: images that go through a tower at once, for batches that do not fit; 0 for all.
        precision: of the towers' forwards: float32, bfloat16 or float16.
        layers: groups of the image tower that are trained, from the output; None for all.
        unfreeze: epochs after which one more group is trained; 0 for never.
        ema_decay: decay of the moving average of the weights, which is then the student; 0 for none.
        patience: epochs without a better one after which training stops; 0 for never.
        interval: seconds between checkpoints within an epoch.
        threads: that gather or decode batches.
    """

    recipe: str
    epochs: int
    batch: int
    lr: float
    weight_decay: float
    weights: Mapping[str, float]
    seed: int
    captions: int | None = 1
    warmup: float = 0.05
    max_grad_norm: float = 0.0
    micro_batch: int = 0
    precision: str = "float32"
    compiled: bool = False
    layers: int | None = None
    unfreeze: int = 0
    ema_decay: float = 0.0
    patience: int = 0
    interval: float = 600.0
    threads: int = 1

    @classmethod
    def from_parameters(cls, p: Parameters, *, seed: int, threads: int) -> StudentTraining:
        """What the section `student` of the parameters says; `all` is None."""
        changed: dict[str, Any] = {
            "seed": seed,
            "threads": threads,
            "weights": p.weights.model_dump(),
            "captions": None if p.captions == "all" else p.captions,
            "layers": None if p.layers == "all" else p.layers,
            "compiled": p.compile,
            "interval": p.checkpoint_seconds,
        }
        return cls(**changed, **{f.name: getattr(p, f.name) for f in fields(cls) if f.name not in changed})


def _steps(pairs: Pairs, training: StudentTraining, wanted: int | None, group: Group) -> int:
    if training.batch % group.size:
        raise InputError(
            f"student.batch is {training.batch}, which {group.size} processes cannot share evenly; expected a multiple"
        )
    steps = len(pairs.captions) // training.batch if wanted is None else wanted
    if steps * training.batch > len(pairs.captions):
        raise InputError(
            f"{training.recipe}: {len(pairs.captions)} images, expected {steps * training.batch} for {steps} steps "
            f"of {training.batch}; give it more images (sample.base_pairs) or lower student.batch"
        )
    return steps


def _solve(student: Student, pairs: Pairs, validate: Callable[[Clip], Figures], log: Callable[[Any], None]) -> Trained:
    """The closed form of a linear student: Procrustes between every caption and its image."""
    assert isinstance(student.towers, LinearTower)
    history: list[Figures] = [{"epoch": 0, **validate(student.finished())}]
    images, texts = (
        torch.from_numpy(np.asarray(v, dtype=np.float32)) for v in (pairs.pixels, pairs.caption_embeddings)
    )
    with torch.no_grad():
        student.towers.matrix.copy_(procrustes(images[torch.from_numpy(pairs.owner)], texts))
    history.append({"epoch": 1, **validate(student.finished())})
    log(history)
    return Trained(history, 1)


def train(
    student: Student,
    pairs: Pairs,
    validate: Callable[[Clip], Figures],
    training: StudentTraining,
    *,
    device: str,
    base_scale: float = 100.0,
    steps: int | None = None,
    group: Group | None = None,
    checkpoint: Path | None = None,
    fingerprint: str = "",
    log: Callable[[list[Figures]], None] = lambda history: None,
) -> Trained:
    """Train `student` in place by a recipe; it is left with the weights of the epoch that retrieves best on validation.

    Args:
        pairs: training data, with the recipe's targets; a linear student has the base's embeddings as pixels.
        validate: gives the figures by which the best epoch is chosen.
        base_scale: 1/tau of the base.
        steps: steps an epoch; by default every image once.
        fingerprint: of all inputs.
        log: is given the history after every epoch.

    Raises:
        InputError: too few images for a step, a batch that processes cannot share, or more layers than there are.
        TrainingDiverged: a loss is NaN or infinite.
    """
    recipe, group = RECIPES[training.recipe], group or Group()
    steps = _steps(pairs, training, steps, group)
    if recipe.terms is None:
        return _solve(student, pairs, validate, log)
    if recipe.shuffled:
        shuffled = [teacher.shuffled(training.seed) for teacher in pairs.teachers]
        pairs = replace(pairs, targets=moved(pairs.targets, training.seed), teachers=shuffled)
    optimizer = torch.optim.AdamW(student.parameter_groups(training.weight_decay), lr=training.lr, fused=True)
    forwards = Compute(device, training.precision, training.batch)
    shared: dict[str, Any] = {"micro_batch": training.micro_batch, "compiled": training.compiled, "compute": forwards}
    step = Step(student, recipe, training.weights, base_scale=base_scale, group=group, **shared)
    drawn = {name: getattr(training, name) for name in ("batch", "captions", "seed", "threads")}
    tokenize = student.clip.tokenize if student.train_text else None
    load = Loader(pairs, tokenize, per_image=recipe.target != "pair", group=group, device=device, **drawn)
    total = steps * training.epochs
    model: Any = student.clip.model
    if training.layers is not None:
        trained(model, training.layers)  # refuses more than there are

    thawed = 0

    def begin(epoch: int) -> None:
        nonlocal thawed
        if training.layers is None or isinstance(student.towers, LinearTower):
            return
        more = (epoch - 1) // training.unfreeze if training.unfreeze else 0
        now = min(training.layers + more, len(image_groups(model)))
        if now != thawed:
            thawed = now
            unfreeze(model, now)
            step.prepare()

    def figures(module: nn.Module) -> Figures:
        assert isinstance(module, Student)
        return validate(module.finished())

    schedule = warmup_cosine(optimizer, warmup=max(1, round(total * training.warmup)), steps=total)
    calls: dict[str, Any] = {"backward": step, "validate": figures, "begin": begin, "log": log, "better": is_better}
    calls["batches"] = lambda epoch, done: load(epoch, steps, done)
    calls["name_batch"] = lambda batch: ", ".join(batch.names)
    limits = {name: getattr(training, name) for name in _LIMITS}
    scaler = torch.amp.GradScaler(torch.device(device).type, enabled=training.precision == "float16")
    resumed: dict[str, Any] = {"checkpoint": checkpoint, "fingerprint": fingerprint, "scaler": scaler, "group": group}
    return Loop("student", student, optimizer, schedule, steps=steps, **calls, **limits, **resumed).run()

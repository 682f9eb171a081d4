"""Contrastive training on the sample's own pairs: how its small base CLIP comes to be, and its larger teachers.

Plain CLIP (Radford et al. 2021) with two changes that a small world asks for: captions repeat, so equal captions in a
batch are positives of each other; and an equal caption is encoded once a batch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from pipeline.clip.towers import Clip
from pipeline.disk import files
from pipeline.errors import InputError
from pipeline.machine.in_flight import TensorGroup, feed
from pipeline.training import objectives
from pipeline.training.loop import Loop, differentiate
from pipeline.training.schedule import warmup_cosine

SHIFT = 1 / 16
"""Share of its side by which a training image may be moved either way."""


@dataclass(frozen=True)
class Pretraining:
    """How a CLIP is trained.

    Attributes:
        epochs: passes over the pairs.
        batch: pairs a step.
        lr: highest learning rate of AdamW, reached after 100 steps, then cosine to zero.
        weight_decay: of AdamW.
        seed: of order and shifts.
        from_scratch: batch normalisation uses and learns the statistics of each batch. A CLIP that goes on from a
            trained one keeps that one's statistics: a step costs a quarter less.
    """

    epochs: int
    batch: int
    lr: float
    weight_decay: float
    seed: int
    from_scratch: bool


@dataclass(frozen=True)
class Runs:
    """Where trainings leave their checkpoints.

    Attributes:
        folder: with a folder for every training.
        code: stands for the code that a training depends on.
    """

    folder: Path
    code: str


@dataclass
class PairBatch(TensorGroup):
    """B images with a caption each.

    Attributes:
        pixels: uint8 [B, 3, side, side], moved a little.
        captions: int64 [T], the distinct captions by their numbers.
        places: int64 [B], each image's among them.
        positives: bool [B, B], equal captions.
    """

    pixels: Tensor
    captions: Tensor
    places: Tensor
    positives: Tensor


def shift(side: int, generator: torch.Generator) -> tuple[int, int]:
    """How far a batch is moved down and to the right, in pixels."""
    most = int(side * SHIFT)
    down, right = (most - int(v) for v in torch.randint(0, 2 * most + 1, (2,), generator=generator))
    return down, right


def shifted(pixels: Tensor, down: int, right: int) -> Tensor:
    """Move a batch, repeating its border; same shape."""
    side, most = pixels.shape[-1], max(abs(down), abs(right))
    padded = F.pad(pixels.float(), (most,) * 4, mode="replicate").to(pixels.dtype)
    return padded[:, :, most - down : most - down + side, most - right : most - right + side]


def pretrain(
    clip: Clip,
    pixels: NDArray[np.uint8],
    captions: Sequence[str],
    how: Pretraining,
    *,
    what: str,
    runs: Runs | None = None,
) -> list[dict[str, float]]:
    """Train both towers of a CLIP, from the weights and on the device that it has.

    A run that was killed goes on after its last epoch if it is given `runs`.

    Args:
        pixels: uint8 [n, 3, side, side].
        captions: one an image.
        what: the parameters' section, for progress and errors.

    Returns:
        `epoch` and mean `loss` of every epoch.

    Raises:
        InputError: fewer images than a batch, or the loss is no longer finite.
    """
    if len(pixels) < how.batch:
        raise InputError(f"{len(pixels)} base pairs, and a batch is {how.batch}: lower {what}.batch")
    model: Any = clip.model
    device = next(model.parameters()).device
    images = torch.from_numpy(pixels)
    number = {text: i for i, text in enumerate(dict.fromkeys(captions))}
    tokens = clip.tokenize(list(number)).to(device)
    caption_ids = torch.tensor([number[text] for text in captions])
    steps = len(images) // how.batch
    most = max(100.0, clip.scale)

    def drawn(epoch: int, done: int) -> Iterator[tuple[Tensor, tuple[int, int]]]:
        generator = torch.Generator().manual_seed(how.seed)
        for passed in range(1, epoch + 1):
            order = torch.randperm(len(images), generator=generator)
            for step, rows in enumerate(order.split(how.batch)[:steps]):  # what is left is seen in another epoch
                by = shift(images.shape[-1], generator)
                if passed == epoch and step >= done:
                    yield rows, by

    def load(given: tuple[Tensor, tuple[int, int]]) -> PairBatch:
        rows, by = given
        ids = caption_ids[rows]
        distinct, places = ids.unique(return_inverse=True)
        return PairBatch(shifted(images[rows], *by), distinct, places, ids[:, None] == ids[None, :])

    def losses(batch: PairBatch) -> dict[str, Tensor]:
        image = F.normalize(model.encode_image(clip.normalise(batch.pixels)), dim=-1)
        text = F.normalize(model.encode_text(tokens[batch.captions]), dim=-1)[batch.places]
        scale = model.logit_scale.exp().clamp(max=most)
        return {"contrastive": objectives.contrastive(image, text, scale, positives=batch.positives)}

    optimizer = torch.optim.AdamW(
        model.parameters(), lr=how.lr, weight_decay=how.weight_decay, betas=(0.9, 0.98), fused=True
    )
    total = how.epochs * steps
    schedule = warmup_cosine(optimizer, warmup=min(100, total // 10), steps=total)
    calls: dict[str, Any] = {"backward": differentiate(losses), "validate": lambda module: {}}
    calls["batches"] = lambda epoch, done: feed(str(device), load, drawn(epoch, done))
    calls["better"] = lambda new, old: True
    resumed: dict[str, Any] = {} if runs is None else _resumed(runs, clip, pixels, captions, how)
    model.train(how.from_scratch)
    limits: dict[str, Any] = {"epochs": how.epochs, "seed": how.seed, "steps": steps}
    trained = Loop(what, model, optimizer, schedule, **calls, **limits, **resumed).run()
    model.eval()
    return [{name: row[name] for name in ("epoch", "loss")} for row in trained.history[1:]]


def _resumed(
    runs: Runs, clip: Clip, pixels: NDArray[np.uint8], captions: Sequence[str], how: Pretraining
) -> dict[str, Any]:
    """The checkpoint of a training, and the fingerprint of all that it depends on."""
    fingerprint = files.fingerprint(
        code=runs.code,
        weights=clip.weights,
        architecture=clip.config,
        pixels=hashlib.sha256(np.ascontiguousarray(pixels).data).hexdigest(),
        captions=captions,
        how=asdict(how),
        device=str(next(clip.model.parameters()).device),
        threads=torch.get_num_threads(),
    )
    return {"checkpoint": runs.folder / fingerprint / "clip.pt", "fingerprint": fingerprint}

"""Contrastive pretraining from scratch: how the sample's small base CLIP comes to be.

Plain CLIP (Radford et al. 2021) with two changes that a small world asks for: captions repeat, so equal captions in a
batch are positives of each other; and an equal caption is encoded once a batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from pipeline.clip.towers import Clip, create
from pipeline.errors import InputError
from pipeline.machine.progress import track
from pipeline.training import objectives
from pipeline.training.schedule import warmup_cosine

SHIFT = 4
"""Pixels by which a training image may be moved either way."""


def shifted(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """Move a batch by up to `SHIFT` pixels, repeating its border; same shape."""
    dy, dx = (int(v) for v in torch.randint(0, 2 * SHIFT + 1, (2,), generator=generator))
    side = pixels.shape[-1]
    padded = F.pad(pixels.float(), (SHIFT,) * 4, mode="replicate").to(pixels.dtype)
    return padded[:, :, dy : dy + side, dx : dx + side]


def pretrain(
    config: dict[str, Any],
    pixels: NDArray[np.uint8],
    captions: Sequence[str],
    *,
    epochs: int,
    batch: int,
    lr: float,
    weight_decay: float,
    seed: int,
) -> tuple[Clip, list[dict[str, float]]]:
    """Train a CLIP from scratch on CPU.

    Args:
        config: open_clip configuration (`model_cfg`, `preprocess_cfg`).
        pixels: uint8 [n, 3, side, side].
        captions: one an image.
        epochs: passes over the images.
        batch: pairs a step.
        lr: highest learning rate of AdamW, reached after 100 steps, then cosine to zero.
        weight_decay: of AdamW.
        seed: of weights, order and shifts.

    Returns:
        the model, and `epoch` and mean `loss` of every epoch.

    Raises:
        InputError: fewer images than a batch.
    """
    if len(pixels) < batch:
        raise InputError(f"{len(pixels)} base pairs, and a batch is {batch}: lower models.clip.batch")
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    clip = create(config)
    model: Any = clip.model
    images = torch.from_numpy(pixels)
    number = {text: i for i, text in enumerate(dict.fromkeys(captions))}
    tokens = clip.tokenize(list(number))
    caption_ids = torch.tensor([number[text] for text in captions])
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=weight_decay, betas=(0.9, 0.98), fused=True)
    steps = epochs * (len(images) // batch)
    schedule = warmup_cosine(optimizer, warmup=min(100, steps // 10), steps=steps)
    history: list[dict[str, float]] = []
    model.train()
    for epoch in track(range(epochs), "pretrain CLIP", unit="epochs"):
        losses: list[float] = []
        order = torch.randperm(len(images), generator=generator)
        for rows in order.split(batch):
            if len(rows) < batch:
                continue  # the next epoch's order differs, so every image is seen
            ids = caption_ids[rows]
            distinct, inverse = ids.unique(return_inverse=True)
            image = F.normalize(model.encode_image(clip.normalise(shifted(images[rows], generator))), dim=-1)
            text = F.normalize(model.encode_text(tokens[distinct]), dim=-1)[inverse]
            scale = model.logit_scale.exp().clamp(max=100)
            loss = objectives.contrastive(image, text, scale, positives=ids[:, None] == ids[None, :])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
        history.append({"epoch": epoch + 1, "loss": float(np.mean(losses))})
    model.eval()
    return clip, history

"""The student: an open_clip model, a learnable or fixed temperature, and projections to the target's width."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.clip.towers import Clip, architecture, create

LEARNABLE = "learnable"
BASE = "base"
TEXT_PARTS = ("token_embedding", "positional_embedding", "transformer", "ln_final", "text_projection", "text")


class Student(nn.Module):
    """Two towers to be trained; always in eval mode, so BatchNorm keeps the statistics it came with.

    Args:
        clip: starting point; its model is trained in place.
        target_dimension: width of the teacher's targets.
        train_text: whether the text tower is trained; if not it is never run, and its embeddings are given.
        temperature: tau of InfoNCE, or `learnable` to start from the model's own.
    """

    def __init__(self, clip: Clip, *, target_dimension: int, train_text: bool, temperature: float | str) -> None:
        super().__init__()
        self.clip = clip
        model: Any = clip.model
        self.model = model
        self.train_text = train_text
        same = clip.dimension == target_dimension
        self.image_to_target = nn.Identity() if same else nn.Linear(clip.dimension, target_dimension, bias=False)
        self.text_to_target = nn.Identity() if same else nn.Linear(clip.dimension, target_dimension, bias=False)
        for name, parameter in model.named_parameters():
            parameter.requires_grad = train_text or name.split(".")[0] not in TEXT_PARTS
        if temperature != LEARNABLE:
            nn.init.constant_(model.logit_scale, math.log(1 / float(temperature)))
            model.logit_scale.requires_grad = False
        self.eval()

    def parameter_groups(self, weight_decay: float) -> list[dict[str, Any]]:
        """Trained parameters for AdamW; gains, biases and the temperature do not decay."""
        trained = [p for p in self.parameters() if p.requires_grad]
        return [
            {"params": [p for p in trained if p.ndim >= 2], "weight_decay": weight_decay},
            {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
        ]

    @property
    def scale(self) -> Tensor:
        """1/tau, at most 100 as in CLIP."""
        scale: Tensor = self.model.logit_scale.exp().clamp(max=100)
        return scale

    def encode_images(self, pixels: Tensor) -> Tensor:
        """uint8 [B, 3, side, side] -> unit [B, d]."""
        return F.normalize(self.model.encode_image(self.clip.normalise(pixels)), dim=-1)

    def encode_texts(self, tokens: Tensor) -> Tensor:
        """int64 [B, context] -> unit [B, d]."""
        return F.normalize(self.model.encode_text(tokens), dim=-1)

    def to_target(self, image: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
        """Both embeddings in the target's space, unit [B, d']."""
        return F.normalize(self.image_to_target(image), dim=-1), F.normalize(self.text_to_target(text), dim=-1)

    def text_parameters(self) -> Iterator[tuple[str, Tensor]]:
        """Name and value of every parameter of the text tower."""
        return ((n, p) for n, p in self.model.named_parameters() if n.split(".")[0] in TEXT_PARTS)


def start(init: str, base: Clip, seed: int) -> Clip:
    """The student's starting point: a copy of the base, or an open_clip architecture with fresh weights.

    Args:
        init: `base`, or an open_clip architecture name or .json file for a lightweight student with its own towers.
        base: the base CLIP, left as it is.
        seed: of fresh weights.
    """
    if init == BASE:
        return Clip(copy.deepcopy(base.model), copy.deepcopy(base.config))
    torch.manual_seed(seed)
    return create(architecture(init))

"""The student: an open_clip model, its temperature, and maps of its embeddings that only training needs."""

import copy
import math
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.clip.towers import Clip, architecture, create, normalised
from pipeline.distillation.linear import fold

LEARNABLE = "learnable"
FIRST_BIAS = -10.0
"""Of the sigmoid loss, where a model has none of its own (SigLIP, arXiv 2303.15343)."""
BASE = "base"
TEXT_PARTS = ("token_embedding", "positional_embedding", "transformer", "ln_final", "text_projection", "text")


class Towers(nn.Module):
    """Both towers of a CLIP in one forward, so that DistributedDataParallel and torch.compile see one module."""

    mean: Tensor
    std: Tensor

    def __init__(self, clip: Clip) -> None:
        super().__init__()
        self.model: Any = clip.model
        mean, std = clip.statistics()
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)

    def forward(self, images: Tensor, tokens: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """uint8 [B, 3, side, side], and int64 [C, context] or nothing, to unit float32 [B, d] and [C, d] or nothing."""
        image = F.normalize(self.model.encode_image(normalised(images, self.mean, self.std)).float(), dim=-1)
        if tokens is None:
            return image, None
        return image, F.normalize(self.model.encode_text(tokens).float(), dim=-1)


class LinearTower(nn.Module):
    """f_I = A f_I_CLIP / |A f_I_CLIP| on cached features; A starts as the identity."""

    def __init__(self, dimension: int) -> None:
        super().__init__()
        self.matrix = nn.Parameter(torch.eye(dimension))

    def forward(self, images: Tensor, tokens: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Unit float32 [B, d] of the base to unit [B, d]; there are no tokens, since the text tower is frozen."""
        return F.normalize((images @ self.matrix.T).float(), dim=-1), None


class Student(nn.Module):
    """Two towers to be trained; always in eval mode, so BatchNorm keeps the statistics it came with.

    Args:
        clip: starting point; its model is trained in place.
        base_dimension: width of the base, which its embeddings are mapped to where they are compared with the base's.
        target_dimension: width of the teacher's z where it is of another CLIP's features than the base's; f_I is mapped
            into that space by a matrix that is learnt, from the identity if it is as wide. None: the base's space.
        train_text: whether the text tower is trained; if not it is never run, and its embeddings are given.
        temperature: tau of InfoNCE, or `learnable` to start from the model's own.
        linear: train only a linear map of the image embeddings, on cached features; the towers are never run.
        language_dimension: width of the language model that f_T is mapped to by W_e, or None for no such map.
        concepts: how many concepts embeddings are classified into, or None.
        contrastive: `softmax`, or `sigmoid`, which has a bias to learn besides; it starts from the model's own.
    """

    def __init__(
        self,
        clip: Clip,
        *,
        base_dimension: int,
        target_dimension: int | None = None,
        train_text: bool,
        temperature: float | str,
        linear: bool = False,
        language_dimension: int | None = None,
        concepts: int | None = None,
        contrastive: str = "softmax",
    ) -> None:
        super().__init__()
        self.clip = clip
        self.train_text = train_text
        d, same = clip.dimension, clip.dimension == base_dimension
        self.image_to_base = nn.Identity() if same else nn.Linear(d, base_dimension, bias=False)
        self.text_to_base = nn.Identity() if same else nn.Linear(d, base_dimension, bias=False)
        self.image_to_target = self.image_to_base
        if target_dimension is not None:
            self.image_to_target = nn.Linear(d, target_dimension, bias=False)
            if target_dimension == d:
                nn.init.eye_(self.image_to_target.weight)
        self.to_language = None if language_dimension is None else nn.Linear(d, language_dimension, bias=False)
        self.to_concepts = None if concepts is None else nn.Linear(d, concepts)
        model: Any = clip.model
        learnable = temperature == LEARNABLE
        start = model.logit_scale.detach().clone() if learnable else torch.tensor(math.log(1 / float(temperature)))
        self.log_scale = nn.Parameter(start, requires_grad=learnable)
        self.most = max(math.log(100), float(model.logit_scale.detach()))
        own, first = getattr(model, "logit_bias", None), torch.full_like(start, FIRST_BIAS)
        self.bias = nn.Parameter(first if own is None else own.detach().clone()) if contrastive == "sigmoid" else None
        for name, parameter in model.named_parameters():
            text = name.split(".")[0] in TEXT_PARTS
            wanted = (train_text if text else not linear) and name not in ("logit_scale", "logit_bias")
            parameter.requires_grad &= wanted  # a fixed sin-cos position stays fixed
        self.towers: Towers | LinearTower = LinearTower(d) if linear else Towers(clip)
        self._unmapped = {k: v.clone() for k, v in model.state_dict().items()} if linear else {}
        self.eval()

    def parameter_groups(self, weight_decay: float) -> list[dict[str, Any]]:
        """All that is ever trained, for AdamW; gains, biases and the temperature do not decay."""
        trained = [p for p in self.parameters() if p.requires_grad]
        return [
            {"params": [p for p in trained if p.ndim >= 2], "weight_decay": weight_decay},
            {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
        ]

    @property
    def heads(self) -> list[nn.Parameter]:
        """What is trained beside the towers: temperature and projections."""
        in_towers = {id(p) for p in self.towers.parameters()}
        return [p for p in self.parameters() if p.requires_grad and id(p) not in in_towers]

    @property
    def scale(self) -> Tensor:
        """1/tau, held at 100 as in CLIP, or at the model's own above; the parameter is, or it would never come back."""
        with torch.no_grad():
            self.log_scale.clamp_(max=self.most)
        return self.log_scale.exp()

    def image_in_base(self, image: Tensor) -> Tensor:
        """Images in the base's space, unit [B, d']."""
        return F.normalize(self.image_to_base(image), dim=-1)

    def image_in_target(self, image: Tensor) -> Tensor:
        """Images in the space of the teacher's z, unit [B, d_z]."""
        return F.normalize(self.image_to_target(image), dim=-1)

    def text_in_base(self, text: Tensor) -> Tensor:
        """Texts likewise, unit [C, d']."""
        return F.normalize(self.text_to_base(text), dim=-1)

    def finished(self) -> Clip:
        """The CLIP as it is now, temperature and a linear map included; trained on, it changes."""
        model: Any = self.clip.model
        with torch.no_grad():
            model.logit_scale.copy_(self.log_scale.clamp(max=self.most))
            if self.bias is not None and model.logit_bias is not None:
                model.logit_bias.copy_(self.bias)
            if isinstance(self.towers, LinearTower):
                fold(model, self.towers.matrix, self._unmapped)
        return self.clip

    def text_parameters(self) -> Iterator[tuple[str, Tensor]]:
        """Name and value of every parameter of the text tower."""
        return ((n, p) for n, p in self.clip.model.named_parameters() if n.split(".")[0] in TEXT_PARTS)


def start(init: str, base: Clip, seed: int, device: str = "cpu") -> Clip:
    """The student's starting point: a copy of the base, or an open_clip architecture with fresh weights.

    Args:
        init: `base`, or an open_clip architecture name or .json file for a lightweight student with its own towers.
    """
    if init == BASE:
        found = Clip(copy.deepcopy(base.model), copy.deepcopy(base.config), base.tokenize)
    else:
        torch.manual_seed(seed)
        found = create(architecture(init))
    found.model.to(device)
    return found

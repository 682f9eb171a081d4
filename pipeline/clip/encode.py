"""Frozen forwards: one fixed batch shape, one compute dtype, unit-length float32 out.

Results differ in the last bits with the batch shape and the dtype, so both are arguments, stand in the fingerprint,
and the last batch is padded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from pipeline.clip.texts import tokens as tokens_of
from pipeline.clip.towers import Clip
from pipeline.errors import InputError
from pipeline.machine.batches import batches

CODE = "encode 1"
"""Raised whenever the same model gives other embeddings of the same input; `towers.CODE` for what it is given."""

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Compute:
    """Where and how frozen models run.

    Attributes:
        device: a torch device, such as `cpu` or `cuda`.
        dtype: `float32`, or the dtype of torch's autocast.
        batch: rows of every forward.
        workers: threads that decode images while the model computes; results do not depend on them.
    """

    device: str
    dtype: str
    batch: int
    workers: int = 1

    def autocast(self) -> torch.autocast:
        """The context a forward runs in."""
        kind = torch.device(self.device).type
        return torch.autocast(kind, dtype=DTYPES[self.dtype], enabled=self.dtype != "float32")


def _fixed(rows: Tensor, compute: Compute, forward: Callable[[Tensor], Tensor]) -> Tensor:
    n = len(rows)
    if n < compute.batch:
        rows = torch.cat([rows, rows[-1:].expand(compute.batch - n, *rows.shape[1:])])
    with torch.inference_mode(), compute.autocast():
        return forward(rows.to(compute.device))[:n].float().cpu()


def images(clip: Clip, pixels: Sequence[NDArray[np.uint8]] | NDArray[np.uint8], compute: Compute) -> Tensor:
    """Unit image embeddings of at most `compute.batch` images, uint8 [n, 3, side, side] -> float32 [n, d]."""
    model: Any = clip.model
    rows = torch.from_numpy(np.stack([np.asarray(p) for p in pixels]))
    return F.normalize(_fixed(rows, compute, lambda x: model.encode_image(clip.normalise(x))), dim=-1)


def texts(clip: Clip, strings: Sequence[str], compute: Compute) -> Tensor:
    """Unit text embeddings of any number of strings -> float32 [n, d]; each distinct string is encoded once.

    Raises:
        InputError: one is too long to be read (`texts.fault`).
    """
    model: Any = clip.model
    place = {s: i for i, s in enumerate(dict.fromkeys(strings))}
    found = [
        F.normalize(_fixed(tokens_of(clip, part), compute, model.encode_text), dim=-1)
        for part in batches(place, compute.batch)
    ]
    distinct = torch.cat(found) if found else torch.zeros(0, clip.dimension)
    return distinct[torch.tensor([place[s] for s in strings], dtype=torch.long)]


def check_tokens(clip: Clip) -> None:
    """Whether the tokens of a text have embeddings of their own.

    Raises:
        InputError: its text tower is not open_clip's transformer, ends in a class token, or reads other tokens.
    """
    tower: Any = getattr(clip.model, "text", clip.model)
    transformer = hasattr(tower, "ln_final") and isinstance(tower.text_projection, torch.nn.Parameter)
    if not transformer or getattr(tower, "cls_emb", None) is not None or not clip.reads_bpe:
        raise InputError(
            "token features need open_clip's own text transformer without a class token, and CLIP's tokens; take "
            "tokens out of features.spans, and set teacher.spans to phrases"
        )


def texts_with_tokens(clip: Clip, strings: Sequence[str], compute: Compute) -> tuple[Tensor, Tensor]:
    """Text embeddings and, in the same forward, every token's last hidden state through the text projection.

    Args:
        clip: a CLIP whose text tower is open_clip's transformer, and reads CLIP's tokens.
        strings: at most `compute.batch` captions.
        compute: where and how.

    Returns:
        unit float32 [n, d] and unit float32 [n, context_length, d]; position 0 is the start token.

    Raises:
        InputError: it is another one, as `check_tokens` says, or a string is too long to be read (`texts.fault`).
    """
    model: Any = clip.model
    check_tokens(clip)
    tower = getattr(model, "text", model)
    hidden: list[Tensor] = []
    hook = tower.ln_final.register_forward_hook(lambda module, inputs, output: hidden.append(output))
    try:
        pooled = F.normalize(_fixed(tokens_of(clip, strings), compute, model.encode_text), dim=-1)
    finally:
        hook.remove()
    with torch.inference_mode():
        tokens = hidden[0].float() @ tower.text_projection.float()
    return pooled, F.normalize(tokens[: len(strings)], dim=-1).cpu()

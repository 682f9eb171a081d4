"""Frozen forwards: one fixed batch shape, one compute dtype, unit-length float32 out.

Results differ in the last bits with the batch shape and the dtype, so both are arguments, stand in the fingerprint,
and the last batch is padded.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
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
from pipeline.machine.in_flight import collect, feed

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
        compiled: whether image towers are compiled (torch.compile), which changes the last bits, too.
    """

    device: str
    dtype: str
    batch: int
    workers: int = 1
    compiled: bool = False

    def autocast(self) -> torch.autocast:
        """The context a forward runs in."""
        kind = torch.device(self.device).type
        return torch.autocast(kind, dtype=DTYPES[self.dtype], enabled=self.dtype != "float32")


def _fixed(rows: Tensor, compute: Compute) -> Tensor:
    """A batch of the fixed shape: the last row is repeated."""
    missing = compute.batch - len(rows)
    return torch.cat([rows, rows[-1:].expand(missing, *rows.shape[1:])]) if missing > 0 else rows


def forward_images(clip: Clip, rows: Tensor, compute: Compute) -> Tensor:
    """The image tower's output for at most a batch of images: uint8 [n, 3, side, side] to float32 [n, d]."""
    with torch.inference_mode(), compute.autocast():
        return clip.embed_pixels(_fixed(rows, compute), compiled=compute.compiled)[: len(rows)].float()


def forward_texts(clip: Clip, rows: Tensor, compute: Compute) -> Tensor:
    """The text tower's output for at most a batch of texts: int64 [n, context_length] to float32 [n, d]."""
    model: Any = clip.model
    with torch.inference_mode(), compute.autocast():
        found: Tensor = model.encode_text(_fixed(rows, compute))[: len(rows)].float()
    return found


Images = Sequence[NDArray[np.uint8]] | NDArray[np.uint8]
"""At most a batch of images as a tower reads them, uint8 [3, side, side] each."""


def images_of(clip: Clip, parts: Iterable[Images], compute: Compute) -> Iterator[Tensor]:
    """Unit image embeddings of each part, float32 [n, d], in order.

    Parts are taken as far ahead as keeps a GPU busy (`machine.in_flight`).
    """
    stacked = feed(compute.device, lambda part: torch.from_numpy(np.stack([np.asarray(p) for p in part])), parts)
    for found in collect(compute.device, (forward_images(clip, rows, compute) for rows in stacked)):
        yield F.normalize(found, dim=-1)


def images(clip: Clip, pixels: Images, compute: Compute) -> Tensor:
    """Unit image embeddings of at most `compute.batch` images, uint8 [n, 3, side, side] -> float32 [n, d]."""
    (found,) = images_of(clip, [pixels], compute)
    return found


def texts_of(clip: Clip, parts: Iterable[Sequence[str]], compute: Compute) -> Iterator[Tensor]:
    """Unit text embeddings of each part, at most `compute.batch` strings, float32 [n, d], in order.

    Raises:
        InputError: one is too long to be read (`texts.fault`).
    """
    read = feed(compute.device, lambda part: tokens_of(clip, part), parts)
    for found in collect(compute.device, (forward_texts(clip, rows, compute) for rows in read)):
        yield F.normalize(found, dim=-1)


def texts(clip: Clip, strings: Sequence[str], compute: Compute) -> Tensor:
    """Unit text embeddings of any number of strings -> float32 [n, d]; each distinct string is encoded once.

    Raises:
        InputError: one is too long to be read (`texts.fault`).
    """
    place = {s: i for i, s in enumerate(dict.fromkeys(strings))}
    found = list(texts_of(clip, batches(place, compute.batch), compute))
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


def forward_texts_with_tokens(clip: Clip, rows: Tensor, compute: Compute) -> tuple[Tensor, Tensor]:
    """`forward_texts` and, in the same forward, every token's last hidden state through the text projection.

    Returns:
        float32 [n, d], and unit float32 [n, context_length, d].
    """
    model: Any = clip.model
    tower = getattr(model, "text", model)
    hidden: list[Tensor] = []
    hook = tower.ln_final.register_forward_hook(lambda module, inputs, output: hidden.append(output))
    try:
        pooled = forward_texts(clip, rows, compute)
    finally:
        hook.remove()
    with torch.inference_mode():
        tokens = hidden[0].float() @ tower.text_projection.float()
        return pooled, F.normalize(tokens[: len(rows)], dim=-1)


def texts_with_tokens_of(
    clip: Clip, parts: Iterable[Sequence[str]], compute: Compute
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Text embeddings of each part, at most `compute.batch` captions, and those of their tokens, in order.

    Args:
        clip: a CLIP whose text tower is open_clip's transformer, and reads CLIP's tokens.

    Returns:
        unit float32 [n, d], unit float32 [n, context_length, d], and int64 [n], the position of each end token; 0 is
        that of the start token.

    Raises:
        InputError: it is another one, as `check_tokens` says, or a string is too long to be read (`texts.fault`).
    """
    check_tokens(clip)

    def forward(rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        ends = rows.argmax(dim=1)  # the end token has the highest id
        return *forward_texts_with_tokens(clip, rows, compute), ends

    read = feed(compute.device, lambda part: tokens_of(clip, part), parts)
    for pooled, tokens, ends in collect(compute.device, map(forward, read)):
        yield F.normalize(pooled, dim=-1), tokens, ends


def texts_with_tokens(clip: Clip, strings: Sequence[str], compute: Compute) -> tuple[Tensor, Tensor]:
    """The same of at most `compute.batch` captions, without the places of ends."""
    ((pooled, tokens, _),) = texts_with_tokens_of(clip, [strings], compute)
    return pooled, tokens

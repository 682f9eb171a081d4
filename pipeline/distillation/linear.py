"""Linear maps of cached image features, and how to fold one into an open_clip image tower.

A map f -> W f of the embedding needs no layer of its own: every tower supported here ends in a linear layer, so W goes
into that layer's weights, and the model that is saved has the architecture it came with.
"""

from collections.abc import Mapping
from typing import Any

import torch
from open_clip.modified_resnet import ModifiedResNet
from open_clip.timm_model import TimmModel
from open_clip.transformer import VisionTransformer
from torch import Tensor, nn

from pipeline.errors import InputError

ROWS = 65_536
"""Rows that `procrustes` holds in float64 at once."""

PROJECTIONS = (
    (VisionTransformer, "proj", 1),
    (ModifiedResNet, "attnpool.c_proj.weight", 0),
    (TimmModel, "head.proj.weight", 0),
    (TimmModel, "head.mlp.fc2.weight", 0),
)
"""Class of an image tower, its last linear parameter, and which dimension of that is the embedding."""


def procrustes(images: Tensor, texts: Tensor) -> Tensor:
    """The rotation (or reflection) of the image embeddings that brings them closest to their texts.

    W = argmin ||images W^T - texts||_F^2 over W^T W = I, which is U V^T where U S V^T is the singular value
    decomposition of texts^T images (Schoenemann 1966). Where that has a rank below d, so for every n < d, W is one of
    several that are equally good.

    Args:
        images: unit float [n, d].
        texts: unit float [n, d]; row i belongs to row i of `images`.

    Returns:
        W, float32 [d, d], computed in float64: the new embedding of an image is W f.

    Raises:
        InputError: the shapes do not fit, there is no row, or a value is not finite.
    """
    if images.ndim != 2 or images.shape != texts.shape or len(images) == 0:
        raise InputError(
            f"images {list(images.shape)} and texts {list(texts.shape)}: expected one shape [n, d] for both, n > 0"
        )
    for name, rows in (("images", images), ("texts", texts)):
        broken = int((~rows.isfinite()).any(1).sum())
        if broken:
            raise InputError(f"{broken} of {len(rows)} rows of {name} hold NaN or infinity; expected unit vectors")
    pairs = zip(texts.split(ROWS), images.split(ROWS), strict=True)
    U, _, Vh = torch.linalg.svd(torch.stack([text.double().T @ image.double() for text, image in pairs]).sum(0))
    W: Tensor = (U @ Vh).float()
    return W


def image_projection(model: nn.Module) -> tuple[str, int]:
    """The last linear parameter of an open_clip image tower, whose output is the embedding.

    Returns:
        Its name in `model`, and which of its dimensions is the embedding.

    Raises:
        InputError: the tower does not end in a linear layer that is known here.
    """
    tower: Any = model.visual
    held = {name for name, _ in tower.named_parameters()}
    for kind, name, dimension in PROJECTIONS:
        if isinstance(tower, kind) and name in held:
            return f"visual.{name}", dimension
    supported = ", ".join(f"{kind.__name__} with {name}" for kind, name, _ in PROJECTIONS)
    raise InputError(f"image tower {type(tower).__name__} has no last linear layer known here; supported: {supported}")


def fold(model: nn.Module, matrix: Tensor, original: Mapping[str, Tensor]) -> None:
    """Make the image tower's output, before normalisation, `matrix` @ its output under `original`, in place.

    With the embedding as the first dimension of the projection P and of its bias b: P <- W P, b <- W b, in float64.
    Since it starts from `original`, doing it again changes nothing.

    Args:
        matrix: W, float [d, d].
        original: state dict that holds the projection before any map; a copy, as `model.state_dict()` itself shares
            its memory with the model.

    Raises:
        InputError: a tower that `image_projection` does not know, or shapes that do not fit.
    """
    name, dimension = image_projection(model)
    parameters = dict(model.named_parameters())
    width = parameters[name].shape[dimension]
    if matrix.shape != (width, width):
        raise InputError(f"matrix {list(matrix.shape)}: expected [{width}, {width}], as the model embeds in {width}")
    mapped = {name: dimension, name.removesuffix("weight") + "bias": 0}
    for part, axis in mapped.items():
        if part not in parameters:
            continue
        expected, found = parameters[part].shape, original[part].shape if part in original else None
        if found != expected:
            shape = "nothing" if found is None else list(found)
            raise InputError(f"original holds {shape} for {part}; expected {list(expected)}, as in the model")
        value = torch.tensordot(matrix.double(), original[part].to(matrix.device).double(), ([1], [axis]))
        with torch.no_grad():
            parameters[part].copy_(value.movedim(0, axis))

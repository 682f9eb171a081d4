"""Zero-shot classification: class weights from prompt templates, and accuracy on pictures by class."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from pipeline.clip import encode, pictures
from pipeline.clip.encode import Compute
from pipeline.clip.towers import Clip
from pipeline.errors import InputError
from pipeline.retrieval.metrics import SAME
from pipeline.zeroshot.sets import ZeroshotSet


def pixels(clip: Clip, data: ZeroshotSet, workers: int = 1) -> NDArray[np.uint8]:
    """Decode every picture for the tower by some threads, uint8 [n, 3, side, side]."""
    return np.stack(list(pictures.pixels(clip, data.paths, "zero-shot", workers)))


def embed(clip: Clip, data: ZeroshotSet, compute: Compute) -> Tensor:
    """Unit float32 [n, d] of every picture, a batch in memory at a time."""
    return pictures.embed(clip, data.paths, compute, "zero-shot")


def prompts(data: ZeroshotSet) -> list[str]:
    """Every class name in every template, class by class."""
    return [template.format(name) for name in data.names for template in data.templates]


def average(vectors: Tensor, data: ZeroshotSet) -> Tensor:
    """Class weights, unit float32 [classes, d]: the unit vectors of `prompts` averaged by class, normalised again."""
    return F.normalize(vectors.view(len(data.names), len(data.templates), -1).mean(dim=1), dim=-1)


def class_weights(clip: Clip, data: ZeroshotSet, compute: Compute) -> Tensor:
    """Class weights under a model, unit float32 [classes, d]."""
    return average(encode.texts(clip, prompts(data), compute), data)


def image_vectors(clip: Clip, rows: NDArray[np.uint8], compute: Compute) -> Tensor:
    """Unit float32 [n, d]."""
    starts = range(0, len(rows), compute.batch)
    return torch.cat([encode.images(clip, rows[i : i + compute.batch], compute) for i in starts])


def ranks(vectors: Tensor, weights: Tensor, data: ZeroshotSet) -> Tensor:
    """Place of every picture's own class among all classes, from 1, int64 [n].

    Ties count against the picture, and similarities within `metrics.SAME` of each other are ties, as in retrieval.

    Raises:
        InputError: an embedding is not finite.
    """
    for what, rows in (("picture", vectors), ("class", weights)):
        if not (finite := rows.isfinite().all(dim=1)).all():
            raise InputError(
                f"the embedding of {what} {int((~finite).int().argmax())} is not finite: the model has diverged"
            )
    similarity = vectors @ weights.T
    own = similarity.gather(1, torch.from_numpy(data.labels)[:, None])
    return (similarity >= own - SAME).sum(dim=1)


def hits(vectors: Tensor, weights: Tensor, data: ZeroshotSet) -> dict[str, NDArray[np.float64]]:
    """`top1` and `top5` of every picture, 0 or 1, float64 [n]."""
    rank = ranks(vectors, weights, data).numpy()
    return {f"top{k}": (rank <= k).astype(np.float64) for k in (1, 5)}


def accuracy(vectors: Tensor, weights: Tensor, data: ZeroshotSet, *, seen: bool | None) -> dict[str, float]:
    """Top-1, top-5 and mean per class over the pictures of seen, unseen or (None) all classes; all are candidates.

    Returns an empty dict if there is no such class. Ties count against the picture.
    """
    chosen = torch.from_numpy(data.seen[data.labels] == seen if seen is not None else np.ones_like(data.labels, bool))
    if not chosen.any():
        return {}
    labels, rank = torch.from_numpy(data.labels)[chosen], ranks(vectors, weights, data)[chosen]
    top1 = (rank <= 1).float()
    classes = labels.unique()
    per_class = torch.stack([top1[labels == c].mean() for c in classes])
    return {
        "top1": float(top1.mean()), "top5": float((rank <= 5).float().mean()),
        "mean_per_class": float(per_class.mean()), "classes": len(classes), "candidates": len(weights),
    }  # fmt: skip

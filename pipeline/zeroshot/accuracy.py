"""Zero-shot classification by embeddings alone: prompts and the class weights that they make, places and accuracy."""

import sys
from collections.abc import Iterable
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from pipeline.errors import InputError
from pipeline.retrieval.metrics import SAME
from pipeline.zeroshot.sets import ZeroshotSet

LAST = 5
"""The last place that is told apart."""
_ALIKE = 1e-5
"""Embeddings of classes no further apart are those of one text, but for rounding."""
_CELLS = 8_000_000
"""Similarities in memory at a time, 32 MB."""
_SHOWN = 5
"""Classes of a group, and groups, that are named."""


def prompts(data: ZeroshotSet) -> list[str]:
    """Every class name in every template, class by class."""
    return [template.format(name) for name in data.names for template in data.templates]


def average(embeddings: Tensor, data: ZeroshotSet) -> Tensor:
    """Class weights, unit float32 [classes, d]: the unit embeddings of `prompts` averaged by class, normalised again.

    Classes that read alike, and so have one embedding, are named on stderr.
    """
    weights = F.normalize(embeddings.view(len(data.names), len(data.templates), -1).mean(dim=1), dim=-1)
    if groups := alike(weights):
        _say_alike(tuple(tuple(f"{data.names[i]!r} (class {i})" for i in group) for group in groups))
    return weights


def alike(weights: Tensor) -> list[list[int]]:
    """Groups of two classes or more whose unit embeddings [classes, d] lie within `_ALIKE` of the same one of them."""
    rows = F.normalize(weights.double(), dim=-1)
    direction = torch.randn(rows.shape[1], dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    along, order = (rows @ F.normalize(direction, dim=0)).sort(
        stable=True
    )  # what lies close does so along any direction
    ends = torch.searchsorted(along, along + _ALIKE, right=True)
    free = torch.ones(len(rows), dtype=torch.bool)
    groups = []
    for start in (ends - torch.arange(len(rows)) > 1).nonzero().flatten().tolist():
        near = order[start : int(ends[start])]
        near = near[free[near] & ((rows[near] - rows[order[start]]).norm(dim=1) <= _ALIKE)]
        if free[order[start]] and len(near) > 1:
            free[near] = False
            groups.append(sorted(near.tolist()))
    return sorted(groups)


@cache
def _say_alike(groups: tuple[tuple[str, ...], ...]) -> None:
    """Said once of the same classes: they are measured with two models, or after every epoch."""

    def some(named: Iterable[str], between: str) -> str:
        first = list(named)
        return between.join(first[:_SHOWN]) + (f"{between}{len(first) - _SHOWN:,} more" if len(first) > _SHOWN else "")

    print(
        f"zero-shot classes that read alike to a model: {some((some(group, ' and ') for group in groups), '; ')}. No "
        "image tells them apart, so the first takes the images of all; give them other names in classes.json",
        file=sys.stderr,
    )


def ranks(embeddings: Tensor, weights: Tensor, data: ZeroshotSet) -> Tensor:
    """Place of every image's own class among all classes, from 1, int64 [n]; `LAST` + 1 for any place after that.

    As argmax has it, of equally similar classes the first comes first, so that each place has one class and a model
    that tells nothing apart is right as often as chance. Equal is what lies within `metrics.SAME` of the most similar
    class that has no place yet: a product of equal rows differs in the last bits with where they stand.

    Raises:
        InputError: an embedding is not finite.
    """
    for what, rows in (("image", embeddings), ("class", weights)):
        if not (finite := rows.isfinite().all(dim=1)).all():
            raise InputError(
                f"the embedding of {what} {int((~finite).int().argmax())} is not finite: the model has diverged"
            )
    labels, size = torch.from_numpy(data.labels), max(1, _CELLS // len(weights))
    parts = zip(embeddings.split(size), labels.split(size), strict=True)
    return torch.cat([_ranks(some @ weights.T, own) for some, own in parts])


def _ranks(similarity: Tensor, labels: Tensor) -> Tensor:
    """The same of some images, given float32 [n, classes]."""
    right = similarity.gather(1, labels[:, None])
    before = _count(similarity > right + SAME)  # all these have places before any class that is equal
    equal = _count(similarity >= right - SAME) - before
    found = (before + 1).clamp(max=LAST + 1)
    unclear = ((equal > 1) & (before < LAST)).nonzero().flatten()
    found[unclear] = _places(similarity[unclear], labels[unclear])
    return found


def _count(chosen: Tensor) -> Tensor:
    """How many of each row are true, int64 [n]: in numpy, which counts without making numbers of them."""
    return torch.from_numpy(np.count_nonzero(chosen.numpy(), axis=1))


def _places(similarity: Tensor, labels: Tensor) -> Tensor:
    """The same one place after the other, for images whose own class is equal to another; changes `similarity`."""
    found = torch.full_like(labels, LAST + 1)
    for place in range(1, min(LAST, similarity.shape[1]) + 1):
        equal = similarity >= similarity.max(dim=1, keepdim=True).values - SAME
        first = equal.int().argmax(dim=1)
        found[first == labels] = place
        similarity.scatter_(1, first[:, None], -torch.inf)
    return found


def hits(embeddings: Tensor, weights: Tensor, data: ZeroshotSet) -> dict[str, NDArray[np.float64]]:
    """`top1` and `top5` of every image, 0 or 1, float64 [n]."""
    rank = ranks(embeddings, weights, data).numpy()
    return {f"top{k}": (rank <= k).astype(np.float64) for k in (1, LAST)}


def accuracy(embeddings: Tensor, weights: Tensor, data: ZeroshotSet, *, seen: bool | None) -> dict[str, float]:
    """Top-1, top-5 and mean per class over the images of seen, unseen or (None) all classes; all are candidates.

    Returns an empty dict if there is no such class.
    """
    chosen = torch.from_numpy(data.seen[data.labels] == seen if seen is not None else np.ones_like(data.labels, bool))
    if not chosen.any():
        return {}
    labels, rank = torch.from_numpy(data.labels)[chosen], ranks(embeddings, weights, data)[chosen]
    top1 = (rank <= 1).float()
    classes = labels.unique()
    per_class = torch.stack([top1[labels == c].mean() for c in classes])
    figures = {"top1": float(top1.mean()), "top5": float((rank <= 5).float().mean())}
    figures["mean_per_class"] = float(per_class.mean())
    return figures | {"classes": len(classes), "candidates": len(weights)}

"""Base against student on the test data: retrieval both ways, zero-shot, and intervals of the difference."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pipeline.retrieval.bootstrap import Interval, drawn_means, interval
from pipeline.retrieval.metrics import KS, evaluate, summarise
from pipeline.zeroshot import accuracy
from pipeline.zeroshot.sets import ZeroshotSet

DIRECTIONS = ("text_to_image", "image_to_text")
PARTS = {"zeroshot": True, "zeroshot_unseen": False}
"""Parts of the zero-shot set, and whether their classes are seen in the corpora."""
PerQuery = Mapping[str, Mapping[str, NDArray[np.float64]]]
"""Figures of every query of both directions, as from `metrics.evaluate`."""

_RECALLS = tuple(f"recall@{k}" for k in KS)


@dataclass
class Embedded:
    """Test images and captions under one model: unit float32 [n, d] and [c, d]."""

    images: NDArray[np.float32]
    captions: NDArray[np.float32]

    @classmethod
    def from_halves(cls, images: NDArray[np.float16], captions: NDArray[np.float16]) -> Embedded:
        """The same, of float16 as tables hold it."""
        return cls(images.astype(np.float32), captions.astype(np.float32))


@dataclass
class Comparison:
    """What `compare` finds.

    Attributes:
        metrics: as in metrics.json: `base`, `student`, `difference`.
        per_query: by model the figures of every query.
    """

    metrics: dict[str, Any]
    per_query: Mapping[str, PerQuery]

    @property
    def ranks(self) -> dict[str, dict[str, NDArray[np.int64]]]:
        """By model and direction where retrieval places the best match of every query, from 1, int64 [queries]."""
        return {
            model: {direction: figures["rank"].astype(np.int64) for direction, figures in found.items()}
            for model, found in self.per_query.items()
        }


def query_images(direction: str, owner: NDArray[np.int64]) -> NDArray[np.int64]:
    """The image of every query of a direction, int64 [queries]; `owner` is that of each caption."""
    return owner if direction == "text_to_image" else np.arange(int(owner.max()) + 1)


def summary(found: PerQuery) -> dict[str, Any]:
    """`metrics.summarise` of each direction, and `rsum`, the sum of the six recalls."""
    figures: dict[str, Any] = {direction: summarise(found[direction]) for direction in DIRECTIONS}
    return figures | {"rsum": sum(figures[direction][name] for direction in DIRECTIONS for name in _RECALLS)}


def difference(base: PerQuery, other: PerQuery, owner: NDArray[np.int64], *, samples: int, seed: int) -> dict[str, Any]:
    """What `other` has more, of every figure of `summary` but ranks: `value`, and `low` to `high`, as of `interval`.

    Args:
        owner: int64 [captions], the image of each caption.
        samples: bootstrap samples; each draws images, the same for all figures of both directions.
    """
    found: dict[str, Any] = {}
    value, sums = 0.0, np.zeros(samples)
    for direction in DIRECTIONS:
        rows = {name: other[direction][name] - values for name, values in base[direction].items() if name != "rank"}
        means = drawn_means(rows, query_images(direction, owner), samples=samples, seed=seed)
        found[direction] = {name: interval(values.mean(), means[name]) for name, values in rows.items()}
        value += sum(found[direction][name]["value"] for name in _RECALLS)
        sums += sum(means[name] for name in _RECALLS)
    return found | {"rsum": interval(value, sums)}


def compare(base: Embedded, student: Embedded, owner: NDArray[np.int64], *, samples: int, seed: int) -> Comparison:
    """Retrieval of both models and the paired difference with its bootstrap interval over images.

    Args:
        base: embeddings of the test data.
        student: of the same data, rows in the same order.
        owner: int64 [captions], the image of each caption.
    """
    models = {"base": base, "student": student}
    found = {name: evaluate(model.images, model.captions, owner) for name, model in models.items()}
    metrics = {name: summary(figures) for name, figures in found.items()}
    metrics["difference"] = difference(found["base"], found["student"], owner, samples=samples, seed=seed)
    return Comparison(metrics, found)


Hits = Mapping[str, NDArray[np.float64]]
"""Whether every image is classified right, as from `accuracy.hits`."""


def zeroshot_difference(base: Hits, other: Hits, *, samples: int, seed: int) -> dict[str, Interval]:
    """What `other` has more of `top1` and `top5`, and the share of top1 that it `retained`, each as of `interval`.

    A share is left out where the base has nothing right in some of the draws.
    """
    rows = {name: other[name] - values for name, values in base.items()}
    given = {**rows, "base": base["top1"], "other": other["top1"]}
    means = drawn_means(given, np.arange(len(base["top1"])), samples=samples, seed=seed)
    found = {name: interval(values.mean(), means[name]) for name, values in rows.items()}
    if (means["base"] > 0).all():
        share = float(other["top1"].mean() / base["top1"].mean())
        found["retained"] = interval(share, means["other"] / means["base"])
    return found


def zeroshot_summary(images: Tensor, weights: Tensor, classes: ZeroshotSet) -> dict[str, dict[str, float]]:
    """Accuracy on every one of `PARTS` that has classes, as from `accuracy.accuracy`.

    Args:
        images: embeddings, [n, d].
        weights: of the classes, [classes, d].
    """
    found = {part: accuracy.accuracy(images, weights, classes, seen=seen) for part, seen in PARTS.items()}
    return {part: figures for part, figures in found.items() if figures}


def add_zeroshot(
    metrics: dict[str, Any],
    embedded: Mapping[str, tuple[Tensor, Tensor]],
    classes: ZeroshotSet,
    *,
    samples: int,
    seed: int,
) -> None:
    """Add `zeroshot` and `zeroshot_unseen` of `base`, of `student` with what it `retained`, and of their `difference`.

    Args:
        metrics: of `compare`. A share of nothing is not added.
        embedded: for each model its embeddings of the images, [n, d], and its class weights, [classes, d].
    """
    found = {name: accuracy.hits(*of_model, classes) for name, of_model in embedded.items()}
    for name, of_model in embedded.items():
        metrics[name] |= zeroshot_summary(*of_model, classes)
    for part, seen in PARTS.items():
        chosen = classes.seen[classes.labels] == seen
        if not chosen.any():
            continue
        base, student = ({name: rows[chosen] for name, rows in found[model].items()} for model in ("base", "student"))
        metrics["difference"][part] = zeroshot_difference(base, student, samples=samples, seed=seed)
        if before := metrics["base"][part]["top1"]:
            metrics["student"][part]["retained"] = metrics["student"][part]["top1"] / before

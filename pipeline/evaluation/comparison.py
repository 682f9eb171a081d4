"""Base against student on the test data: retrieval both ways, zero-shot, and intervals of the difference."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pipeline.retrieval.bootstrap import paired_intervals
from pipeline.retrieval.metrics import evaluate, summarise
from pipeline.zeroshot import classifier
from pipeline.zeroshot.sets import ZeroshotSet

DIRECTIONS = ("text_to_image", "image_to_text")


@dataclass
class Embedded:
    """Test pictures and captions under one model: unit float32 [n, d] and [c, d]."""

    images: NDArray[np.float32]
    captions: NDArray[np.float32]


@dataclass
class Comparison:
    """What `compare` finds.

    Attributes:
        metrics: as in metrics.json: `base`, `student`, `difference`.
        ranks: by model and direction where retrieval places the best match of every query, from 1, int64 [queries].
    """

    metrics: dict[str, Any]
    ranks: dict[str, dict[str, NDArray[np.int64]]]


def compare(base: Embedded, student: Embedded, owner: NDArray[np.int64], *, samples: int, seed: int) -> Comparison:
    """Retrieval of both models and the paired difference with its bootstrap interval over images.

    Args:
        base: embeddings of the test data.
        student: of the same data, rows in the same order.
        owner: int64 [captions], the picture of each caption.
        samples: bootstrap samples.
        seed: of the bootstrap.
    """
    of_base = evaluate(base.images, base.captions, owner)
    of_student = evaluate(student.images, student.captions, owner)
    query_image = {"text_to_image": owner, "image_to_text": np.arange(len(base.images))}
    difference = {
        way: paired_intervals(
            {name: values for name, values in of_base[way].items() if name != "rank"},
            of_student[way],
            query_image[way],
            samples=samples,
            seed=seed,
        )
        for way in DIRECTIONS
    }
    return Comparison(
        {
            "base": {way: summarise(of_base[way]) for way in DIRECTIONS},
            "student": {way: summarise(of_student[way]) for way in DIRECTIONS},
            "difference": difference,
        },
        {
            model: {way: of_model[way]["rank"].astype(np.int64) for way in DIRECTIONS}
            for model, of_model in (("base", of_base), ("student", of_student))
        },
    )  # fmt: skip


def add_zeroshot(metrics: dict[str, Any], embedded: Mapping[str, tuple[Tensor, Tensor]], classes: ZeroshotSet) -> None:
    """Add `zeroshot` and `zeroshot_unseen` of the models `base` and `student`, and what the student `retained`.

    Args:
        metrics: of `compare`.
        embedded: for each model its vectors of the pictures, [n, d], and its class weights, [classes, d].
        classes: the zero-shot set.
    """
    for name, (vectors, weights) in embedded.items():
        for part, seen in (("zeroshot", True), ("zeroshot_unseen", False)):
            if found := classifier.accuracy(vectors, weights, classes, seen=seen):
                metrics[name][part] = found
    for part in ("zeroshot", "zeroshot_unseen"):
        if part in metrics["student"]:
            before = metrics["base"][part]["top1"]
            metrics["student"][part]["retained"] = metrics["student"][part]["top1"] / before if before else 0.0

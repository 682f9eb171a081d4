"""All probes of several models side by side, and what students have more than the base."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.probes import concepts, images
from pipeline.probes.attributes import AttributeSet
from pipeline.probes.captions import NearMisses, Words
from pipeline.retrieval.bootstrap import paired_interval

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Embedded:
    """What one model makes of everything that is probed, unit float32 each.

    Attributes:
        training: the captions that train the text probes, [n, d].
        captions: the test captions, [c, d].
        images: the test images, [p, d]; None for a language model.
        attributes: the images with attributes, [a, d]; None for a language model.
    """

    training: Floats
    captions: Floats
    images: Floats | None = None
    attributes: Floats | None = None


@dataclass(frozen=True)
class Labels:
    """The language model's concepts.

    Attributes:
        training: of the captions that train the text probes, int32 [n, m].
        shares: of these, float32 [n, m].
        captions: the first one of every test caption, int64 [c].
        count: K.
    """

    training: NDArray[np.int32]
    shares: Floats
    captions: NDArray[np.int64]
    count: int


@dataclass(frozen=True)
class Task:
    """What is asked of the embeddings.

    Attributes:
        attributes: images with attributes.
        words: of captions.
        near_misses: among test captions; no figure comes of them if no test image has two captions.
        owner: the image of every test caption, int64 [c].
        labels: concepts, or None where there are none.
    """

    attributes: AttributeSet
    words: Words
    near_misses: NearMisses
    owner: NDArray[np.int64]
    labels: Labels | None


@dataclass
class Found:
    """What the probes say of one model.

    Attributes:
        parts: by probe and figure what every row adds, float64; a figure is the mean.
        attributes: area under the ROC curve of every attribute of `attributes.measurable`.
        words: of every word.
    """

    parts: dict[str, dict[str, NDArray[np.float64]]] = field(default_factory=dict)
    attributes: NDArray[np.float64] | None = None
    words: NDArray[np.float64] | None = None


def probe(model: Embedded, task: Task) -> Found:
    """All probes of one model."""
    found = Found()
    if model.attributes is not None:
        found.attributes, found.parts["attributes"] = images.read(model.attributes, task.attributes)
    found.words, of_captions = task.words.read(model.training, model.captions)
    found.parts["captions"] = dict(of_captions)
    if len(task.near_misses.queries):
        found.parts["captions"]["near_misses"] = task.near_misses.found(model.captions)
    if task.labels is not None and model.images is not None:
        known = task.labels
        directions = concepts.prototypes(model.training, known.training, known.shares, known.count)
        of_images, of_texts = (concepts.assign(rows, directions) for rows in (model.images, model.captions))
        found.parts["concepts"] = concepts.agreement(of_images, of_texts, known.captions, task.owner)
    return found


def compare(found: Mapping[str, Found], task: Task, *, samples: int, seed: int) -> dict[str, Any]:
    """Every model's figures, and what those that stem from the base have more.

    Args:
        found: of each model; `base` is one of them, `language` the language model.
        task: what was asked.
        samples: bootstrap samples.
        seed: of the bootstrap.

    Returns:
        by model, probe and figure a fraction; under `difference` by model, probe and figure `value`, `low` and `high`,
        a 95 % paired bootstrap interval over images.
    """
    metrics: dict[str, Any] = {
        model: {kind: {name: float(rows.mean()) for name, rows in of.items()} for kind, of in own.parts.items()}
        for model, own in found.items()
    }
    base = found["base"].parts
    metrics["difference"] = {
        model: {
            kind: {
                name: paired_interval(base[kind][name], rows, _images(kind, name, task), samples=samples, seed=seed)
                for name, rows in of.items()
            }
            for kind, of in own.parts.items()
        }
        for model, own in found.items()
        if model not in ("base", "language")
    }
    return metrics


def _images(kind: str, name: str, task: Task) -> NDArray[np.int64]:
    """The image that each row of a figure belongs to."""
    if kind == "attributes":
        return np.arange(int((~task.attributes.training).sum()))
    return task.owner[task.near_misses.queries] if name == "near_misses" else task.owner

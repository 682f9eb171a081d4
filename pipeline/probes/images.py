"""Attribute probe: which attributes of an image a linear probe reads from its embedding."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.probes.attributes import AttributeSet, measurable
from pipeline.probes.linear import areas, predict

EVERY = "all"
"""The figure over all attributes."""


def read(
    embeddings: NDArray[np.float32], data: AttributeSet
) -> tuple[NDArray[np.float64], dict[str, NDArray[np.float64]]]:
    """How well each attribute is read from embeddings of the test images.

    Args:
        embeddings: unit float32 [images, d], of training and test images.
        data: the same images.

    Returns:
        the area under the ROC curve of every attribute of `measurable`, and for every group, and for all, each test
        image's part in the group's mean area, float64 [test images] (see `linear.areas`).
    """
    chosen = measurable(data)
    labels = data.labels[:, chosen]
    scores = predict(embeddings[data.training], labels[data.training], embeddings[~data.training])
    found, parts = areas(scores, labels[~data.training])
    groups = np.array(data.groups)[chosen]
    of_groups = {group: parts[:, groups == group].mean(axis=1) for group in dict.fromkeys(groups.tolist()) if group}
    return found, {EVERY: parts.mean(axis=1)} | of_groups

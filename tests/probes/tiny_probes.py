"""Attributes, captions and concepts of a few images, and embeddings from which they can be read."""

from itertools import product
from pathlib import Path

import numpy as np
from tiny_models import unit_rows

from pipeline.probes.attributes import AttributeSet
from pipeline.probes.captions import NearMisses, Words
from pipeline.probes.measure import Embedded, Labels, Task

COMBINATIONS = np.array(list(product([False, True], repeat=3)))
"""Every way of having some of three labels and not the others, bool [8, 3]."""
NAMES = ["moon", "star", "tree"]
OWNER = np.array([0, 0, 1, 2, 2, 2, 3, 3, 4, 4, 5])
TRAINING = np.concatenate([COMBINATIONS, COMBINATIONS, COMBINATIONS, np.zeros((4, 3), dtype=bool)])
TEST = COMBINATIONS[[1, 2, 3, 4, 5, 6, 7, 0, 1, 4, 3]]


def signs(labels):
    """Unit vectors of which every label is a linear function: float32 [n, labels] of bool [n, labels]."""
    return (np.where(labels, 1, -1) / np.sqrt(labels.shape[1])).astype(np.float32)


def noisy(vectors, noise, seed):
    """Unit vectors near others, float32."""
    rows = vectors + noise * unit_rows(*vectors.shape, seed=seed)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def attribute_set(labels, training, groups=None):
    """Images that are nowhere, with attributes a0, a1 and so on."""
    labels = np.array(labels, dtype=bool)
    names = [f"a{j}" for j in range(labels.shape[1])]
    paths = [Path(f"{i}.jpg") for i in range(len(labels))]
    return AttributeSet(names, groups or [""] * len(names), paths, labels, np.array(training, dtype=bool))


ATTRIBUTES = attribute_set(np.tile(COMBINATIONS, (5, 1)), np.arange(40) < 16, ["shape", "colour", "shape"])


def captions(labels):
    """One a row of labels: the names of those that it has, after two words that all captions have."""
    return [" ".join(["the image", *(n for n, has in zip(NAMES, row, strict=True) if has)]) for row in labels]


def task(concepts=True):
    """Three words, three attributes, and, if wanted, three concepts."""
    first = np.where(TRAINING.any(axis=1), TRAINING.argmax(axis=1), 0)
    of_test = np.where(TEST.any(axis=1), TEST.argmax(axis=1), 0)
    labels = Labels(
        np.stack([first, (first + 1) % 3], axis=1).astype(np.int32),
        np.tile(np.float32([0.75, 0.25]), (len(first), 1)), of_test.astype(np.int64), 3,
    )  # fmt: skip
    return Task(
        ATTRIBUTES, Words.of(captions(TRAINING), captions(TEST), 10), NearMisses.of(captions(TEST), OWNER, 2),
        OWNER, labels if concepts else None,
    )  # fmt: skip


def model(noise, seed=0):
    """A CLIP's embeddings of all that: the more noise, the less can be read."""
    of_pictures = signs(TEST[[0, 2, 3, 6, 8, 10]])  # of the first caption of each
    return Embedded(*(
        noisy(rows, noise, 10 * seed + i)
        for i, rows in enumerate((signs(TRAINING), signs(TEST), of_pictures, signs(ATTRIBUTES.labels)))
    ))  # fmt: skip


def language(noise, seed=0):
    """A language model's: of captions alone."""
    whole = model(noise, seed)
    return Embedded(whole.training, whole.captions)

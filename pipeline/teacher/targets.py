"""The teacher's embeddings as a table: z of every image alone (caption_index -1) and with each of its captions."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipeline.artifacts.schema import embeddings
from pipeline.artifacts.tables import EmbeddingWriter
from pipeline.errors import InputError
from pipeline.teacher.data import FeatureSet
from pipeline.teacher.model import MetaTeacher
from pipeline.teacher.train import images_by_batches, means_of_pairs, pairs_by_batches

_IMAGES = 512
"""Images whose targets are in memory at a time."""


class _Rows:
    """The rows of batches, however many are wanted next."""

    def __init__(self, batches: Iterator[Tensor]) -> None:
        self._batches, self._left = batches, torch.empty(0, 0)

    def take(self, count: int) -> Tensor:
        """The next rows, [count, d]."""
        parts = [self._left] if len(self._left) else []
        while sum(map(len, parts)) < count:
            parts.append(next(self._batches))
        found = torch.cat(parts) if parts else self._left
        self._left = found[count:]
        return found[:count]


def write(teacher: MetaTeacher, features: FeatureSet, path: Path, metadata: dict[str, Any]) -> dict[str, float]:
    """Write (key, caption_index, z) for every image and every caption, in manifest order; some are in memory at a time.

    Raises:
        InputError: the teacher reads no images, and some have no caption.

    Returns:
        counts, and the mean cosine between an image's own target and its captions'.
    """
    if not features.reads_images and len(features.captioned) < len(features):
        raise InputError(
            "a teacher that reads no images has nothing to say of images without captions; set teacher.inputs to "
            "regions or image, or take sources.captions out"
        )
    all_pairs = _Rows(pairs_by_batches(teacher, features))
    all_images = _Rows(images_by_batches(teacher, features)) if features.reads_images else None
    keys, cosines = np.array(features.manifest.keys, dtype=object), []
    schema = embeddings("caption_index", dimension=features.dimension, name="z")
    with EmbeddingWriter(path, schema, metadata) as writer:
        for first in range(0, len(features), _IMAGES):
            start = features.caption_start[first : first + _IMAGES + 1]
            counts = np.diff(start)
            pairs = all_pairs.take(int(counts.sum()))
            alone = means_of_pairs(pairs, counts) if all_images is None else all_images.take(len(counts))
            owner = np.repeat(np.arange(len(counts)), counts)
            cosines.append((alone.numpy()[owner] * pairs.numpy()).sum(axis=1))
            order = np.argsort(np.concatenate([np.arange(len(counts)), owner]), kind="stable")  # each before its pairs
            index = np.concatenate([np.full(len(counts), -1), np.arange(len(owner)) - (start[:-1] - start[0])[owner]])
            every = np.concatenate([np.arange(len(counts)), owner])[order]
            writer.write(keys[first + every], index[order], torch.cat([alone, pairs]).numpy()[order])
    cosine = np.concatenate(cosines)
    return {"images": len(features), "pairs": len(cosine), "cosine_of_image_and_pair": float(cosine.mean())}

"""The teacher's embeddings as a table: z of every image alone (caption_index -1) and with each of its captions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from pipeline.artifacts.schema import embeddings
from pipeline.artifacts.tables import EmbeddingWriter
from pipeline.teacher.data import FeatureSet
from pipeline.teacher.model import MetaTeacher
from pipeline.teacher.train import embed_images, embed_pairs


def write(teacher: MetaTeacher, features: FeatureSet, path: Path, metadata: dict[str, Any]) -> dict[str, float]:
    """Write (key, caption_index, z) for every image and every caption, in manifest order.

    Returns:
        counts, and the mean cosine between an image's own target and its captions'.
    """
    alone = embed_images(teacher, features).numpy()
    pairs = embed_pairs(teacher, features).numpy()
    schema = embeddings("caption_index", dimension=features.dimension, name="z")
    with EmbeddingWriter(path, schema, metadata) as writer:
        for i, key in enumerate(features.manifest.keys):
            own = slice(int(features.caption_start[i]), int(features.caption_start[i + 1]))
            n = own.stop - own.start
            writer.write([key] * (1 + n), range(-1, n), np.concatenate([alone[i : i + 1], pairs[own]]))
    owner = np.repeat(np.arange(len(alone)), np.diff(features.caption_start))
    cosine = float((alone[owner] * pairs).sum(axis=1).mean())
    return {"images": len(alone), "pairs": len(pairs), "cosine_of_image_and_pair": cosine}

"""The teacher's embeddings as a table: z of every image alone (caption_index -1) and with each of its captions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.artifacts.manifest import Manifest
from pipeline.artifacts.schema import vectors
from pipeline.artifacts.tables import ContractError, Table, VectorWriter, check_unit, offsets
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
    schema = vectors("caption_index", dimension=features.dimension, name="z")
    with VectorWriter(path, schema, metadata) as writer:
        for i, key in enumerate(features.manifest.keys):
            own = slice(int(features.caption_start[i]), int(features.caption_start[i + 1]))
            n = own.stop - own.start
            writer.write([key] * (1 + n), range(-1, n), np.concatenate([alone[i : i + 1], pairs[own]]))
    owner = np.repeat(np.arange(len(alone)), np.diff(features.caption_start))
    cosine = float((alone[owner] * pairs).sum(axis=1).mean())
    return {"images": len(alone), "pairs": len(pairs), "cosine_of_image_and_pair": cosine}


class Targets:
    """The targets of a manifest, checked: count, keys, finite, unit length.

    Args:
        path: the table.
        manifest: whose samples it must hold, one image target and one a caption each, in this order.
        **expected: metadata that must stand in it.

    Raises:
        ContractError: anything of that fails, naming both sides.
    """

    def __init__(self, path: Path, manifest: Manifest, **expected: Any) -> None:
        table = Table(path, manifest=manifest.fingerprint, **expected)
        rows = table.vectors("z")
        start = offsets(table.strings("key"), manifest.keys, str(path))
        for key, texts, found in zip(manifest.keys, manifest.captions, np.diff(start), strict=True):
            if found != 1 + len(texts):
                raise ContractError(f"{path}: {found} targets of {key}, expected {1 + len(texts)}")
        wanted = np.concatenate([np.arange(-1, len(texts)) for texts in manifest.captions])
        if not np.array_equal(table.integers("caption_index"), wanted):
            raise ContractError(
                f"{path}: caption_index does not count from -1 within every key; run: dvc repro -sf targets"
            )
        check_unit(table, "z")
        self.metadata = table.metadata
        self.table = table
        alone = wanted == -1
        self.images: NDArray[np.float16] = rows[alone]
        """float16 [n, d], a row an image."""
        self.pairs: NDArray[np.float16] = rows[~alone]
        """float16 [c, d], a row a caption."""

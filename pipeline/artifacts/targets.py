"""The meta-teacher's embeddings as its readers see them: z of every image alone, and with each of its captions."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.artifacts.manifest import Manifest
from pipeline.artifacts.tables import ContractError, Table, check_unit, offsets


class Targets:
    """The targets of a manifest, checked: count, keys, finite, unit length.

    The table holds of every sample of the manifest one target of the image, then one of each caption, in this order.

    Raises:
        ContractError: anything of that fails, naming both sides.
    """

    def __init__(self, table: Table, manifest: Manifest) -> None:
        path = table.path
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

"""Which rows of every table are computed anew, and the images that they are computed from."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.artifacts.tables import Table
from pipeline.images import decoding
from pipeline.store import keys
from pipeline.verification.artefacts import Artefacts


class Drawn:
    """A sample of a data folder's rows.

    Args:
        sample: rows of every table (images, for regions).
        zeroshot: where the zero-shot set is.

    Attributes:
        rows: of the manifest, ascending.
    """

    def __init__(self, artefacts: Artefacts, *, sample: int, seed: int, zeroshot: Path) -> None:
        self.artefacts, self.zeroshot, self.sample = artefacts, zeroshot, sample
        self.rng = np.random.default_rng(seed)
        self.rows = self.of(len(artefacts.manifest))
        self.captions = artefacts.manifest.texts

    def of(self, count: int) -> NDArray[np.int64]:
        """Rows of a table of so many, ascending, others at every call."""
        return np.sort(self.rng.choice(count, size=min(self.sample, count), replace=False))

    @cached_property
    def images(self) -> dict[int, Image.Image]:
        """The sampled images by their row of the manifest."""
        pairs = zip(self.rows, self.artefacts.manifest.images("read sampled images", self.rows), strict=True)
        return {int(row): decoding.decode(data) for row, (_, data) in pairs}

    def key(self, row: int) -> str:
        """The key of a sample, by its row of the manifest."""
        return self.artefacts.manifest.keys[row]

    def image_key(self, row: int) -> bytes:
        """The key of its image in the feature store."""
        return keys.unpack(self.artefacts.manifest.image_keys[row : row + 1])[0]


def named(table: Table, rows: NDArray[np.int64]) -> list[str]:
    """Rows of a caption's, by image, caption and, if it has one, span."""
    owner, index = table.strings("key"), table.integers("caption_index")
    spans = table.integers("span_index") if "span_index" in table.columns.schema.names else None
    names = [f"{owner[i]} caption {index[i]}" for i in rows.tolist()]
    return names if spans is None else [f"{name} span {spans[i]}" for name, i in zip(names, rows, strict=True)]

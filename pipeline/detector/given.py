"""Boxes that were given with training images, in place of what the detector would find there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from pipeline.artifacts import catalog, columns
from pipeline.artifacts.manifest import Manifest
from pipeline.detector.detect import Box, best_first
from pipeline.disk import files
from pipeline.errors import InputError
from pipeline.store import keys


class GivenBoxes(Mapping[bytes, list[Box]]):
    """The boxes of training images that have any, by the key of the image in the feature store, the best first.

    Attributes:
        fingerprint: stands for all of them.

    Raises:
        ContractError: they are of another curation.
        InputError: there are none.
    """

    def __init__(self, training: Manifest) -> None:
        table, self._start = columns.read(catalog.GIVEN_BOXES, training, "box", "score", "phrase")
        self._table = table.combine_chunks()
        some = np.flatnonzero(np.diff(self._start))
        if not len(some):
            raise InputError(
                "regions.boxes is given, and no training image was given a box; name a file of them in sources.columns "
                "(docs/columns.md), or set it to detector"
            )
        self._row = dict(zip(keys.unpack(training.image_keys[some]), some.tolist(), strict=True))
        self.fingerprint = files.sha256(training.folder / catalog.GIVEN_BOXES.name)[:32]

    def __len__(self) -> int:
        return len(self._row)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._row)

    def __contains__(self, image: object) -> bool:
        return image in self._row

    def __getitem__(self, image: bytes) -> list[Box]:
        row = self._row[image]
        part = self._table.slice(int(self._start[row]), int(self._start[row + 1] - self._start[row]))
        given = (part[name].to_pylist() for name in ("box", "score", "phrase"))
        return best_first(Box((c[0], c[1], c[2], c[3]), score, name) for c, score, name in zip(*given, strict=True))

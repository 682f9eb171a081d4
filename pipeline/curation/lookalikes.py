"""Which of the images seen so far may show the same image: exact Hamming radius search, then a sketch in colour."""

from __future__ import annotations

from collections.abc import Sequence

import faiss
import numpy as np
from numpy.typing import NDArray

from pipeline.curation.alignment import MAX_SHADE
from pipeline.curation.inspection import Inspection

SKETCH_LIMIT = 12.0
"""Mean difference of two sketches, in grey levels, above which they are not the same image. Of 1,700 copies of
photographs, cropped by up to 3 % of every side, the largest was 10; of pairs of photographs the median is 66."""
_PAIRS = 1 << 16
"""Sketches compared at a time: 12 MB each side."""


class Lookalikes:
    """Every image seen, numbered in the order of `add`, by 64-bit perceptual hash and sketch: 200 bytes each.

    Args:
        radius: largest Hamming distance of two hashes, inclusive.
    """

    def __init__(self, radius: int) -> None:
        self.radius = radius
        self._index = faiss.IndexBinaryFlat(64)
        self._codes = np.empty((1024, 8), np.uint8)
        self._sketches = np.empty((1024, 192), np.uint8)

    def __len__(self) -> int:
        return int(self._index.ntotal)

    def add(self, images: Sequence[Inspection]) -> None:
        """Add images; the first gets the number `len(self)`."""
        start, end = len(self), len(self) + len(images)
        while end > len(self._codes):
            self._codes = np.concatenate([self._codes, np.empty_like(self._codes)])
            self._sketches = np.concatenate([self._sketches, np.empty_like(self._sketches)])
        for row, image in enumerate(images, start):
            self._codes[row] = np.frombuffer(image.phash.to_bytes(8, "big"), np.uint8)
            self._sketches[row] = np.frombuffer(image.sketch, np.uint8)
        self._index.add(self._codes[start:end])

    def before(self, start: int) -> list[dict[int, int]]:
        """For every image from number `start` on, those before it that may show the same.

        Returns:
            for each, hash distance by number, in the order of the numbers.
        """
        found: list[dict[int, int]] = [{} for _ in range(start, len(self))]
        if not found:
            return found
        # FAISS finds what is strictly nearer than its radius.
        limits, distances, numbers = self._index.range_search(self._codes[start : len(self)], self.radius + 1)
        queries = np.repeat(np.arange(start, len(self)), np.asarray(limits[1:] - limits[:-1], np.int64))
        earlier = np.flatnonzero(numbers < queries)
        queries, numbers, distances = queries[earlier], numbers[earlier], distances[earlier]
        close = self._close(queries, numbers)
        queries, numbers, distances = queries[close], numbers[close], distances[close]
        for i in np.lexsort((numbers, queries)):
            found[int(queries[i]) - start][int(numbers[i])] = int(distances[i])
        return found

    def _close(self, a: NDArray[np.int64], b: NDArray[np.int64]) -> NDArray[np.bool_]:
        close = np.zeros(len(a), bool)
        for i in range(0, len(a), _PAIRS):
            part = slice(i, i + _PAIRS)
            difference = (self._sketches[a[part]].astype(np.int16) - self._sketches[b[part]]).reshape(-1, 64, 3)
            shade = np.clip(difference.mean(axis=1, keepdims=True), -MAX_SHADE, MAX_SHADE)  # of the whole image
            close[part] = np.abs(difference - shade).mean(axis=(1, 2), dtype=np.float32) <= SKETCH_LIMIT
        return close

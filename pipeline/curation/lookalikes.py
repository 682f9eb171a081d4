"""Which of the images seen so far may show the same image: exact Hamming radius search, then a sketch in colour."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.curation.alignment import MAX_SHADE
from pipeline.curation.inspection import Inspection
from pipeline.curation.nearby import NearbyCodes

SKETCH_LIMIT = 12.0
"""Mean difference of two sketches, in grey levels, above which they are not the same image. Of 1,700 copies of
photographs, cropped by up to 3 % of every side, the largest was 10; of pairs of photographs the median is 66."""
MOST = 256
"""Images that one image is compared with, at most: those with the nearest hashes."""
_PAIRS = 1 << 16
"""Sketches compared at a time: 12 MB each side."""
_QUERIES = 32
"""Images looked up at a time, so that what is found of very many alike stays small."""
_ROOM = 1024


class Lookalikes:
    """Every image seen, numbered in the order of `add`, by 64-bit perceptual hash and sketch.

    In memory an image takes about 120 bytes; sketches, 192 bytes each, lie in a file that has no name.

    Args:
        radius: largest Hamming distance of two hashes, inclusive.
        folder: where that file is; the system's folder of temporary files by default.

    Attributes:
        always: images with lower numbers are found however many there are.
        crowded: how many images had more than `MOST` candidates.
    """

    def __init__(self, radius: int, folder: Path | None = None) -> None:
        self.radius, self.always, self.crowded = radius, 0, 0
        self._count = 0
        self._indexed = NearbyCodes(radius)
        self._numbers = np.empty(_ROOM, np.int64)
        """Of every image that is indexed its number."""
        self._new: list[int] = []
        """Numbers of those that are not indexed yet: the last that were added."""
        self._codes = np.empty((_ROOM, 8), np.uint8)
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115
        self._sketches = self._mapped(_ROOM)

    def _mapped(self, rows: int) -> NDArray[np.uint8]:
        self._file.truncate(rows * 192)
        return np.memmap(self._file, np.uint8, "r+", shape=(rows, 192))

    def __len__(self) -> int:
        return self._count

    def add(self, images: Sequence[Inspection]) -> None:
        """Add images; the first gets the number `len(self)`."""
        self._index_new()
        start, self._count = len(self), len(self) + len(images)
        if self._count > len(self._sketches):
            room = max(2 * len(self._sketches), self._count)
            self._sketches, self._codes = self._mapped(room), np.resize(self._codes, (room, 8))
        for number, image in enumerate(images, start):
            self._codes[number] = np.frombuffer(image.phash.to_bytes(8, "big"), np.uint8)
            self._sketches[number] = np.frombuffer(image.sketch, np.uint8)
        self._new.extend(range(start, self._count))

    def _index_new(self) -> None:
        start, end = len(self._indexed), len(self._indexed) + len(self._new)
        if end > len(self._numbers):
            self._numbers = np.resize(self._numbers, max(2 * len(self._numbers), end))
        if self._new:
            self._numbers[start:end] = self._new
            self._indexed.add(self._codes[self._new])
            self._new.clear()

    def forget(self, numbers: Iterable[int]) -> None:
        """Take some of the images that were added last out of what later ones are compared with."""
        for number in numbers:
            self._new.remove(number)

    def before(self, start: int) -> list[dict[int, int]]:
        """For every image from number `start` on, those before it that may show the same.

        Of more than `MOST` the nearest, of equally near ones the first; and all whose numbers are below `always`.

        Returns:
            for each, hash distance by number, in the order of the numbers.
        """
        numbers = np.arange(start, len(self))
        return [one for i in range(0, len(numbers), _QUERIES) for one in self._before(numbers[i : i + _QUERIES])]

    def _before(self, asked: NDArray[np.int64]) -> list[dict[int, int]]:
        places, found, distances = self._indexed.within(self._codes[asked])
        new = np.array(self._new, np.int64)
        near = np.bitwise_count(self._codes[asked, None] ^ self._codes[None, new]).sum(axis=2, dtype=np.int64)
        more = np.nonzero(near <= self.radius)
        queries = asked[np.concatenate([places, more[0]])]
        numbers = np.concatenate([self._numbers[found], new[more[1]]])
        distances = np.concatenate([distances, near[more]])
        earlier = np.flatnonzero(numbers < queries)
        queries, numbers, distances = queries[earlier], numbers[earlier], distances[earlier]
        close = self._close(queries, numbers)
        queries, numbers, distances = queries[close], numbers[close], distances[close]
        return [self._nearest(numbers[mine], distances[mine]) for mine in (queries == n for n in asked)]

    def _nearest(self, numbers: NDArray[np.int64], distances: NDArray[np.int64]) -> dict[int, int]:
        order = np.lexsort((numbers, distances, numbers >= self.always))
        most = max(MOST, int((numbers < self.always).sum()))
        self.crowded += len(order) > most
        chosen = np.sort(numbers[order[:most]])
        by_number = dict(zip(numbers.tolist(), distances.tolist(), strict=True))
        return {number: by_number[number] for number in chosen.tolist()}

    def _close(self, a: NDArray[np.int64], b: NDArray[np.int64]) -> NDArray[np.bool_]:
        close = np.zeros(len(a), bool)
        for i in range(0, len(a), _PAIRS):
            part = slice(i, i + _PAIRS)
            difference = (self._sketches[a[part]].astype(np.int16) - self._sketches[b[part]]).reshape(-1, 64, 3)
            shade = np.clip(difference.mean(axis=1, keepdims=True), -MAX_SHADE, MAX_SHADE)  # of the whole image
            close[part] = np.abs(difference - shade).mean(axis=(1, 2), dtype=np.float32) <= SKETCH_LIMIT
        return close

"""Pictures at the tower's input size: decoded once into a memory-mapped file, or again whenever they are read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline import files, images
from pipeline.ahead import ahead
from pipeline.clip.towers import Clip
from pipeline.manifest import Manifest


def cached(clip: Clip, manifest: Manifest, folder: Path, threads: int = 1) -> NDArray[np.uint8]:
    """uint8 [n, 3, side, side] in manifest order, read-only, mapped from a file below `folder`.

    `threads` decode, if it is not there. The file is named by manifest, splits and preprocessing, so another curation
    or another tower never reads it.
    """
    name = files.fingerprint(
        manifest=manifest.fingerprint, splits=manifest.splits, side=clip.image_size,
        preprocess=clip.config["preprocess_cfg"],
    )  # fmt: skip
    path = folder / f"{name}.npy"
    if not path.is_file():
        to_pixels = clip.pixels()
        shape = (len(manifest), 3, clip.image_size, clip.image_size)
        with files.whole(path) as temporary:
            pixels = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.uint8, shape=shape)
            decoded = ahead(
                lambda given: to_pixels(images.decode(given[1])), manifest.images("decode"), threads=threads,
                depth=4 * threads,
            )  # fmt: skip
            for i, row in enumerate(decoded):
                pixels[i] = row
            pixels.flush()
            del pixels
    mapped: NDArray[np.uint8] = np.load(path, mmap_mode="r")
    return mapped


class Decoded:
    """The pictures of a manifest, decoded and resized whenever they are read: no disk space, a decoder's time.

    The threads that gather a student's batches decode them, so several are decoded at a time.
    """

    def __init__(self, clip: Clip, manifest: Manifest) -> None:
        self._manifest, self._to_pixels = manifest, clip.pixels()
        if len(manifest):
            manifest.image(0)  # finds the places of all

    def __len__(self) -> int:
        return len(self._manifest)

    def __getitem__(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """uint8 [len(rows), 3, side, side]."""
        return np.stack([self._to_pixels(images.decode(self._manifest.image(int(row)))) for row in rows])

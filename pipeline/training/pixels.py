"""Decoded pictures at the tower's input size, as one memory-mapped uint8 array: decoded once, read by every epoch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline import files, images
from pipeline.clip.towers import Clip
from pipeline.manifest import Manifest


def cached(clip: Clip, manifest: Manifest, folder: Path) -> NDArray[np.uint8]:
    """uint8 [n, 3, side, side] in manifest order, read-only, mapped from a file below `folder`.

    The file is named by manifest, splits and preprocessing, so another curation or another tower never reads it.
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
            for i, (_, data) in enumerate(manifest.images("decode")):
                pixels[i] = to_pixels(images.decode(data))
            pixels.flush()
            del pixels
    mapped: NDArray[np.uint8] = np.load(path, mmap_mode="r")
    return mapped

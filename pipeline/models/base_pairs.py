"""The pairs that the sample's base CLIP was trained on: images with one caption each."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline.artifacts import shards
from pipeline.images import decoding
from pipeline.machine.progress import track

if TYPE_CHECKING:
    from pipeline.clip.towers import Clip


def base_pairs(path: Path, clip: Clip) -> tuple[np.ndarray, list[str]]:
    """The base's own training pairs: uint8 [n, 3, side, side] and a caption each."""
    to_pixels = clip.pixels()
    pixels, captions = [], []
    for _, data, fields in track(shards.read(path), "read base pairs", unit="images"):
        pixels.append(to_pixels(decoding.decode(data)))
        captions.append(fields["captions"][0])
    return np.stack(pixels), captions

"""What a picture looks like in few bytes: a perceptual hash to find candidates by, a sketch to rule most out."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SKETCH = 8
"""Side of a sketch in pixels."""
ENOUGH = 120
"""Pixels of a picture's shorter side from which hash and sketch are made."""
_WORKING_SIDE = 64


@cache
def _cosines(size: int, keep: int) -> NDArray[np.float32]:
    k = np.arange(keep)[:, None]
    n = np.arange(size)[None, :]
    return np.cos(np.pi * (2 * n + 1) * k / (2 * size)).astype(np.float32)


def shrink(image: Image.Image) -> Image.Image:
    """The picture sampled down to no less than `ENOUGH` pixels a side, then averaged down to about 64."""
    step = min(image.size) // ENOUGH
    if step > 1:
        image = image.resize((image.width // step, image.height // step), Image.Resampling.NEAREST)
    factors = (max(1, image.width // _WORKING_SIDE), max(1, image.height // _WORKING_SIDE))
    return image.reduce(factors) if factors != (1, 1) else image


def perceptual_hash(image: Image.Image) -> int:
    """64-bit DCT hash (pHash): near-equal pictures have hashes a few bits apart.

    The 8 x 8 lowest frequencies of the 32 x 32 grey picture, each compared with their median (without the mean).
    """
    small = shrink(image).convert("L").resize((32, 32), Image.Resampling.LANCZOS)
    basis = _cosines(32, 8)
    low = (basis @ np.asarray(small, dtype=np.float32) @ basis.T).ravel()
    bits = low > np.sort(low[1:])[31]  # of 63 values the median
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def sketch(image: Image.Image) -> bytes:
    """8 x 8 mean colours: 192 bytes, RGB, row by row."""
    return shrink(image).resize((SKETCH, SKETCH), Image.Resampling.BOX).tobytes()

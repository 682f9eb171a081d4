"""What an image looks like in few bytes: a perceptual hash to find candidates by, a sketch to rule most out.

And frames, for the leak guard: the image in grey, small, once whole and once without its border.
"""

from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

SKETCH = 8
"""Side of a sketch in pixels."""
ENOUGH = 120
"""Pixels of an image's shorter side from which hash and sketch are made."""
_WORKING_SIDE = 64
FRAME = 16
"""Side of a frame in pixels."""
_BORDER_SHADES = 12
"""Grey levels by which 95 % of a border's line may differ from its colour: the noise of compression."""
_LEAST_INSIDE = 0.3
"""The least share of width and height that a border leaves; if less is left, nothing is taken for a border."""

Box = tuple[int, int, int, int]
"""Left, top, right, bottom."""


@cache
def cosines(size: int, keep: int) -> NDArray[np.float32]:
    """The `keep` lowest of the cosines that a line of `size` pixels is made of: [keep, size]."""
    k = np.arange(keep)[:, None]
    n = np.arange(size)[None, :]
    return np.cos(np.pi * (2 * n + 1) * k / (2 * size)).astype(np.float32)


def shrink(image: Image.Image) -> Image.Image:
    """The image sampled down to no less than `ENOUGH` pixels a side, then averaged down to about 64."""
    step = min(image.size) // ENOUGH
    if step > 1:
        image = image.resize((image.width // step, image.height // step), Image.Resampling.NEAREST)
    factors = (max(1, image.width // _WORKING_SIDE), max(1, image.height // _WORKING_SIDE))
    return image.reduce(factors) if factors != (1, 1) else image


def perceptual_hash(image: Image.Image) -> int:
    """64-bit DCT hash (pHash): near-equal images have hashes a few bits apart.

    The 8 x 8 lowest frequencies of the 32 x 32 grey image, each compared with their median (without the mean).
    """
    small = shrink(image).convert("L").resize((32, 32), Image.Resampling.LANCZOS)
    basis = cosines(32, 8)
    low = (basis @ np.asarray(small, dtype=np.float32) @ basis.T).ravel()
    bits = low > np.sort(low[1:])[31]  # of 63 values the median
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def sketch(image: Image.Image) -> bytes:
    """8 x 8 mean colours: 192 bytes, RGB, row by row."""
    return shrink(image).resize((SKETCH, SKETCH), Image.Resampling.BOX).tobytes()


def sharpness(image: Image.Image) -> tuple[float, float]:
    """Variance of the Laplacian, and the mean, of the grey image at a shorter side of `ENOUGH` pixels (or its own).

    The variance is low where edges are soft: of images of one size the blurred ones have the least (Pech-Pacheco et
    al., ICPR 2000). A flat image has 0, too.
    """
    grey = image.convert("L")
    if (factor := min(grey.size) // ENOUGH) > 1:
        grey = grey.reduce(factor)
    if (shorter := min(grey.size)) > ENOUGH:
        width, height = (max(ENOUGH, round(side * ENOUGH / shorter)) for side in grey.size)
        grey = grey.resize((width, height), Image.Resampling.BILINEAR)
    pixels = np.asarray(grey)
    _, deviation = cv2.meanStdDev(cv2.Laplacian(pixels, cv2.CV_16S))
    return round(float(deviation[0, 0]) ** 2, 3), round(cv2.mean(pixels)[0], 3)


def inside_border(grey: NDArray[np.uint8]) -> Box | None:
    """What a border of one colour, or several borders one in another, surround; None if there is no border.

    Args:
        grey: [height, width].
    """
    height, width = grey.shape
    left, top, right, bottom = 0, 0, width, height
    for _ in range(3):
        before = (left, top, right, bottom)
        inner = grey[top:bottom, left:right]
        top, bottom = top + _border(inner), bottom - _border(inner[::-1])
        inner = grey[top:bottom, left:right].T
        left, right = left + _border(inner), right - _border(inner[::-1])
        if (left, top, right, bottom) == before:
            break
    if (left, top, right, bottom) == (0, 0, width, height):
        return None
    if right - left < _LEAST_INSIDE * width or bottom - top < _LEAST_INSIDE * height:
        return None
    # Border and image blend in the line between them.
    return left + (left > 0), top + (top > 0), right - (right < width), bottom - (bottom < height)


def _border(lines: NDArray[np.uint8]) -> int:
    """How many of the first lines have one colour, the same in all."""
    if len(lines) < 8:
        return 0
    colour, rest = int(np.sort(lines[0])[lines.shape[1] // 2]), lines.shape[1] // 20
    for number, line in enumerate(lines[: len(lines) * 2 // 5]):
        if np.count_nonzero(np.abs(line.astype(np.int16) - colour) > _BORDER_SHADES) > rest:
            return number
    return len(lines) * 2 // 5


def frames(image: Image.Image) -> tuple[bytes, ...]:
    """FRAME x FRAME mean grey levels of the image, and if it has a border also of what is inside."""
    grey = shrink(image).convert("L")
    box = inside_border(np.asarray(grey))
    return tuple(
        grey.resize((FRAME, FRAME), Image.Resampling.BOX, box=one).tobytes()
        for one in ((None, box) if box else (None,))
    )

"""Pictures: the one decode function that serves everything, and what is known of a picture without a model."""

from __future__ import annotations

import io
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

EXTENSIONS = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp", "GIF": "gif", "BMP": "bmp", "TIFF": "tif", "MPO": "jpg"}
"""Extension of a shard member by the format that the bytes themselves declare."""


class UnreadableImage(ValueError):
    """The bytes are not a complete picture of a known format."""


def decode(data: bytes) -> Image.Image:
    """Decode image bytes to an upright RGB picture (EXIF rotation applied).

    Raises:
        UnreadableImage: the bytes are empty, truncated, or not a picture.
    """
    try:
        with Image.open(io.BytesIO(data)) as image:
            upright = ImageOps.exif_transpose(image)
            return upright.convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UnreadableImage(f"{len(data)} bytes: {error}") from error


def sniff(data: bytes) -> str:
    """File extension (no dot) by the bytes' own header.

    Raises:
        UnreadableImage: not one of `EXTENSIONS`.
    """
    try:
        with Image.open(io.BytesIO(data)) as image:
            found = image.format or "unknown"
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UnreadableImage(f"{len(data)} bytes: {error}") from error
    if found not in EXTENSIONS:
        raise UnreadableImage(f"format {found}; expected one of {', '.join(EXTENSIONS)}")
    return EXTENSIONS[found]


def encode_jpeg(image: Image.Image, quality: int) -> bytes:
    """JPEG bytes of an RGB picture."""
    out = io.BytesIO()
    image.save(out, "JPEG", quality=quality)
    return out.getvalue()


@cache
def _cosines(size: int, keep: int) -> NDArray[np.float32]:
    k = np.arange(keep)[:, None]
    n = np.arange(size)[None, :]
    return np.cos(np.pi * (2 * n + 1) * k / (2 * size)).astype(np.float32)


def perceptual_hash(image: Image.Image) -> int:
    """64-bit DCT hash (pHash): near-equal pictures have hashes a few bits apart.

    The 8 x 8 lowest frequencies of the 32 x 32 grey picture, each compared with their median (without the mean).
    """
    grey = np.asarray(image.convert("L").resize((32, 32), Image.Resampling.LANCZOS), dtype=np.float32)
    basis = _cosines(32, 8)
    low = (basis @ grey @ basis.T).ravel()
    bits = low > np.median(low[1:])
    return int.from_bytes(np.packbits(bits).tobytes(), "big")

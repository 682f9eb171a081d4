"""Pictures: the one decode function that serves everything, and what is known of a picture without a model."""

from __future__ import annotations

import io
import struct
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

EXTENSIONS = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp", "GIF": "gif", "BMP": "bmp", "TIFF": "tif", "MPO": "jpg"}
"""Extension of a shard member by the format that the bytes themselves declare."""


_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""How a picture with this EXIF orientation is turned upright."""


class UnreadableImage(ValueError):
    """The bytes are not a complete picture of a known format."""


def decode(data: bytes) -> Image.Image:
    """Decode image bytes to an upright RGB picture (EXIF rotation applied).

    Raises:
        UnreadableImage: the bytes are empty, truncated, or not a picture.
    """
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.load()
            turn = _TURNS.get(_orientation(image))
            upright = image.transpose(turn) if turn is not None else image
            if upright.mode.startswith("I"):  # 16-bit grey: convert() would clip it to white
                shades = np.asarray(upright).astype(np.float32) / 256
                upright = Image.fromarray(shades.clip(0, 255).astype(np.uint8))
            return upright.convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UnreadableImage(f"{len(data)} bytes: {error}") from error


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 where there is none or the EXIF block is broken, which leaves the pixels whole."""
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except (OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, struct.error):
        return 1


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

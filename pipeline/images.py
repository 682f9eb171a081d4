"""Pictures: the one decode function that serves everything."""

from __future__ import annotations

import io
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from PIL import Image, UnidentifiedImageError

EXTENSIONS = {
    "JPEG": "jpg", "MPO": "jpg", "PNG": "png", "WEBP": "webp", "AVIF": "avif", "GIF": "gif", "BMP": "bmp",
    "TIFF": "tif",
}  # fmt: skip
"""Formats that are read, and the extension of a shard member by the format that the bytes themselves declare."""

MOST_LONG = 200
"""Times a picture's longer side may be its shorter one."""

CODE = "images 2"
"""Raised whenever the same file gives another picture, or the same picture another JPEG: the feature store's rows of
both are computed anew then."""

_OPENERS = tuple(form for form in EXTENSIONS if form != "MPO")  # a JPEG that turns out to hold several pictures
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


class NotAnImage(UnreadableImage):
    """The bytes do not begin as a picture of a known format does."""


class OversizedImage(UnreadableImage):
    """The header declares so many pixels that decoding them would exhaust the memory."""


@contextmanager
def _explained(what: str) -> Iterator[None]:
    """Whatever a decoder raises on bytes that it does not understand says that they are unreadable, and why."""
    try:
        yield
    except Image.DecompressionBombError as error:
        raise OversizedImage(f"{what}: {error}") from error
    except Exception as error:
        raise UnreadableImage(f"{what}: {type(error).__name__}: {error}") from error


@contextmanager
def opened(data: bytes) -> Iterator[Image.Image]:
    """The picture in `data` with its header read and nothing decoded yet.

    Raises:
        NotAnImage: none of `EXTENSIONS`.
        OversizedImage: more pixels than twice Pillow's limit.
        UnreadableImage: truncated or damaged.
    """
    try:
        with _explained(f"{len(data)} bytes"), warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # callers have limits of their own
            image = Image.open(io.BytesIO(data), formats=_OPENERS)
    except UnreadableImage as error:
        if not isinstance(error.__cause__, UnidentifiedImageError):
            raise
        start = data[:12].decode("latin-1").strip()
        known = ", ".join(EXTENSIONS)
        raise NotAnImage(f"{len(data)} bytes that begin with {start!r}; expected one of {known}") from error
    with image:
        yield image


def is_animated(image: Image.Image) -> bool:
    """Whether an opened picture has several frames; the second picture of an MPO is not one.

    Raises:
        UnreadableImage: truncated or damaged.
    """
    with _explained(f"{image.format} file"):
        return image.format != "MPO" and bool(getattr(image, "is_animated", False))


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Width and height of an opened picture after EXIF rotation.

    Raises:
        UnreadableImage: a PNG, whose orientation may stand behind its pixels, is truncated or damaged.
    """
    with _explained(f"{image.format} of {image.width} x {image.height}"):
        turned = 5 <= _orientation(image) <= 8 and image.format != "TIFF"  # of which Pillow says the turned size
    return (image.height, image.width) if turned else (image.width, image.height)


def upright(image: Image.Image, at_least: int | None = None) -> Image.Image:
    """Decode an opened picture: RGB, EXIF rotation applied, transparent parts white, 16-bit grey scaled to 8.

    Args:
        image: as `opened` gives it.
        at_least: pixels of the shorter side that are enough. A JPEG is then decoded at 1/2, 1/4 or 1/8 of its size: all
            of its data is read and checked as ever, and only the inverse transform, which cannot fail, is smaller.

    Raises:
        UnreadableImage: truncated or damaged.
    """
    with _explained(f"{image.format} of {image.width} x {image.height}"):
        if at_least is not None:
            image.draft(image.mode, (at_least, at_least))
        image.load()
        turn = _TURNS.get(_orientation(image))
        if turn is not None:
            image = image.transpose(turn)
        if image.mode == "RGB" and not image.has_transparency_data:
            return image
        if image.mode.startswith("I"):  # 16-bit grey: convert() would clip it to white
            shades = np.asarray(image).astype(np.float32) / 256
            image = Image.fromarray(shades.clip(0, 255).astype(np.uint8))
        if image.has_transparency_data:
            layer = image.convert("RGBA")
            image = Image.new("RGBA", layer.size, "white")
            image.alpha_composite(layer)
        return image.convert("RGB")


def decode(data: bytes) -> Image.Image:
    """Decode image bytes to an upright RGB picture.

    Raises:
        UnreadableImage: the bytes are empty, truncated, or not a picture, or one so long and thin that to enlarge its
            short side, as CLIP's preprocessing does, would take any amount of memory.
    """
    with opened(data) as image:
        if max(image.size) > MOST_LONG * min(image.size):
            raise UnreadableImage(f"{image.width} x {image.height}: more than {MOST_LONG} times as long as wide")
        picture = upright(image)
        return picture.copy() if picture is image else picture


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 where there is none or the EXIF block is broken, which leaves the pixels whole."""
    if image.format == "JPEG" and "exif" not in image.info:
        return 1
    if image.format == "PNG":
        image.load()  # getexif would, and an error in the pixels is none of the EXIF block's
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except (OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, OverflowError, struct.error):
        return 1


def encode_jpeg(image: Image.Image, quality: int) -> bytes:
    """JPEG bytes of an RGB picture."""
    out = io.BytesIO()
    image.save(out, "JPEG", quality=quality)
    return out.getvalue()

"""Images: the one decode function that serves everything."""

from __future__ import annotations

import io
import os
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from pipeline.errors import InputError
from pipeline.images import shades
from pipeline.images.bounds import MOST_BYTES, MOST_EXIF, MOST_PIXELS, excess, excess_of_work
from pipeline.images.formats import EXTENSIONS

MOST_LONG = 200
"""Times an image's longer side may be its shorter one."""

CODE = "images 3"
"""Raised whenever the same file gives another image, or the same image another JPEG: the feature store's rows of
both are computed anew then."""

# Pillow warns, once for each of thousands of broken tags, of what leaves the pixels whole; and of sizes, which have
# bounds of their own here.
warnings.filterwarnings("ignore", module=r"PIL\.")

_OPENERS = tuple(form for form in EXTENSIONS if form != "MPO")  # a JPEG that turns out to hold several images
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
"""How an image with this EXIF orientation is turned upright."""


class UnreadableImage(InputError):
    """The bytes are not a complete image of a known format."""


class NotAnImage(UnreadableImage):
    """The bytes do not begin as an image of a known format does."""


class OversizedImage(UnreadableImage):
    """So many bytes, or so many pixels in the header, that reading or decoding them would exhaust the memory."""


class CostlyImage(UnreadableImage):
    """Built so that decoding it takes far more work than its size: thousands of scans, chunks or strips."""


@contextmanager
def _explained(what: str) -> Iterator[None]:
    """Whatever a decoder raises on bytes that it does not understand says that they are unreadable, and why."""
    try:
        yield
    except UnreadableImage:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise OversizedImage(f"{what}: {error}") from error
    except Exception as error:
        raise UnreadableImage(f"{what}: {type(error).__name__}: {error}") from error


def read(path: Path) -> bytes:
    """The bytes of an image file, of which no more are read than any image may have.

    Raises:
        OversizedImage: it has more.
        UnreadableImage: it cannot be read.
    """
    try:
        with path.open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            data = stream.read(size or MOST_BYTES + 1) if size <= MOST_BYTES else b""
    except OSError as error:
        raise UnreadableImage(str(error)) from error
    check_bytes(max(size, len(data)))
    return data


def check_bytes(size: int) -> None:
    """Before an image file is read: whether it may have so many bytes.

    Raises:
        OversizedImage: it may not.
    """
    if size > MOST_BYTES:
        raise OversizedImage(f"{size:,} bytes, at most {MOST_BYTES:,}")


@contextmanager
def opened(data: bytes) -> Iterator[Image.Image]:
    """The image in `data`, its header read and nothing decoded yet, within the bounds of `pipeline.images.bounds`.

    Raises:
        NotAnImage: none of `EXTENSIONS`.
        OversizedImage: too many bytes or pixels.
        CostlyImage: too much work.
        UnreadableImage: truncated, damaged, or of a kind that is not read.
    """
    check_bytes(len(data))
    if found := excess(data):
        raise CostlyImage(found)
    try:
        with _explained(f"{len(data)} bytes"):
            image = Image.open(io.BytesIO(data), formats=_OPENERS)
    except UnreadableImage as error:
        if not isinstance(error.__cause__, UnidentifiedImageError):
            raise
        raise _unidentified(data) from error
    with image:
        pixels = image.width * image.height
        if pixels > MOST_PIXELS:
            raise OversizedImage(f"{image.width} x {image.height} pixels, at most {MOST_PIXELS:,}")
        if found := excess_of_work(data, image.format or "", image.info.get("compression"), pixels):
            raise CostlyImage(found)
        if (exif := len(image.info.get("exif", b""))) > MOST_EXIF:
            raise CostlyImage(f"EXIF of {exif:,} bytes, at most {MOST_EXIF:,}")
        yield image


def _unidentified(data: bytes) -> UnreadableImage:
    """What to say of bytes that no format takes: whose they begin as and what that one misses, or how they begin."""
    for form in _OPENERS:
        factory, accept = Image.OPEN[form]
        if accept is not None and accept(data[:16]) is True:
            try:
                factory(io.BytesIO(data), "")
            except Exception as error:
                return UnreadableImage(f"{form} of {len(data)} bytes: {error}")
    known = ", ".join(EXTENSIONS)
    return NotAnImage(f"{len(data)} bytes that begin with {data[:12]!r}; expected one of {known}")


def is_animated(image: Image.Image) -> bool:
    """Whether an opened image has several frames; the second image of an MPO is not one.

    Raises:
        UnreadableImage: truncated or damaged.
    """
    with _explained(f"{image.format} file"):
        return image.format != "MPO" and bool(getattr(image, "is_animated", False))


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Width and height of an opened image after EXIF rotation.

    Raises:
        UnreadableImage: a PNG, whose orientation may stand behind its pixels, is truncated or damaged.
    """
    with _explained(f"{image.format} of {image.width} x {image.height}"):
        turned = 5 <= _orientation(image) <= 8 and image.format != "TIFF"  # of which Pillow says the turned size
    return (image.height, image.width) if turned else (image.width, image.height)


def upright(image: Image.Image, at_least: int | None = None) -> Image.Image:
    """Decode an opened image: RGB, EXIF rotation applied, transparent parts white, other depths scaled to 8 bits.

    Args:
        image: as `opened` gives it.
        at_least: pixels of the shorter side that are enough. A JPEG is then decoded at 1/2, 1/4 or 1/8 of its size: all
            of its data is read and checked as ever, and only the inverse transform, which cannot fail, is smaller.

    Raises:
        UnreadableImage: truncated or damaged, or of a depth that cannot be scaled.
    """
    with _explained(f"{image.format} of {image.width} x {image.height}"):
        if at_least is not None:
            image.draft(image.mode, (at_least, at_least))
        if image.format == "TIFF":
            shades.correct(image)
        deep = shades.is_deep(image)
        image.load()
        decoded = shades.eight_bits(image, deep)
        turn = _TURNS.get(_orientation(image))
        if turn is not None:
            decoded = decoded.transpose(turn)
        if decoded.has_transparency_data:
            return _on_white(decoded)
        return decoded if decoded.mode == "RGB" else decoded.convert("RGB")


def _on_white(image: Image.Image) -> Image.Image:
    """An image with transparent parts over white, in strips: it is large as it is."""
    if image.mode == "La":  # which converts to nothing else
        image = image.convert("LA")
    layer = image if image.mode == "RGBA" else image.convert("RGBA")
    out = Image.new("RGB", layer.size)
    for box in shades.strips(layer):
        strip = Image.new("RGBA", (box[2] - box[0], box[3] - box[1]), "white")
        strip.alpha_composite(layer.crop(box))
        out.paste(strip.convert("RGB"), box[:2])
    return out


def decode(data: bytes) -> Image.Image:
    """Decode image bytes to an upright RGB image.

    Raises:
        UnreadableImage: the bytes are empty, truncated, or not an image, or one so long and thin that to enlarge its
            short side, as CLIP's preprocessing does, would take any amount of memory.
    """
    with opened(data) as image:
        if max(image.size) > MOST_LONG * min(image.size):
            raise UnreadableImage(f"{image.width} x {image.height}: more than {MOST_LONG} times as long as wide")
        decoded = upright(image)
        return decoded.copy() if decoded is image else decoded


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
    """JPEG bytes of an RGB image."""
    out = io.BytesIO()
    image.save(out, "JPEG", quality=quality)
    return out.getvalue()

"""How an image comes to lie in a file: plain, odd, broken, or altered as copies on the web are."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from pipeline.artifacts.schema import Reason
from pipeline.sample_world.scenes import SIDE

QUALITY = 92
"""The quality of a plain JPEG, as Pillow counts it."""
MARGIN = 6
"""Width in pixels of the transparent margin."""
_ORIENTATION = 0x0112
_BOMB_SIDE = 60_000
_WEB_PAGE = b"""<!DOCTYPE html>
<html><head><title>404 Not Found</title></head>
<body><h1>Not Found</h1><p>The picture that you asked for is not on this server.</p></body></html>
"""

Box = tuple[float, float, float, float]


def _saved(image: Image.Image, kind: str = "JPEG", **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **({"quality": QUALITY} if kind == "JPEG" else {}) | options)
    return out.getvalue()


def _truncated(image: Image.Image) -> bytes:
    """The first 40 % of the bytes of a JPEG."""
    data = _saved(image)
    return data[: len(data) * 2 // 5]


def _bomb(_: Image.Image) -> bytes:
    """A PNG of some hundred bytes whose header promises 3.6 gigapixels."""

    def chunk(name: bytes, content: bytes) -> bytes:
        checksum = zlib.crc32(name + content)
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", _BOMB_SIDE, _BOMB_SIDE, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes(_BOMB_SIDE))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def _strip(image: Image.Image) -> bytes:
    """A strip of 400 x 60 pixels from the middle of the image."""
    return _saved(image.resize((400, 400), Image.Resampling.BICUBIC).crop((0, 170, 400, 230)))


def _animated(image: Image.Image) -> bytes:
    mirrored = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return _saved(image, "GIF", save_all=True, append_images=[mirrored], duration=200, loop=0)


def _grey16(image: Image.Image) -> bytes:
    shades = np.asarray(image.convert("L"), dtype=np.uint16) * 257
    return _saved(Image.fromarray(shades), "PNG")


def _turned(image: Image.Image) -> bytes:
    """Stored on its side, and upright once its orientation is applied."""
    exif = Image.Exif()
    exif[_ORIENTATION] = 6
    return _saved(image.transpose(Image.Transpose.ROTATE_90), exif=exif)


def _transparent(image: Image.Image) -> bytes:
    """The margin is black and transparent."""
    layer = Image.new("RGBA", image.size)
    inner = (MARGIN, MARGIN, image.width - MARGIN, image.height - MARGIN)
    layer.paste(image.crop(inner), inner)
    return _saved(layer, "PNG")


FORMS: dict[str, Callable[[Image.Image], bytes]] = {
    "rgb": _saved,
    Reason.EMPTY_FILE: lambda _: b"",
    Reason.NOT_AN_IMAGE: lambda _: _WEB_PAGE,
    Reason.UNREADABLE_IMAGE: _truncated,
    Reason.OVERSIZED_IMAGE: _bomb,
    Reason.SMALL_IMAGE: lambda image: _saved(image.resize((8, 8), Image.Resampling.BOX)),
    Reason.EXTREME_SHAPE: _strip,
    Reason.ANIMATED_IMAGE: _animated,
    "grey": lambda image: _saved(image.convert("L")),
    "cmyk": lambda image: _saved(image.convert("CMYK")),
    "palette": lambda image: _saved(image.quantize(128), "GIF"),
    "grey16": _grey16,
    "exif": _turned,
    "transparent": _transparent,
}
"""The file of a drawn image, by what is the matter with it. Those that are no JPEG are named .jpg all the same."""


@dataclass(frozen=True)
class Alteration:
    """How a near copy differs from the file that it is made of."""

    quality: int = 85
    factor: float = 1.0
    """Width and height are multiplied by it, after the cut."""
    cut: tuple[int, int, int, int] = (0, 0, 0, 0)
    """Pixels taken off left, top, right and bottom."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the copy in pixels."""
        left, top, right, bottom = self.cut
        return round((SIDE - left - right) * self.factor), round((SIDE - top - bottom) * self.factor)

    def box(self, box: Box) -> Box:
        """Where a box of the original lies in the copy, both in pixels."""
        left, top, right, bottom = self.cut
        width, height = self.size
        across, down = width / (SIDE - left - right), height / (SIDE - top - bottom)
        x0, x1 = (min(max((x - left) * across, 0.0), width) for x in box[::2])
        y0, y1 = (min(max((y - top) * down, 0.0), height) for y in box[1::2])
        return x0, y0, x1, y1


ALTERATIONS = ("recompressed", "resized", "cropped", "everything")


def random_alteration(rng: np.random.Generator, kind: str) -> Alteration:
    """One of `ALTERATIONS`: quality 40 to 80, factor 0.5 to 1.5, up to 3 % of the width off every side."""
    quality, factor = int(rng.integers(40, 81)), float(rng.uniform(0.5, 1.5))
    left, top, right, bottom = (int(v) for v in rng.integers(1, int(0.03 * SIDE) + 1, 4))
    plain, everything = Alteration(), kind == "everything"
    return Alteration(
        quality if everything or kind == "recompressed" else plain.quality,
        factor if everything or kind == "resized" else plain.factor,
        (left, top, right, bottom) if everything or kind == "cropped" else plain.cut,
    )


def altered(image: Image.Image, how: Alteration) -> bytes:
    """The file of a near copy, made from the plain file of a drawn image."""
    left, top, right, bottom = how.cut
    with Image.open(io.BytesIO(_saved(image))) as original:
        part = original.crop((left, top, SIDE - right, SIDE - bottom))
    if part.size != how.size:
        part = part.resize(how.size, Image.Resampling.BICUBIC)
    return _saved(part, quality=how.quality)

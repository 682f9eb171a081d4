"""Pictures of other depths than 8 bits a sample, in 8 bits: never black because their numbers are small or large.

Integers of 12 and 16 bits are scaled by their depth, as everyone does, unless all of them lie in its lowest sixteenth,
as those of a camera of 12 bits do in a file of 16. Floating point, 32-bit and signed numbers have no such scale: the
least becomes black and the largest white. What cannot be scaled so is an error.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.ImageFile import ImageFile

_STRIP = 1 << 20
"""Pixels that are worked on at a time, so that a large picture is not in memory several times."""
_PHOTOMETRIC, _BITS, _SAMPLE_FORMAT, _COLOURS, _PLANES = 262, 258, 339, 320, 284
_UNSIGNED, _SIGNED = (1,), (2,)
_NATIVE = {"F;32BF": "F;32NF", "I;32BS": "I;32NS", "I;16BS": "I;16NS"}
"""Pillow's names for numbers in big-endian order, and for the same in the machine's."""
_DEEP = 16
"""Levels of 256, of a picture of 16 bits a sample, below which nothing is to be seen."""

Box = tuple[int, int, int, int]


def strips(image: Image.Image) -> Iterator[Box]:
    """Boxes that cover a picture from top to bottom, each of about a million pixels."""
    step = max(1, _STRIP // image.width)
    for top in range(0, image.height, step):
        yield 0, top, image.width, min(top + step, image.height)


def is_deep(image: Image.Image) -> bool:
    """Whether an opened colour picture has 16 bits a sample, of which Pillow reads the upper eight."""
    assert isinstance(image, ImageFile)
    return any(";16" in str(tile.args) for tile in image.tile[:1]) and not image.mode.startswith(("I", "F"))


def correct(image: Image.Image) -> None:
    """Let Pillow read those TIFFs rightly whose layout it mistakes, before it loads them.

    libtiff, which unpacks compressed ones, hands numbers over in this machine's byte order, whatever the file's, and
    uncompressed planes of 16 bits a sample are no planes of bytes.
    """
    assert isinstance(image, ImageFile)
    tags = _tags(image)
    order = "B" if getattr(tags, "prefix", b"") == b"MM" else "L"
    planes = tags.get(_PLANES) == 2 and set(tags.get(_BITS, ())) == {16}
    compressed = image.info.get("compression") != "raw"
    for i, tile in enumerate(image.tile):
        if isinstance(tile.args, tuple):
            mode, *rest = tile.args
            if compressed:
                mode = _NATIVE.get(mode, mode)
            elif planes:
                mode = f"{mode};16{order}"
            image.tile[i] = tile._replace(args=(mode, *rest))


def eight_bits(image: Image.Image, deep: bool = False) -> Image.Image:
    """A decoded picture in a mode of 8 bits a sample; the same object where it is one.

    Args:
        image: as Pillow loads it.
        deep: what `is_deep` said before it was loaded.

    Raises:
        ValueError: it has numbers that are not finite, is all of one number without a scale, or is too dark.
    """
    tags = _tags(image)
    if image.mode.startswith(("I", "F")):
        return _scaled(image, tags)
    if image.mode == "L" and tags.get(_SAMPLE_FORMAT) == _SIGNED:
        return image.point([level ^ 0x80 for level in range(256)])
    if image.mode == "P" and tags.get(_COLOURS) and max(tags[_COLOURS]) < 256:  # 8 bits where 16 are specified
        image.putpalette(bytes(tags[_COLOURS]), "RGB;L")
    if deep and max(high for _, high in _extremes(image)) < _DEEP:
        raise ValueError("16 bits a sample, of which the upper four are not used: too dark to be read")
    return image


def _tags(image: Image.Image) -> Any:
    """Of a TIFF; of others none."""
    return getattr(image, "tag_v2", {})


def _extremes(image: Image.Image) -> list[tuple[float, float]]:
    found: Any = image.getextrema()
    pairs = found if isinstance(found[0], tuple) else (found,)
    return list(pairs[:3] if image.mode == "RGBA" else pairs)


def _scaled(image: Image.Image, tags: Any) -> Image.Image:
    unsigned = image.mode == "I" and tags.get(_SAMPLE_FORMAT, _UNSIGNED) == _UNSIGNED

    def numbers(box: Box) -> NDArray[Any]:
        found = np.asarray(image.crop(box))
        return found.view(np.uint32) if unsigned else found  # Pillow has no mode for them

    low, high = np.inf, -np.inf
    for box in strips(image):
        part = numbers(box)
        least, most = float(part.min()), float(part.max())
        if not np.isfinite(most - least):  # a single one that is not a number is the least and the most
            raise ValueError("numbers that are not finite; expected none")
        low, high = min(low, least), max(high, most)
    white = 2 ** (12 if tags.get(_BITS) == (12,) else 16)
    by_depth = image.mode.startswith("I;16") and (high >= white / 16 or low == high)
    if not by_depth and low == high:
        raise ValueError(f"every pixel is {low:g}, on no known scale; expected different ones")
    inverted = tags.get(_PHOTOMETRIC) == 0
    out = Image.new("L", image.size)
    for box in strips(image):
        part = numbers(box).astype(np.float64)
        levels = part * (256 / white) if by_depth else (part - low) * (255 / (high - low)) + 0.5
        eight = levels.clip(0, 255).astype(np.uint8)
        out.paste(Image.fromarray(255 - eight if inverted else eight), box[:2])
    if not by_depth and sum(map(bool, out.histogram())) <= 2 < len(np.unique(numbers(next(strips(image))))):
        raise ValueError(
            f"numbers from {low:g} to {high:g}, one of which lies so far from the others that they "
            "would all look the same; such a mark for missing values is not known"
        )
    return out

"""Images of other depths than 8 bits a sample, in 8 bits: never black because their numbers are small or large.

What is judged is the bulk of the pixels, all but the least and the most half per cent, so that no hot pixel and no mark
for missing values decides. Integers of 12 and 16 bits are scaled by their depth, as everyone does, unless their bulk
lies in its lowest eighth, as that of a camera of 12 bits does in a file of 16. Those, and floating point, 32-bit and
signed numbers, which have no such scale, are scaled by their own range: the least becomes black and the largest white;
by that of the bulk where it is less than half of the whole, and the rest is clipped. What cannot be scaled so is an
error.

A grey photograph of 16 bits that is truly so dark is brightened, as an automatic exposure would: it cannot be told from
one of fewer bits, and one that is nearly black shows nothing, while grey cannot become garish. Of colours, only the
upper eight bits are read: brightened, they would be a few gaudy steps, so one whose bulk is as dark is refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.ImageFile import ImageFile

from pipeline.images import ranks

_STRIP = 1 << 20
"""Pixels that are worked on at a time, so that a large image is not in memory several times."""
_PHOTOMETRIC, _BITS, _SAMPLE_FORMAT, _COLOURS, _PLANES = 262, 258, 339, 320, 284
_UNSIGNED, _SIGNED = (1,), (2,)
_NATIVE = {"F;32BF": "F;32NF", "I;32BS": "I;32NS", "I;16BS": "I;16NS"}
"""Pillow's names for numbers in big-endian order, and for the same in the machine's."""
_OUTSIDE = 1 / 200
"""Of all pixels, those at either end that are no part of the bulk."""
_DARK = 1 / 8
"""Of the range of a depth: where the bulk lies below, the upper bits are unused, and hardly anything would be seen."""
_FEW, _EACH = 32, 8
"""Shades that are too few where each stands for more than so many different numbers."""

Box = tuple[int, int, int, int]


def strips(image: Image.Image) -> Iterator[Box]:
    """Boxes that cover an image from top to bottom, each of about a million pixels."""
    step = max(1, _STRIP // image.width)
    for top in range(0, image.height, step):
        yield 0, top, image.width, min(top + step, image.height)


def is_deep(image: Image.Image) -> bool:
    """Whether an opened colour image has 16 bits a sample, of which Pillow reads the upper eight."""
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
    """A decoded image in a mode of 8 bits a sample; the same object where it is one.

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
    if deep:
        if _is_dark(image):
            raise ValueError(
                f"16 bits a sample, hardly any of which is above {_DARK:.1%} of the range: too dark to be read"
            )
        clear = image.info.get("transparency")
        if isinstance(clear, tuple):  # of 16 bits, as nothing else here is any more
            image.info["transparency"] = tuple(sample >> 8 for sample in clear)
    return image


def _tags(image: Image.Image) -> Any:
    """The tags of a TIFF; an image of another format has none."""
    return getattr(image, "tag_v2", {})


def _is_dark(image: Image.Image) -> bool:
    """Whether the bulk of a colour image is dark, of those pixels that are seen at all."""
    seen = image.getchannel("A") if image.mode == "RGBA" else None
    levels = np.array(image.histogram(seen)).reshape(-1, 256)[: None if seen is None else 3]
    outside = 0 if image.mode == "CMYK" else _OUTSIDE  # a page with little ink on it is white
    return bool((levels[:, int(256 * _DARK) :].sum(axis=1) <= levels.sum(axis=1) * outside).all() and levels.any())


def _scaled(image: Image.Image, tags: Any) -> Image.Image:
    unsigned = image.mode == "I" and tags.get(_SAMPLE_FORMAT, _UNSIGNED) == _UNSIGNED
    clear = image.info.pop("transparency", None)

    def numbers(box: Box) -> NDArray[Any]:
        found = np.asarray(image.crop(box))
        if image.mode.startswith("I;16"):
            return found.astype(np.uint16, copy=False)  # in the machine's byte order
        return found.view(np.uint32) if unsigned else found  # Pillow has no mode for them

    def seen() -> Iterator[NDArray[Any]]:
        for box in strips(image):
            part = numbers(box)
            if image.mode == "F" and not np.isfinite(part).all():
                raise ValueError("numbers that are not finite; expected none")
            yield part if clear is None else part[part != clear]

    white = 2 ** (12 if tags.get(_BITS) == (12,) else 16)
    least, low, high, most = ranks.extremes(seen, _OUTSIDE) or (white, white, white, white)
    dark = (most if low == high else high) < white * _DARK
    if low == high or (high - low) * 2 >= most - least:
        low, high = least, most
    by_depth = image.mode.startswith("I;16") and (not dark or low == high)
    if not by_depth and low == high:
        raise ValueError(f"every pixel is {low:g}, on no known scale; expected different ones")
    inverted = tags.get(_PHOTOMETRIC) == 0
    out = Image.new("L", image.size)
    for box in strips(image):
        part = numbers(box)
        wide = part.astype(np.float64)
        levels = wide * (256 / white) if by_depth else (wide - low) * (255 / (high - low)) + 0.5
        eight = levels.clip(0, 255).astype(np.uint8)
        eight = 255 - eight if inverted else eight
        if clear is not None:
            eight[part == clear] = 255
        out.paste(Image.fromarray(eight), box[:2])
    if not by_depth and _are_alike(out, seen()):
        raise ValueError(
            f"numbers from {low:g} to {high:g}, some of which lie so far from the others that they "
            "would all look the same; such a mark for missing values is not known"
        )
    return out


def _are_alike(shown: Image.Image, parts: Iterator[NDArray[Any]]) -> bool:
    """Whether an image shows few shades of many different numbers."""
    shades = sum(map(bool, shown.histogram()))
    if shades > _FEW:
        return False
    different: NDArray[Any] = np.empty(0)
    for part in parts:
        different = np.union1d(different, part)
        if len(different) > shades * _EACH:
            return True
    return shades <= 2 < len(different)

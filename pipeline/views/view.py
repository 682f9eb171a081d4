"""One view of an image: its parameters, which seed, key and number say alone, and what it makes of the image."""

from __future__ import annotations

import hashlib
import math
import struct
from dataclasses import dataclass

from PIL import Image, ImageEnhance

CODE = "views 1"
"""Raised whenever the same seed gives other views, or the same view of the same image other pixels."""

_ASPECT = 4 / 3
"""A view's shape is at most by this factor wider, or narrower, than its image's."""
_UNIT = 2.0**64
_PACKED = struct.Struct("<4f?3f")


@dataclass(frozen=True)
class Augmentation:
    """What views are drawn from.

    Attributes:
        area: the smallest share of an image that a view shows, in (0, 1].
        flip: how many of all views are turned left to right, in 0..1.
        colour: by which share brightness, contrast and saturation change at most, in 0..1.
    """

    area: float
    flip: float
    colour: float


@dataclass(frozen=True)
class View:
    """How a view is made of an image: cut, then turned left to right, then its colours changed.

    Attributes:
        box: [x0, y0, x1, y1] in 0..1 of the upright image.
        flip: whether it is turned.
        brightness: a factor; so are contrast and saturation, and they are applied in this order.
    """

    box: tuple[float, float, float, float]
    flip: bool
    brightness: float
    contrast: float
    saturation: float

    @property
    def packed(self) -> bytes:
        """All of it as bytes, by which it is known in the feature store."""
        return _PACKED.pack(*self.box, self.flip, self.brightness, self.contrast, self.saturation)

    @property
    def stored(self) -> View:
        """The view as it is read from a table: numbers are float32 there."""
        x0, y0, x1, y1, flip, *colours = _PACKED.unpack(self.packed)
        return View((x0, y0, x1, y1), flip, *colours)

    def distance(self, other: View) -> float:
        """The largest difference of two views' numbers; 1 at least, if only one is turned."""
        mine, theirs = (_PACKED.unpack(view.packed) for view in (self, other))
        return max(abs(float(a) - float(b)) for a, b in zip(mine, theirs, strict=True))


def drawn(seed: int, key: str, number: int, how: Augmentation) -> View:
    """View `number` of the image of a key: the same whichever others are drawn, and in whatever order.

    Its share a of the image's area is uniform in [area, 1]; the ratio r of its shape to the image's is uniform in log r
    between 3/4 and 4/3, as far as a box of this area fits: [max(3/4, a), min(4/3, 1/a)]. So sides are sqrt(a r) and
    sqrt(a / r), both at most 1; the place is uniform. This is torchvision's RandomResizedCrop without its repeated
    attempts, so that 8 uniform numbers, from a hash, are enough.
    """
    words = struct.unpack("<8Q", hashlib.sha512(f"{seed} {key} {number}".encode()).digest())
    area, shape, left, top, turned, *colours = (word / _UNIT for word in words)
    a = how.area + (1 - how.area) * area
    low, high = math.log(max(1 / _ASPECT, a)), math.log(min(_ASPECT, 1 / a))
    r = math.exp(low + (high - low) * shape)
    width, height = min(1.0, math.sqrt(a * r)), min(1.0, math.sqrt(a / r))
    x0, y0 = left * (1 - width), top * (1 - height)
    factors = (1 + how.colour * (2 * u - 1) for u in colours)
    return View((x0, y0, min(1.0, x0 + width), min(1.0, y0 + height)), turned < how.flip, *factors).stored


def apply(image: Image.Image, view: View) -> Image.Image:
    """An RGB image as a view shows it, at the image's own resolution."""
    x0, y0, x1, y1 = view.box
    left, right = _pixels(x0, x1, image.width)
    upper, lower = _pixels(y0, y1, image.height)
    seen = image.crop((left, upper, right, lower))
    if view.flip:
        seen = seen.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    changes = (
        (ImageEnhance.Brightness, view.brightness),
        (ImageEnhance.Contrast, view.contrast),
        (ImageEnhance.Color, view.saturation),
    )
    for change, factor in changes:
        if factor != 1:
            seen = change(seen).enhance(factor)
    return seen


def _pixels(begin: float, end: float, size: int) -> tuple[int, int]:
    """The pixels of a side between two shares of it, at least one."""
    first = min(round(begin * size), size - 1)
    return first, max(first + 1, round(end * size))

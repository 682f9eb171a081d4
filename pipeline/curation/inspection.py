"""What is asked of an image before it may be kept, and what is remembered of it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from pipeline.artifacts.schema import Reason
from pipeline.curation import appearance
from pipeline.errors import InputError
from pipeline.images import decoding
from pipeline.images.formats import EXTENSIONS
from pipeline.sources import File, TooManyBytes


class ImageChanged(InputError):
    """An image file is not what it was when it was inspected."""


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """Which sizes are decoded and kept; sides after EXIF rotation, in pixels."""

    min_side: int
    max_pixels: int
    max_aspect: float
    """Longer side over shorter side."""
    animated: bool = False
    """Whether the first frame of an animation will do."""

    def widest(self) -> ImageLimits:
        """Those of whatever can be looked at."""
        return ImageLimits(1, self.max_pixels, float("inf"), animated=True)

    def fault(self, width: int, height: int, animated: bool) -> ImageFault | None:
        """What is wrong with an image of this size."""
        if width * height > self.max_pixels:
            return ImageFault(Reason.OVERSIZED_IMAGE, f"{width} x {height}, at most {self.max_pixels:,} pixels")
        if min(width, height) < self.min_side:
            return ImageFault(Reason.SMALL_IMAGE, f"{width} x {height}, at least {self.min_side} a side")
        if max(width, height) > self.max_aspect * min(width, height):
            return ImageFault(
                Reason.EXTREME_SHAPE, f"{width} x {height}, at most {self.max_aspect:g} times as long as wide"
            )
        if animated and not self.animated:
            return ImageFault(Reason.ANIMATED_IMAGE, "more than one frame")
        return None


@dataclass(frozen=True, slots=True)
class Inspection:
    """What is known of a readable image; width and height after EXIF rotation."""

    sha256: bytes
    phash: int
    sketch: bytes
    width: int
    height: int
    extension: str
    animated: bool = False
    frames: tuple[bytes, ...] = ()
    sharpness: float = 0.0
    """`appearance.sharpness`: low where it is blurred."""
    brightness: float = 0.0
    """Mean grey level, 0..255."""


@dataclass(frozen=True, slots=True)
class ImageFault:
    """Why an image is not kept."""

    reason: Reason
    detail: str


def inspect(file: File, limits: ImageLimits) -> Inspection | ImageFault:
    """Read an image, check its header, then decode all of its data, at a reduced size where the format allows it."""
    name = file.name
    try:
        data = file.read()
    except FileNotFoundError:
        return ImageFault(Reason.MISSING_IMAGE, f"{name} does not exist")
    except TooManyBytes as error:
        return ImageFault(Reason.OVERSIZED_IMAGE, f"{name}: {error}")
    except OSError as error:
        return ImageFault(Reason.UNREADABLE_IMAGE, f"{name}: {error}")
    if not data:
        return ImageFault(Reason.EMPTY_FILE, f"{name} has no bytes")
    try:
        with decoding.opened(data) as image:
            # Of an image with too many pixels nothing but the header is looked at, not even for more frames.
            fault = limits.fault(image.width, image.height, animated=False)
            animated = fault is None and decoding.is_animated(image)
            if fault := fault or limits.fault(image.width, image.height, animated):
                return ImageFault(fault.reason, f"{name}: {fault.detail}")
            extension = EXTENSIONS[image.format or ""]
            width, height = decoding.upright_size(image)
            decoded = decoding.upright(image, appearance.ENOUGH)
            small = appearance.shrink(decoded)
            digest = hashlib.sha256(data).digest()
            phash, sketch = appearance.perceptual_hash(small), appearance.sketch(small)
            seen = (animated, appearance.frames(small), *appearance.sharpness(decoded))
            return Inspection(digest, phash, sketch, width, height, extension, *seen)
    except decoding.NotAnImage as error:
        return ImageFault(Reason.NOT_AN_IMAGE, f"{name}: {error}")
    except decoding.OversizedImage as error:
        return ImageFault(Reason.OVERSIZED_IMAGE, f"{name}: {error}")
    except decoding.CostlyImage as error:
        return ImageFault(Reason.COSTLY_IMAGE, f"{name}: {error}")
    except decoding.UnreadableImage as error:
        return ImageFault(Reason.UNREADABLE_IMAGE, f"{name}: {error}")

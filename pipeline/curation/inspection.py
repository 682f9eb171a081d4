"""What is asked of an image before it may be kept, and what is remembered of it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from pipeline import images
from pipeline.curation import looks
from pipeline.schema import Reason
from pipeline.sources import File


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """Which sizes are decoded and kept; sides after EXIF rotation, in pixels."""

    min_side: int
    max_pixels: int
    max_aspect: float
    """Longer side over shorter side."""


@dataclass(frozen=True, slots=True)
class Inspection:
    """What is known of a readable image; width and height after EXIF rotation."""

    sha256: bytes
    phash: int
    sketch: bytes
    width: int
    height: int
    extension: str
    stamp: str
    """Of the file when it was read."""


@dataclass(frozen=True, slots=True)
class ImageFault:
    """Why an image is not kept."""

    reason: Reason
    detail: str


def inspect(file: File, limits: ImageLimits) -> Inspection | ImageFault:
    """Read an image, check its header, then decode all of its data, at a reduced size where the format allows it."""
    name = Path(file.path).name
    try:
        stamp = file.stamp()
        data = file.read()
    except FileNotFoundError:
        return ImageFault(Reason.MISSING_IMAGE, f"{name} does not exist")
    except OSError as error:
        return ImageFault(Reason.UNREADABLE_IMAGE, f"{name}: {error}")
    if not data:
        return ImageFault(Reason.EMPTY_FILE, f"{name} has no bytes")
    try:
        with images.opened(data) as image:
            if image.width * image.height > limits.max_pixels:
                return ImageFault(
                    Reason.OVERSIZED_IMAGE,
                    f"{name}: {image.width} x {image.height}, at most {limits.max_pixels:,} pixels",
                )
            if min(image.size) < limits.min_side:
                return ImageFault(
                    Reason.SMALL_IMAGE, f"{name}: {image.width} x {image.height}, at least {limits.min_side} a side"
                )
            if max(image.size) > limits.max_aspect * min(image.size):
                return ImageFault(
                    Reason.EXTREME_SHAPE,
                    f"{name}: {image.width} x {image.height}, at most {limits.max_aspect:g} times as long as wide",
                )
            if images.is_animated(image):
                return ImageFault(Reason.ANIMATED_IMAGE, f"{name}: more than one frame")
            extension = images.EXTENSIONS[image.format or ""]
            width, height = images.upright_size(image)
            small = looks.shrink(images.upright(image, looks.ENOUGH))
            return Inspection(
                hashlib.sha256(data).digest(), looks.perceptual_hash(small), looks.sketch(small), width, height,
                extension, stamp,
            )  # fmt: skip
    except images.NotAnImage as error:
        return ImageFault(Reason.NOT_AN_IMAGE, f"{name}: {error}")
    except images.OversizedImage as error:
        return ImageFault(Reason.OVERSIZED_IMAGE, f"{name}: {error}")
    except images.UnreadableImage as error:
        return ImageFault(Reason.UNREADABLE_IMAGE, f"{name}: {error}")

"""What is asked of one image and of one caption before it may be kept."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from pipeline import images
from pipeline.schema import Reason


@dataclass(frozen=True, slots=True)
class Inspection:
    """What is known of a readable image; width and height after EXIF rotation."""

    sha256: str
    phash: int
    width: int
    height: int
    extension: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why an image is not kept."""

    reason: Reason
    detail: str


def inspect_image(path: Path | None) -> Inspection | Refusal:
    """Read and fully decode one image file."""
    if path is None:
        return Refusal(Reason.MISSING_IMAGE, "no such file was downloaded")
    try:
        data = path.read_bytes()
        extension = images.sniff(data)
        picture = images.decode(data)
    except FileNotFoundError:
        return Refusal(Reason.MISSING_IMAGE, f"{path.name} does not exist")
    except (images.UnreadableImage, OSError) as error:
        return Refusal(Reason.UNREADABLE_IMAGE, f"{path.name}: {error}")
    return Inspection(
        hashlib.sha256(data).hexdigest(), images.perceptual_hash(picture), picture.width, picture.height, extension
    )


def clean_caption(text: str) -> str:
    """The caption with white space collapsed; empty if nothing but white space and punctuation is left."""
    text = " ".join(text.split())
    return text if any(c.isalnum() for c in text) else ""

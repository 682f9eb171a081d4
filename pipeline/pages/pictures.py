"""Small pictures inside the report's pages."""

from __future__ import annotations

import base64

from PIL import Image

from pipeline import images
from pipeline.artifacts.manifest import Manifest

THUMBNAIL = 176
"""Pixels of the longer side."""


def thumbnail(data: bytes) -> str:
    """A small JPEG of a picture, as a data URI."""
    picture = images.decode(data)
    picture.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
    return "data:image/jpeg;base64," + base64.b64encode(images.encode_jpeg(picture, 82)).decode()


def thumbnails(manifest: Manifest, keys: set[str]) -> dict[str, str]:
    """Thumbnails of some of a manifest's pictures, by key."""
    rows = [row for row, key in enumerate(manifest.keys) if key in keys]
    return {key: thumbnail(data) for key, data in manifest.images("thumbnails", rows)}

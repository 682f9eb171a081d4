"""Small images inside the report's pages."""

import base64

from PIL import Image

from pipeline.artifacts.manifest import Manifest
from pipeline.images import decoding

THUMBNAIL = 176
"""Pixels of the longer side."""


def thumbnail(data: bytes) -> str:
    """A small JPEG of an image, as a data URI."""
    image = decoding.decode(data)
    image.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
    return "data:image/jpeg;base64," + base64.b64encode(decoding.encode_jpeg(image, 82)).decode()


def thumbnails(manifest: Manifest, keys: set[str]) -> dict[str, str]:
    """Thumbnails of some of a manifest's images, by key."""
    rows = [row for row, key in enumerate(manifest.keys) if key in keys]
    return {key: thumbnail(data) for key, data in manifest.images("thumbnails", rows)}

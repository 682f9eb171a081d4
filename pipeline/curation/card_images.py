"""Small images of what a data card shows."""

import os
from pathlib import Path

from PIL import Image

from pipeline.disk import files
from pipeline.images import decoding
from pipeline.sources import File

THUMBNAIL = 112


def save(file: tuple[bytes | None, int, int | None], max_pixels: int, out: Path, name: str) -> bool:
    """Write a small image of an image to `out`/`name`; returns whether there is anything to be seen.

    Args:
        file: path, offset and length; no path where there is no file.
    """
    image = _thumbnail(*file, max_pixels)
    if image is None:
        return False
    with files.whole(out / name) as temporary:
        temporary.write_bytes(decoding.encode_jpeg(image, 82))
    return True


def _thumbnail(path: bytes | None, offset: int, length: int | None, max_pixels: int) -> Image.Image | None:
    """None where there is nothing to be seen, which is what many were rejected for."""
    if not path:
        return None
    try:
        with decoding.opened(File(os.fsdecode(path), offset, length).read()) as image:
            if image.width * image.height > max_pixels:
                return None
            shown = decoding.upright(image, 2 * THUMBNAIL)
            shown.thumbnail((THUMBNAIL, THUMBNAIL))
            return shown.copy()
    except (OSError, decoding.UnreadableImage):
        return None

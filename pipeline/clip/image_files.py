"""Image files through the image tower."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.clip import encode
from pipeline.clip.encode import Compute
from pipeline.clip.towers import Clip
from pipeline.errors import InputError
from pipeline.images import decoding
from pipeline.machine.ahead import ahead
from pipeline.machine.batches import batches
from pipeline.machine.progress import track

_AHEAD = 64
"""Images decoded ahead, besides one a thread."""


class ImageFile(Protocol):
    """An image's file, wherever it is: a path, or a member of a tar."""

    def read_bytes(self) -> bytes:
        """Its bytes."""


def bytes_of(image_file: ImageFile) -> bytes:
    """The bytes of an image's file, of which no more are read than any image may have.

    Raises:
        InputError: it has more, or cannot be read.
    """
    try:
        return decoding.read(image_file) if isinstance(image_file, Path) else image_file.read_bytes()
    except decoding.UnreadableImage as error:
        raise InputError(f"{image_file} is no image ({error}); take it out or replace it") from error


def pixels(clip: Clip, image_files: Sequence[ImageFile], what: str, workers: int = 1) -> Iterator[NDArray[np.uint8]]:
    """Decode every image for the tower, uint8 [3, side, side] each, a few images ahead of whoever takes them.

    Raises:
        InputError: a file is no image.
    """
    to_pixels = clip.pixels()

    def decoded(image_file: ImageFile) -> NDArray[np.uint8]:
        try:
            return to_pixels(decoding.decode(bytes_of(image_file)))
        except decoding.UnreadableImage as error:
            raise InputError(f"{image_file} is no image ({error}); take it out or replace it") from error

    yield from ahead(decoded, track(image_files, what, unit="images"), threads=workers, depth=_AHEAD + workers)


def embed(clip: Clip, image_files: Sequence[ImageFile], compute: Compute, what: str) -> Tensor:
    """Unit float32 [n, d] of every image; a batch is in memory, and what `compute.workers` decode ahead."""
    rows = pixels(clip, image_files, what, compute.workers)
    return torch.cat(list(encode.images_of(clip, batches(rows, compute.batch), compute)))

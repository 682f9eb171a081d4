"""Picture files through the image tower."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline import images
from pipeline.clip import encode
from pipeline.clip.encode import Compute
from pipeline.clip.towers import Clip
from pipeline.errors import InputError
from pipeline.machine.ahead import ahead
from pipeline.machine.batches import batches
from pipeline.machine.progress import track

_AHEAD = 64
"""Pictures decoded ahead, besides one a thread."""


class Picture(Protocol):
    """A picture's file, wherever it is: a path, or a member of a tar."""

    def read_bytes(self) -> bytes:
        """Its bytes."""


def bytes_of(picture: Picture) -> bytes:
    """The bytes of a picture's file, of which no more are read than any picture may have.

    Raises:
        InputError: it has more, or cannot be read.
    """
    try:
        return images.read(picture) if isinstance(picture, Path) else picture.read_bytes()
    except images.UnreadableImage as error:
        raise InputError(f"{picture} is no picture ({error}); take it out or replace it") from error


def pixels(clip: Clip, pictures: Sequence[Picture], what: str, workers: int = 1) -> Iterator[NDArray[np.uint8]]:
    """Decode every picture for the tower, uint8 [3, side, side] each.

    Args:
        clip: whose image tower is to read them.
        pictures: whatever has bytes, and a name as a string.
        what: for the progress line.
        workers: threads that decode, a few pictures ahead of whoever takes them.

    Raises:
        InputError: a file is no picture.
    """
    to_pixels = clip.pixels()

    def decoded(picture: Picture) -> NDArray[np.uint8]:
        try:
            return to_pixels(images.decode(bytes_of(picture)))
        except images.UnreadableImage as error:
            raise InputError(f"{picture} is no picture ({error}); take it out or replace it") from error

    yield from ahead(decoded, track(pictures, what, unit="images"), threads=workers, depth=_AHEAD + workers)


def embed(clip: Clip, pictures: Sequence[Picture], compute: Compute, what: str) -> Tensor:
    """Unit float32 [n, d] of every picture; a batch is in memory, and what `compute.workers` decode ahead."""
    rows = pixels(clip, pictures, what, compute.workers)
    return torch.cat([encode.images(clip, batch, compute) for batch in batches(rows, compute.batch)])

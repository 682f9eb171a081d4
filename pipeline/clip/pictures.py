"""Picture files through the image tower."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
from pipeline.progress import track


class Picture(Protocol):
    """A picture's file, wherever it is: a path, or a member of a tar."""

    def read_bytes(self) -> bytes:
        """Its bytes."""


def pixels(clip: Clip, paths: Sequence[Picture], what: str) -> Iterator[NDArray[np.uint8]]:
    """Decode every picture for the tower, uint8 [3, side, side] each.

    Raises:
        InputError: a file is no picture.
    """
    to_pixels = clip.pixels()
    for path in track(paths, what, unit="images"):
        try:
            yield to_pixels(images.decode(path.read_bytes()))
        except images.UnreadableImage as error:
            raise InputError(f"{path} is no picture ({error}); take it out or replace it") from error


def embed(clip: Clip, paths: Sequence[Picture], compute: Compute, what: str) -> Tensor:
    """Unit float32 [n, d] of every picture, a batch in memory at a time."""
    rows = pixels(clip, paths, what)
    return torch.cat([encode.images(clip, batch, compute) for batch in encode.batches(rows, compute.batch)])

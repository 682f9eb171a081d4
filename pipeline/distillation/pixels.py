"""Images at the tower's input size: decoded once into a memory-mapped file, or again whenever they are read.

They are the same in every epoch. What is drawn anew in every step, as an augmentation would be, belongs into `loader`.
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image

from pipeline.clip import towers
from pipeline.clip.towers import Clip
from pipeline.disk import files, sealed
from pipeline.errors import Damaged, InputError
from pipeline.images import decoding
from pipeline.machine.ahead import ahead

log = logging.getLogger(__name__)


class Source(Protocol):
    """Images in a fixed order, one a file: a `Manifest`, or `Crops`; or several, if it is `Several`."""

    @property
    def fingerprint(self) -> str:
        """The fingerprint of what the images were made from."""

    @property
    def splits(self) -> Sequence[str]:
        """The splits that the samples are of."""

    def __len__(self) -> int: ...

    def image(self, row: int, /) -> bytes:
        """The bytes of one image's file; may be called by several threads once it has returned."""

    def images(self, what: str, /) -> Iterable[tuple[str, bytes]]:
        """Key and bytes of all files; `what` is for the progress line."""


@runtime_checkable
class Several(Source, Protocol):
    """Several images of each file, one after the other: its views."""

    @property
    def count(self) -> int:
        """How many of each file."""

    def made(self, row: int, image: Image, /) -> Image:
        """One of them, of its decoded file."""


def cached(clip: Clip, source: Source, folder: Path, threads: int = 1) -> NDArray[np.uint8]:
    """uint8 [n, 3, side, side] in the source's order, read-only, mapped from a file below `folder`.

    `threads` decode, if it is not there. The file is named by source, splits and preprocessing, so another curation
    or another tower never reads it. All of it is read and compared with its seal; a damaged one is set aside, named
    on the screen and made again.

    Raises:
        InputError: a file is no image.
    """
    tower = {"side": clip.image_size, "preprocess": clip.config["preprocess_cfg"], "code": [decoding.CODE, towers.CODE]}
    name = files.fingerprint(manifest=source.fingerprint, splits=source.splits, **tower)
    path = folder / f"{name}.npy"
    if not _is_whole(path, threads):
        shape = (len(source), 3, clip.image_size, clip.image_size)
        with files.whole(path) as temporary:
            pixels = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.uint8, shape=shape)
            encoded = enumerate(source.images("decode"))
            decoded = ahead(_pixels_of(clip, source), encoded, threads=threads, depth=4 * threads)
            for i, row in enumerate(chain.from_iterable(decoded)):
                pixels[i] = row
            pixels.flush()
            del pixels
            sealed.seal(temporary, name, threads)
    mapped: NDArray[np.uint8] = np.load(path, mmap_mode="r")
    return mapped


def _pixels_of(clip: Clip, source: Source) -> Callable[[tuple[int, tuple[str, bytes]]], list[NDArray[np.uint8]]]:
    """A function from a file's number, name and bytes to the pixels of its images."""
    to_pixels = clip.pixels()

    def pixels(given: tuple[int, tuple[str, bytes]]) -> list[NDArray[np.uint8]]:
        number, (name, data) = given
        try:
            image = decoding.decode(data)
        except decoding.UnreadableImage as error:
            raise InputError(f"{name} is no image ({error}); take it out or replace it") from error
        if not isinstance(source, Several):
            return [to_pixels(image)]
        first = number * source.count
        return [to_pixels(source.made(row, image)) for row in range(first, first + source.count)]

    return pixels


def check(path: Path, threads: int = 1) -> None:
    """Read all of a file of decoded images.

    Raises:
        Damaged: its bytes are not those that were decoded for the source that its name stands for.
    """
    sealed.check(path, path.stem, threads)


def _is_whole(path: Path, threads: int) -> bool:
    """Whether the file is there as it was written; a damaged one is set aside and named."""
    if not path.exists():
        return False
    try:
        check(path, threads)
    except FileNotFoundError:
        return False  # another process has just set it aside
    except Damaged as error:
        log.warning("%s; %s, and its images are decoded again", error, files.set_aside(path))
        return False
    return True


class Decoded:
    """The images of a source, decoded and resized whenever they are read: no disk space, a decoder's time.

    The threads that gather a student's batches decode them, so several are decoded at a time.
    """

    def __init__(self, clip: Clip, source: Source) -> None:
        self._source, self._to_pixels, self._side = source, clip.pixels(), clip.image_size
        if len(source):
            source.image(0)  # finds the places of all

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """uint8 [len(rows), 3, side, side]."""
        if len(rows) == 0:
            return np.empty((0, 3, self._side, self._side), dtype=np.uint8)
        return np.stack([self._pixels(int(row)) for row in rows])

    def _pixels(self, row: int) -> NDArray[np.uint8]:
        image = decoding.decode(self._source.image(row))
        return self._to_pixels(self._source.made(row, image) if isinstance(self._source, Several) else image)

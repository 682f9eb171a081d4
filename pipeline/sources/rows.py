"""What a reader yields: images, captions, and rows that are neither."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pipeline.errors import InputError
from pipeline.schema import Reason


class SourceError(InputError):
    """A corpus is missing, or is not in the layout its reader knows."""


@dataclass(frozen=True, slots=True)
class File:
    """Where an image's bytes lie: a file, or a part of one (a member of a tar)."""

    path: str
    offset: int = 0
    length: int | None = None
    """In bytes; None is everything from `offset` on."""

    def size(self) -> int:
        """In bytes.

        Raises:
            OSError: there is no such file.
        """
        return self.length if self.length is not None else os.stat(self.path).st_size - self.offset  # noqa: PTH116

    def read(self) -> bytes:
        """The bytes.

        Raises:
            OSError: there is no such file, or it cannot be read.
        """
        with open(self.path, "rb", buffering=0) as stream:  # noqa: PTH123 - a Path would be made 67,500 times
            stream.seek(self.offset)
            return stream.read() if self.length is None else stream.read(self.length)


@dataclass(frozen=True, slots=True)
class Image:
    """An image, nothing opened yet.

    A reader may yield the same image with every one of its captions: equal rows are one image. Of unequal ones with
    the same id the first that has a file counts.
    """

    id: str
    """The corpus's own id; the key is made of it."""
    file: File | None
    """None when no such file was downloaded."""
    licence: str = ""
    url: str = ""
    evaluation: Literal["val", "test"] | None = None
    """Its place in a published split, where that keeps it out of training."""
    note: str = ""
    """Why there is no file, if the source knows."""


@dataclass(frozen=True, slots=True)
class Caption:
    """A caption of image `id`, as it stands in the source: bytes where the file's encoding is not yet checked."""

    id: str
    text: str | bytes
    place: str
    """Where it stands, such as `results_20130124.token:17`."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """A row that cannot be read as an image or a caption. `place` is where it stands in the source."""

    kind: Literal["image", "caption"]
    id: str
    place: str
    reason: Reason
    detail: str = ""


Row = Image | Caption | Rejected


@dataclass(frozen=True, slots=True)
class Corpus:
    """A corpus that can be read, and what must be said of it."""

    read: Callable[[Path], Iterator[Row]]
    """Takes the corpus's folder and yields every row of it, in any order; raises SourceError for a wrong layout."""
    title: str
    citation: str
    terms: str
    """Licence of captions and images, in a sentence."""
    split_file: str = ""
    """Published split in the corpus's folder whose val and test images never train, where there is one."""

"""What a reader yields: images, captions, and rows that are neither."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from pipeline.artifacts.schema import Reason
from pipeline.errors import InputError
from pipeline.images.bounds import MOST_BYTES
from pipeline.sources.recognition import Folder, Recognised


class SourceError(InputError):
    """A corpus is missing, or is not in the layout its reader knows."""


class TooManyBytes(OSError):
    """An image file is larger than any that is read."""


@dataclass(frozen=True, slots=True)
class File:
    """Where an image's bytes lie: a file, a part of one (a member of a tar), or a cell of a parquet.

    A cell is at `<file>.parquet/<column>`, a path at which no file can be, and `offset` is its row.
    """

    path: str
    offset: int = 0
    length: int | None = None
    """In bytes; None is everything from `offset` on."""

    @property
    def name(self) -> str:
        """The file's own name, or a cell's, with its row."""
        folder, _, name = self.path.rpartition("/")
        return f"{folder.rpartition('/')[2]}/{name} row {self.offset}" if self._is_cell() else name

    def read(self) -> bytes:
        """The bytes.

        Raises:
            TooManyBytes: there are more than MOST_BYTES.
            OSError: there is no such file, or it cannot be read.
        """
        if self._is_cell():
            from pipeline.sources.cells import read_cell  # pyarrow takes a while to load

            return read_cell(*os.path.split(self.path), self.offset, MOST_BYTES)
        with open(self.path, "rb", buffering=0) as stream:  # noqa: PTH123 - a Path would be made 67,500 times
            there = os.fstat(stream.fileno()).st_size - self.offset if self.length is None else self.length
            if there > MOST_BYTES:
                raise TooManyBytes(f"{there:,} bytes, at most {MOST_BYTES:,}")
            stream.seek(self.offset)
            return stream.read(max(there, 0))

    def _is_cell(self) -> bool:
        folder = os.path.split(self.path)[0]
        return folder.lower().endswith(".parquet") and os.path.isfile(folder)  # noqa: PTH113 - as above


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
class Rewrite:
    """A caption of image `id` in other words, which stands in for one of its captions in training; as Caption."""

    id: str
    text: str | bytes
    place: str


@dataclass(frozen=True, slots=True)
class Negative:
    """A caption that is wrong for image `id`, as Caption; `file` is an image that it is right for, if there is one."""

    id: str
    text: str | bytes
    place: str
    file: File | None = None


@dataclass(frozen=True, slots=True)
class Box:
    """A part of image `id` that a phrase names; `place` as of Caption."""

    id: str
    box: tuple[float, float, float, float]
    """x0, y0, x1, y1 in pixels of the upright image."""
    phrase: str
    score: float
    """0..1."""
    place: str


Kind = Literal["image", "caption", "rewrite", "negative", "box"]


@dataclass(frozen=True, slots=True)
class Rejected:
    """A row that cannot be read as what it should be. `place` is where it stands in the source."""

    kind: Kind
    id: str
    place: str
    reason: Reason
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Held:
    """How many captions a part of a file holds, counted where it is read and before anything is made of it."""

    captions: int
    place: str


Row = Image | Caption | Rewrite | Negative | Box | Rejected


def accounted(rows: Iterable[Row | Held]) -> Iterator[Row]:
    """The rows, and the certainty that every caption that the files hold is among them, kept or rejected.

    Raises:
        AssertionError: one is not; a defect of the reader, never of the input.
    """
    held = found = 0
    for row in rows:
        if isinstance(row, Caption):
            found += 1
        elif isinstance(row, Held):
            held += row.captions
            continue
        elif isinstance(row, Rejected):
            found += row.kind == "caption"
        yield row
    if found != held:
        raise AssertionError(f"the files hold {held} captions, of which {found} were read")


def leaves(value: Any, place: str, name: str = "") -> Iterator[tuple[str, Any]]:
    """What lists hold, however nested, each with its place; an empty list, as anything else, is one by itself.

    Args:
        value: a list, or what should be in one.
        place: of it.
        name: of the field that objects should have; one that lacks it counts as a list of the objects and lists in it.
    """
    waiting = [(place, value)]
    while waiting:
        inner_place, found = waiting.pop()
        if isinstance(found, list):
            inner = [(f"{inner_place}[{k}]", each) for k, each in enumerate(found)]
        elif isinstance(found, dict) and name not in found:
            inner = [(f"{inner_place}.{key}", each) for key, each in found.items() if isinstance(each, dict | list)]
        else:
            inner = []
        if inner:
            waiting += reversed(inner)
        else:
            yield inner_place, found


@dataclass(frozen=True, slots=True)
class Corpus:
    """A kind of source that can be read, and what must be said of it."""

    read: Callable[..., Iterator[Row | Held]]
    """Takes the source's path and yields every row of it, in any order, and how many captions its files hold; raises
    SourceError for a wrong layout."""
    title: str
    citation: str
    """Empty where there is nothing to cite."""
    terms: str
    """Licence of captions and images, in a sentence."""
    is_file: bool = False
    """Whether it may be a single file."""
    sees_beside: bool = False
    """Whether its reader would take side files for its own, and so is given their names (`beside`)."""
    split_file: str = ""
    """Published split in the corpus's folder whose val and test images never train, where there is one."""
    identify: Callable[[str], str] = str
    """Takes what people call an image in side files to its id."""
    recognise: Callable[[Folder], Recognised | None] | None = None
    """Takes a folder and tells by the names in it whether it is one of this kind, for `dclip init`."""

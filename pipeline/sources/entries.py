"""From the cells of a row, in whatever it is written, to an image and its captions."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, NamedTuple

from pipeline.artifacts.schema import Reason
from pipeline.sources.columns import Columns, Evaluation, evaluation
from pipeline.sources.json_arrays import printable
from pipeline.sources.rows import Caption, File, Held, Image, Rejected, Row, leaves

Find = Callable[[str], tuple[File | None, str]]
"""Takes a url to its file, or to why there is none."""


class Missing(NamedTuple):
    """No image, and why."""

    why: str


class Entry(NamedTuple):
    """A row of a table."""

    cells: dict[str, Any]
    """By column. Where the image itself stands is a `File`, or the path that stands for it, or `Missing`."""
    place: str
    """Such as `captions.csv:17`."""
    fault: str = ""
    """Why it cannot be read; it then counts as an image with a caption."""


def url_id(url: str) -> str:
    """16 hex digits of the url's sha256."""
    return hashlib.sha256(url.encode()).hexdigest()[:16]


def file_id(name: str) -> str:
    """A file's name as an id: without .jpg, the usual extension; an image of another extension is another image."""
    stem = name.removesuffix(".jpg")
    return stem if stem != name and stem and not stem.endswith("/") else f"{name}."


def key_text(value: Any) -> str:
    """An id as text; it may be bytes, or a number, and one that was a whole number may have a point. Empty if none."""
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    elif isinstance(value, int | float | Decimal) and not isinstance(value, bool) and value % 1 == 0:
        value = str(int(value))
    return value.strip() if isinstance(value, str) and printable(value) == value else ""


@dataclass(frozen=True, slots=True)
class Reader:
    """What the columns of a table mean.

    Args:
        columns: of the table.
        folder: that paths are relative to.
        find: takes urls to images, where there is nothing but urls.
        split: of every row, whatever it says itself.
    """

    columns: Columns
    folder: str
    find: Find | None = None
    split: Evaluation | None = None

    def rows(self, entry: Entry) -> Iterator[Row | Held]:
        """The image of a row, its captions, and how many they are."""
        place = entry.place
        if entry.fault:
            yield Held(1, place)
            yield Rejected("image", "", place, Reason.MALFORMED_ROW, entry.fault)
            yield Rejected("caption", "", place, Reason.MALFORMED_ROW, entry.fault)
            return
        captions = self._captions(entry)
        yield Held(len(captions), place)
        try:
            image = self._image(entry)
        except ValueError as error:
            yield Rejected("image", "", place, Reason.MALFORMED_ROW, str(error))
            for caption_place, _ in captions:
                reason = f"its image cannot be read: {error}"
                yield Rejected("caption", "", caption_place, Reason.MALFORMED_ROW, reason)
            return
        yield image
        for caption_place, caption in captions:
            try:
                text = caption.read() if isinstance(caption, File) else caption
            except OSError as error:
                yield Rejected("caption", image.id, caption_place, Reason.MALFORMED_ROW, str(error))
                continue
            if isinstance(text, str | bytes):
                yield Caption(image.id, text, caption_place)
            else:
                reason = f"expected text, found {text!r:.200}"
                yield Rejected("caption", image.id, caption_place, Reason.MALFORMED_ROW, reason)

    def _captions(self, entry: Entry) -> list[tuple[str, Any]]:
        """Place and text of every caption; a cell that is empty, or an empty list, holds none."""
        found: list[tuple[str, Any]] = []
        several = len(self.columns.captions) > 1
        for column in self.columns.captions:
            cell = entry.cells.get(column)
            if isinstance(cell, list):
                place = f"{entry.place}#{column}" if several else entry.place
                found += [] if cell == [] else [leaf for leaf in leaves(cell, place) if leaf[1] is not None]
            elif cell is not None:
                found.append((f"{entry.place}#{column}" if several else entry.place, cell))
        return found

    def _image(self, entry: Entry) -> Image:
        """The image of a row.

        Raises:
            ValueError: the row does not say which it is.
        """
        cells, columns = entry.cells, self.columns
        url = printable(cells.get(columns.url)).strip() if columns.url else ""
        file, note = None, ""
        if columns.bytes:
            file, identity = cells.get(columns.bytes), entry.place
            if isinstance(file, str) and file:
                file = self._at(_name(file, "a path"))
            elif not isinstance(file, File):
                file, note = None, file.why if isinstance(file, Missing) else "the row has no image"
        elif columns.path:
            name = _name(cells.get(columns.path), "a path")
            file, identity = self._at(name), file_id(name)
        else:
            url = _name(cells.get(columns.url), "a url")
            identity = url_id(url)
            if self.find:
                file, note = self.find(url)
        if columns.id:
            identity = key_text(cells.get(columns.id))
            if not identity:
                raise ValueError(f"expected an id in column {columns.id}, found {cells.get(columns.id)!r:.50}")
        split = evaluation(cells.get(columns.split)) if columns.split else None
        licence = printable(cells.get(columns.licence)) if columns.licence else ""
        return Image(identity, file, licence=licence, url=url, evaluation=self.split or split, note=note)

    def _at(self, name: str) -> File:
        return File(name if name.startswith("/") else f"{self.folder}/{name}")


def _name(value: Any, expected: str) -> str:
    """A path or a url that a cell holds.

    Raises:
        ValueError: it holds something else, or what no file system takes.
    """
    if isinstance(value, bytes):
        value = value.decode()
    if not isinstance(value, str) or not value.strip() or "\0" in value or printable(value) != value:
        raise ValueError(f"expected {expected}, found {value!r:.100}")
    return value.strip().removeprefix("file://").removeprefix("./")

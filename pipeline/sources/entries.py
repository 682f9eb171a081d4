"""From the cells of a row, in whatever it is written, to an image and its captions."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.artifacts.schema import Reason
from pipeline.images.formats import ENDINGS
from pipeline.sources.columns import Columns, Evaluation, evaluation
from pipeline.sources.json_arrays import printable
from pipeline.sources.rows import Caption, File, Held, Image, Rejected, Row, leaves
from pipeline.sources.side_files import COLUMNS, KINDS, ColumnName, Malformed, row_of

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


def identify(name: str) -> str:
    """The id of an image that is called by its url, its file's name, or its id."""
    if "://" in name:
        return url_id(name)
    return file_id(name) if name.rpartition(".")[2].lower() in ENDINGS else name


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
        captions = self._texts(entry, self.columns.captions)
        yield Held(len(captions), place)
        try:
            image = self._image(entry)
        except ValueError as error:
            yield Rejected("image", "", place, Reason.MALFORMED_ROW, str(error))
            for caption_place, _ in captions:
                reason = f"its image cannot be read: {error}"
                yield Rejected("caption", "", caption_place, Reason.MALFORMED_ROW, reason)
            yield from self._beside(entry, "", f"its image cannot be read: {error}")
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
        yield from self._beside(entry, image.id)

    def _texts(self, entry: Entry, columns: tuple[str, ...]) -> list[tuple[str, Any]]:
        """Place and value of all that some columns hold; a cell that is empty, or an empty list, holds nothing."""
        found: list[tuple[str, Any]] = []
        for column in columns:
            cell, place = entry.cells.get(column), entry.place if len(columns) == 1 else f"{entry.place}#{column}"
            if isinstance(cell, list):
                found += [] if cell == [] else [leaf for leaf in leaves(cell, place) if leaf[1] is not None]
            elif cell is not None:
                found.append((place, cell))
        return found

    def _beside(self, entry: Entry, identity: str, fault: str = "") -> Iterator[Row]:
        """Rewrites, negatives and boxes of a row."""
        for name in COLUMNS:
            for column in getattr(self.columns, name):
                place = f"{entry.place}#{column}"
                for each, value in _values(name, entry.cells.get(column), place):
                    record = value if isinstance(value, dict) else {}
                    try:
                        if fault:
                            raise Malformed(fault)
                        text = value.get("text") if isinstance(value, dict) and name == "negatives" else value
                        yield row_of(name, identity, text, record, each, Path(self.folder))
                    except Malformed as error:
                        yield Rejected(KINDS[name], identity, each, Reason.MALFORMED_ROW, str(error))

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
            identity = identify(key_text(cells.get(columns.id)))
            if not identity:
                raise ValueError(f"expected an id in column {columns.id}, found {cells.get(columns.id)!r:.50}")
        split = evaluation(cells.get(columns.split)) if columns.split else None
        licence = printable(cells.get(columns.licence)) if columns.licence else ""
        return Image(identity, file, licence=licence, url=url, evaluation=self.split or split, note=note)

    def _at(self, name: str) -> File:
        return File(name if name.startswith("/") else f"{self.folder}/{name}")


def _values(name: ColumnName, cell: Any, place: str) -> list[tuple[str, Any]]:
    """Place and value of all that a cell holds: boxes are objects, as JSON if the cell is text, and others texts."""
    if name == "boxes" and isinstance(cell, str | bytes):
        with suppress(ValueError, RecursionError):  # what is no JSON is no box either
            cell = json.loads(cell) if cell.strip() else None
    if cell is None or cell == []:
        return []
    return [leaf for leaf in leaves(cell, place, "box" if name == "boxes" else "text") if leaf[1] is not None]


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

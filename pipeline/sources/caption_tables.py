"""Caption files as people have them: a corpus's own layout line by line, or whatever a spreadsheet made of it.

A file in the corpus's own layout is read as it stands. Of any other the encoding, line ends, delimiter, quotes and
columns are told from the file, said on the screen, and read with the csv module.
"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from pipeline.sources.delimited import DELIMITERS, Record, is_quoted, raw_bytes, records, text
from pipeline.sources.lines import Form, form, lines
from pipeline.sources.rows import Held, SourceError, leaves

_HEAD = 1000
"""Records by which a layout is told."""
_CAPTION = re.compile(
    r"(?:image[ _-]?)?(?:caption|comment|sentence|description|alt[ _-]?text|text|txt|title|raw|alt)s?", re.IGNORECASE
)
_NUMBERED_CAPTION = re.compile(r"(?:caption|comment|sentence|description|text)s?[ _-]?\d+", re.IGNORECASE)
_LETTER = re.compile(r"[^\W\d_]")
_DELIMITER_NAMES = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}


@dataclass(frozen=True, slots=True)
class Layout:
    """A corpus's own layout, and what stands for an image in any other."""

    expected: str
    """Its rows, for people."""
    parse: Callable[[bytes], tuple[str, bytes] | None]
    """Takes a row to image and caption."""
    delimiter: str
    header: re.Pattern[bytes]
    """The first line, if it is no row."""
    key: re.Pattern[str]
    """What an image is called; the first group is what it is called in its own layout."""
    names: re.Pattern[str]
    """How the column of images is called."""


class Entry(NamedTuple):
    """A row: which image, and what is said of it; both empty if the row is in no layout."""

    key: str
    text: str | bytes
    place: str
    """The file, the line, and which caption of several it is."""
    row: int
    """Counted from 0, as download scripts do."""


@dataclass(frozen=True, slots=True)
class Table:
    """A file and how it is read."""

    path: Path
    layout: Layout
    form: Form
    columns: _Columns | None = None
    """None for the corpus's own layout."""

    def read(self) -> Iterator[Entry | Held]:
        """Every caption that the file holds, and in the end how many there are."""
        if self.columns is None:
            yield from self._own()
        else:
            yield from self._others(self.columns)

    def _own(self) -> Iterator[Entry | Held]:
        count, name, parse = 0, self.path.name, self.layout.parse
        for number, line in lines(self.path, self.form):
            if number == 1 and self.layout.header.fullmatch(line):
                continue
            count += 1
            key, caption = parse(line) or ("", b"")
            yield Entry(key, caption, f"{name}:{number}", number - 1)
        yield Held(count, self.path.name)

    def _others(self, columns: _Columns) -> Iterator[Entry | Held]:
        count = 0
        for row, record in enumerate(columns.records(lines(self.path, self.form), self.layout.key)):
            key, captions = columns.split(record, self.layout.key)
            count += len(captions)
            for k, caption in enumerate(captions):
                place = f"{self.path.name}:{record.line}" + (f"[{k}]" if len(captions) > 1 else "")
                told = isinstance(caption, str | bytes)
                yield Entry(key if told else "", caption if told else b"", place, row)  # type: ignore[arg-type]
        yield Held(count, self.path.name)


@dataclass(frozen=True, slots=True)
class _Columns:
    """What of a delimited file is taken for what."""

    delimiter: str
    quoted: bool
    names: list[str]
    """Of the header, or if there is none the first row's fields."""
    has_header: bool
    key: int
    captions: list[int]
    matching: int
    """Rows of the head in which it fits."""

    def __str__(self) -> str:
        called = self.names if self.has_header else [f"{n + 1} (no header)" for n in range(len(self.names))]
        quotes = ", quotes as in csv" if self.quoted else ""
        captions = " and ".join(called[c] for c in self.captions)
        return (
            f"{_DELIMITER_NAMES[self.delimiter]} between fields{quotes}; image from column {called[self.key]}, "
            f"caption from {captions}"
        )

    def records(self, numbered: Iterator[tuple[int, bytes]], key: re.Pattern[str]) -> Iterator[Record]:
        """All but the header."""
        return islice(records(numbered, self.delimiter, self.quoted, key), int(self.has_header), None)

    def split(self, record: Record, key: re.Pattern[str]) -> tuple[str, list[object]]:
        """Image and captions of a record; no image if it has other columns than the file."""
        fields, extra = record.fields, len(record.fields) - len(self.names)
        (first, *others), at = self.captions, self.key
        if extra > 0 and not others and '"' not in record.raw:  # a caption that holds the delimiter, unquoted
            fields = [
                *fields[:first],
                self.delimiter.join(fields[first : first + extra + 1]),
                *fields[first + extra + 1 :],
            ]
            if not key.fullmatch(fields[at]):
                return "", [None]
        elif extra or any("\r" in own for c, own in enumerate(fields) if c not in self.captions):  # two rows in one
            return "", [None]
        captions = [caption for c in self.captions for caption in self._several(fields[c], c)]
        return _name(fields[at], key), captions

    def _several(self, cell: str, column: int) -> list[object]:
        """The captions of a cell, which may be a list in JSON where its header says so."""
        named = self.has_header and self.names[column].strip().casefold() in ("raw", "captions", "sentences")
        if named and cell.startswith("[") and cell.endswith("]"):
            try:
                return [leaf for _, leaf in leaves(json.loads(cell), "")]
            except (ValueError, RecursionError):
                return [None]
        return [raw_bytes(cell)]


def find(path: Path, layout: Layout) -> Table:
    """Tell how a file is written, and say so if it is not the corpus's own layout.

    Raises:
        SourceError: it is in no layout; says which columns it has.
    """
    written = form(path)
    head = [line for line in islice(lines(path, written), _HEAD) if line[1].strip()]
    rows = [line for number, line in head if not (number == 1 and layout.header.fullmatch(line))]
    own = [parsed for line in rows if (parsed := layout.parse(line))]
    columns = None
    has_quotes = bool(rows) and _holds_quotes(path)
    keys = [bool(layout.key.fullmatch(key)) for key, _ in own]
    if 2 * sum(keys) >= len(rows):
        if has_quotes and is_quoted(lines(path, written), layout.delimiter, layout.key):
            columns = _columns(head, layout, layout.delimiter, quoted=True)
    else:
        likely = DELIMITERS if 2 * len(own) < len(rows) else (layout.delimiter,)
        fits = (_columns(head, layout, d, has_quotes and is_quoted(head, d, layout.key)) for d in likely)
        columns = max((fit for fit in fits if fit), key=lambda fit: fit.matching, default=None)
        if columns and has_quotes:
            columns = replace(columns, quoted=is_quoted(lines(path, written), columns.delimiter, layout.key))
        if columns is None and not any(keys):
            raise SourceError(
                f"{path}: found {_described(rows[0])}; expected {layout.expected}, or both in columns with a header"
            )
    if columns or written != Form():
        said = "; ".join(part for part in (str(written), str(columns) if columns else layout.expected) if part)
        print(f"{path} is read as: {said}", file=sys.stderr)
    return Table(path, layout, written, columns)


def _name(cell: str, key: re.Pattern[str]) -> str:
    """The url or file name in a cell; empty if there is none, or UTF-8 cannot hold it."""
    try:
        cell.encode()
    except UnicodeEncodeError:
        return ""
    found = key.fullmatch(cell)
    return found[1] if found else ""


def _holds_quotes(path: Path) -> bool:
    with path.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            if b'"' in chunk:
                return True
    return False


def _described(line: bytes) -> str:
    """What columns a file seems to have."""
    own = text(line)
    delimiter = max(DELIMITERS, key=own.count)
    names = [name.strip(' "')[:40] for name in own.split(delimiter)[:20]]
    count = own.count(delimiter) + 1
    found = ", ".join(map(repr, names))
    return f"{count} columns between {_DELIMITER_NAMES[delimiter]}: {found}" if count > 1 else f"one column: {found}"


def _columns(head: list[tuple[int, bytes]], layout: Layout, delimiter: str, quoted: bool) -> _Columns | None:
    """Which columns of a file hold images and captions; None if it seems to have none of either."""
    found = [record.fields for record in records(head, delimiter, quoted, layout.key) if record.fields]
    ((width, _),) = Counter(map(len, found)).most_common(1) or [(0, 0)]
    if width < 2:
        return None
    first = next(own for own in found if len(own) == width)
    rows = [own for own in found[1:] if len(own) == width] or [own for own in found if len(own) == width]
    keys = [sum(bool(layout.key.fullmatch(own[c])) for own in rows) for c in range(width)]
    names = [name.strip() for name in first]
    likely = [c for c in range(width) if layout.names.fullmatch(names[c]) and 2 * keys[c] >= len(rows)]
    key = likely[0] if likely else max(range(width), key=lambda c: keys[c])
    if 2 * keys[key] < len(rows):
        return None
    known = layout.names.fullmatch(names[key]) or any(map(_CAPTION.fullmatch, names))
    has_header = first is found[0] and bool(known) and not layout.key.fullmatch(first[key])
    if not has_header and sum(2 * count >= len(rows) for count in keys) > 1:
        return None  # rows run into each other
    captions: list[int] = []
    if has_header:
        captions = [c for c in range(width) if c != key and _CAPTION.fullmatch(names[c])][:1]
        captions = captions or [c for c in range(width) if c != key and _NUMBERED_CAPTION.fullmatch(names[c])]
    if not captions:
        captions = _wordiest(rows, [c for c in range(width) if c != key])
    if not captions:
        return None
    return _Columns(delimiter, quoted, names, has_header, key, captions, matching=keys[key] + (not has_header))


def _wordiest(rows: list[list[str]], columns: list[int]) -> list[int]:
    """The one column that has words; none if there are several, of which no one knows which the captions are."""
    having = [c for c in columns if 2 * sum(bool(_LETTER.search(own[c])) for own in rows) >= len(rows)]
    return having if len(having) == 1 else []

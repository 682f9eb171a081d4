"""Caption files as people have them: a corpus's own layout line by line, or whatever a spreadsheet made of it.

A file in the corpus's own layout is read as it stands. Of any other the encoding, line ends, delimiter, quotes and
columns are told from the file, said on the screen, and read with the csv module.
"""

from __future__ import annotations

import ast
import json
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from pipeline.sources.delimited import DELIMITERS, Quotes, Record, detect_quotes, raw_bytes, records, text
from pipeline.sources.lines import Form, form, lines
from pipeline.sources.rows import Held, SourceError, leaves

_HEAD = 1000
"""Records by which a layout is told."""
_CAPTIONS = tuple(
    (re.compile(name, re.IGNORECASE), several)
    for name, several in (
        (r"(?:image[ _-]?)?captions?", False),
        (r"captions?[ _-]?\d+", True),
        # Such as blip_caption or caption_en, but nothing about captions.
        (
            r"(?!.*(?:^|[ _-])(?:ids?|index|no|num|number|count|len|length|urls?|has|is|score|lang)(?:[ _-]|$))"
            r"(?:[^\W\d_]+[ _-])*captions?(?:[ _-][^\W\d_]+)*",
            False,
        ),
        (r"(?:image[ _-]?)?(?:comment|sentence|description|text|txt)s?", False),
        (r"(?:comment|sentence|description|text)s?[ _-]?\d+", True),
        (r"(?:image[ _-]?)?(?:alt[ _-]?text|title|raw|alt)s?", False),
    )
)
"""How columns of captions are called, the surest first, and whether several of such names hold a caption each."""
_COPY = re.compile(r"\.\d+$")
"""What pandas adds to a name that an earlier column has."""
_LONGEST_NAME = 100
"""Characters; what is longer is no name, and might take long to look at."""
_NUMBER = re.compile(r"(?:(?:comment|caption|sentence)s?[ _-]?)?(?:number|num|no|index|idx|id|n|i|#)", re.IGNORECASE)
_LIST_NAMES = ("raw", "captions", "sentences")
_STRING = r"""'(?:[^'\\]|\\.)*+'|"(?:[^"\\]|\\.)*+\""""
_PYTHON_LIST = re.compile(rf"\[\s*(?:{_STRING})(?:(?:\s*+,\s*+|\s++)(?:{_STRING}))*\s*+,?\s*+\]", re.DOTALL)
"""Of strings, with commas as Python prints it or without as numpy does."""
_MOST_OF_A_LIST = 100_000
"""Characters; no more are taken for one of Python."""
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
    columns: tuple[str, ...]
    """What its header names, if it has one: image, number, caption."""
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
            if number == 1 and _is_own_header(line, self.layout):
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
                is_text = isinstance(caption, str | bytes)
                yield Entry(key if is_text else "", caption if is_text else b"", place, row)  # type: ignore[arg-type]
        yield Held(count, self.path.name)


@dataclass(frozen=True, slots=True)
class _Columns:
    """What of a delimited file is taken for what."""

    delimiter: str
    quotes: Quotes | None
    names: list[str]
    """Of the header, or if there is none the first row's fields."""
    has_header: bool
    key: int
    captions: list[int]
    lists: frozenset[int]
    """Columns whose cells are lists of captions."""
    matching: int
    """Rows of the head in which it fits."""

    def __str__(self) -> str:
        called = self.names if self.has_header else [f"{n + 1} (no header)" for n in range(len(self.names))]
        quotes = f", {self.quotes}" if self.quotes else ""
        captions = " and ".join(called[c] for c in self.captions)
        others = [name for c, name in enumerate(called) if c != self.key and c not in self.captions and name]
        left = f"; left out: {', '.join(others[:20])}" + (", ..." if len(others) > 20 else "") if others else ""
        return (
            f"{_DELIMITER_NAMES[self.delimiter]} between fields{quotes}; image from column {called[self.key]}, "
            f"caption from {captions}{left}"
        )

    def records(self, numbered: Iterator[tuple[int, bytes]], key: re.Pattern[str]) -> Iterator[Record]:
        """All but the header."""
        return islice(records(numbered, self.delimiter, self.quotes, key), int(self.has_header), None)

    def split(self, record: Record, key: re.Pattern[str]) -> tuple[str, list[object]]:
        """Image and captions of a record; no image if it has other columns than the file."""
        fields, extra = record.fields, len(record.fields) - len(self.names)
        (first, *others), key_column = self.captions, self.key
        quoted = self.quotes and self.quotes.mark in record.raw
        if extra > 0 and not others and not quoted:  # a caption that holds the delimiter
            end = first + extra + 1
            fields = [*fields[:first], self.delimiter.join(fields[first:end]), *fields[end:]]
            if not key.fullmatch(fields[key_column]):
                return "", [None]
        elif extra or any("\r" in cell for c, cell in enumerate(fields) if c not in self.captions):  # two rows in one
            return "", [None]
        captions = [caption for c in self.captions for caption in self._several(fields[c], c)]
        return _name(fields[key_column], key), captions

    def _several(self, cell: str, column: int) -> list[object]:
        """The captions of a cell."""
        if column in self.lists and cell.strip().startswith("[") and cell.strip().endswith("]"):
            found = listed(cell)
            return [None] if found is None else [leaf for _, leaf in leaves(found, "")]
        return [raw_bytes(cell)]


def find(path: Path, layout: Layout) -> Table:
    """Tell how a file is written, and say so if it is not the corpus's own layout.

    Raises:
        SourceError: it is in no layout; says which columns it has.
    """
    written = form(path)
    head = [line for line in islice(lines(path, written), _HEAD) if line[1].strip()]
    titled = bool(head) and head[0][0] == 1 and _is_own_header(head[0][1], layout)
    rows = [line for _, line in head[titled:]]
    parsed_rows = [parsed for line in rows if (parsed := layout.parse(line))]
    columns = None
    double = bool(rows) and holds_quotes(path)
    keys = [bool(layout.key.fullmatch(key)) for key, _ in parsed_rows]
    foreign = bool(rows) and not titled and _names_columns(rows[0], layout)

    def quotes(delimiter: str, whole: bool) -> Quotes | None:
        return detect_quotes(lambda: lines(path, written) if whole else head, delimiter, layout.key, double)

    if 2 * sum(keys) >= len(rows):
        found = quotes(layout.delimiter, whole=True) if rows else None
        if found or foreign or (parsed_rows and are_lists([text(caption).strip() for _, caption in parsed_rows])):
            columns = _columns(head, layout, layout.delimiter, found)
    else:
        likely = DELIMITERS if 2 * len(parsed_rows) < len(rows) or foreign else (layout.delimiter,)
        fits = (_columns(head, layout, d, quotes(d, whole=False)) for d in likely)
        columns = max((fit for fit in fits if fit), key=lambda fit: fit.matching, default=None)
        if columns and double:
            columns = replace(columns, quotes=quotes(columns.delimiter, whole=True))
        if columns is None and not any(keys):
            raise SourceError(
                f"{path}: found {_described(rows[0])}; expected {layout.expected}, or both in columns with a header"
            )
    if columns or written != Form():
        description = "; ".join(part for part in (str(written), str(columns) if columns else layout.expected) if part)
        print(f"{path} is read as: {description}", file=sys.stderr)
    return Table(path, layout, written, columns)


def _is_own_header(line: bytes, layout: Layout) -> bool:
    """Whether a line names the columns of the corpus's own layout, in its order."""
    names = _header_names(line, layout)
    kinds: dict[str, Callable[[str], object]] = {"image": layout.names.fullmatch, "number": _NUMBER.fullmatch}
    kinds["caption"] = _rank
    return len(names) == len(layout.columns) and all(
        kinds[kind](name) is not None for kind, name in zip(layout.columns, names, strict=True)
    )


def _names_columns(line: bytes, layout: Layout) -> bool:
    """Whether a line is a header, of whatever columns."""
    names = _header_names(line, layout)
    return (
        any(map(layout.names.fullmatch, names))
        and any(_rank(name) is not None for name in names)
        and not any(map(layout.key.fullmatch, names))
    )


def _header_names(line: bytes, layout: Layout) -> list[str]:
    return [name.strip(" \"'") for name in text(line).split(layout.delimiter)]


def _rank(name: str) -> int | None:
    """How sure it is that a column of this name holds captions, from 0; None if nothing says so."""
    if len(name) > _LONGEST_NAME:
        return None
    name = _COPY.sub("", name)
    return next((rank for rank, (pattern, _) in enumerate(_CAPTIONS) if pattern.fullmatch(name)), None)


def named_captions(names: list[str], key: int) -> list[int]:
    """The columns of captions by their names: the surest one, with others of its name or of its kind with numbers."""
    ranks = [(rank, c) for c, name in enumerate(names) if c != key and (rank := _rank(name)) is not None]
    if not ranks:
        return []
    best, first = min(ranks)
    same = [c for rank, c in ranks if rank == best]
    if _CAPTIONS[best][1]:
        return same
    plain = [_COPY.sub("", name).casefold() for name in names]
    return [c for c in same if plain[c] == plain[first]]


def listed(cell: str) -> list[object] | None:
    """The list that a cell is, in JSON or as Python prints one of strings; None if it is none."""
    cell = cell.strip()
    if not (cell.startswith("[") and cell.endswith("]")):
        return None
    try:
        found = json.loads(cell)
        return found if isinstance(found, list) else None
    except (ValueError, RecursionError):
        pass
    if len(cell) > _MOST_OF_A_LIST or not _PYTHON_LIST.fullmatch(cell):
        return None
    try:
        return [ast.literal_eval(string) for string in re.findall(_STRING, cell, re.DOTALL)]
    except (ValueError, SyntaxError):
        return None


def are_lists(cells: list[str]) -> bool:
    """Whether nearly all of them are, and hold text."""
    filled = [cell for cell in cells if cell.strip()]
    lists = sum(
        bool(found) and any(isinstance(leaf, str) for _, leaf in leaves(found, "")) for found in map(listed, filled)
    )
    return bool(lists) and lists >= 0.9 * len(filled)


def _name(cell: str, key: re.Pattern[str]) -> str:
    """The url or file name in a cell; empty if there is none, or UTF-8 cannot hold it."""
    try:
        cell.encode()
    except UnicodeEncodeError:
        return ""
    found = key.fullmatch(cell)
    return found[1] if found else ""


def holds_quotes(path: Path) -> bool:
    """Whether there is any double quote in a file."""
    with path.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            if b'"' in chunk:
                return True
    return False


def _described(line: bytes) -> str:
    """What columns a file seems to have."""
    decoded = text(line)
    delimiter = max(DELIMITERS, key=decoded.count)
    names = [name.strip(' "')[:40] for name in decoded.split(delimiter)[:20]]
    count = decoded.count(delimiter) + 1
    found = ", ".join(map(repr, names))
    return f"{count} columns between {_DELIMITER_NAMES[delimiter]}: {found}" if count > 1 else f"one column: {found}"


def _columns(head: list[tuple[int, bytes]], layout: Layout, delimiter: str, quotes: Quotes | None) -> _Columns | None:
    """Which columns of a file hold images and captions; None if it seems to have none of either."""
    found = [record.fields for record in records(head, delimiter, quotes, layout.key) if record.fields]
    ((width, _),) = Counter(map(len, found)).most_common(1) or [(0, 0)]
    if width < 2:
        return None
    first = next(fields for fields in found if len(fields) == width)
    rows = [fields for fields in found[1:] if len(fields) == width] or [
        fields for fields in found if len(fields) == width
    ]
    keys = [sum(bool(layout.key.fullmatch(fields[c])) for fields in rows) for c in range(width)]
    names = [name.strip() for name in first]
    likely = [c for c in range(width) if layout.names.fullmatch(names[c]) and 2 * keys[c] >= len(rows)]
    key = likely[0] if likely else max(range(width), key=lambda c: keys[c])
    if 2 * keys[key] < len(rows):
        return None
    known = layout.names.fullmatch(names[key]) or any(_rank(name) is not None for name in names)
    has_header = first is found[0] and bool(known) and not layout.key.fullmatch(first[key])
    if not has_header and sum(2 * count >= len(rows) for count in keys) > 1:
        return None  # rows run into each other
    captions = named_captions(names, key) if has_header else []
    if not captions:
        captions = _wordiest(rows, [c for c in range(width) if c != key])
    if not captions:
        return None
    listing = (c for c in captions if are_lists([fields[c] for fields in rows]))
    lists = frozenset([*listing, *(c for c in captions if has_header and names[c].casefold() in _LIST_NAMES)])
    matching = keys[key] + (not has_header)
    return _Columns(delimiter, quotes, names, has_header, key, captions, lists, matching)


def _wordiest(rows: list[list[str]], columns: list[int]) -> list[int]:
    """The one column that has words; none if there are several, of which no one knows which the captions are."""
    having = [c for c in columns if 2 * sum(bool(_LETTER.search(fields[c])) for fields in rows) >= len(rows)]
    return having if len(having) == 1 else []

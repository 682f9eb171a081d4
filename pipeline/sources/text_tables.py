"""Tables that are text: delimited with a header, or an object of JSON in every line."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from pipeline.sources.caption_tables import are_lists, holds_quotes, listed
from pipeline.sources.delimited import DELIMITERS, Quotes, Record, detect_quotes, raw_bytes, records, text
from pipeline.sources.entries import Entry
from pipeline.sources.lines import Form, form, lines
from pipeline.sources.rows import SourceError

_HEAD = 1000
"""Rows by which a file is told."""
_KEY = re.compile(r"\s*(?:[a-z][a-z0-9+.-]*://\S+|[^\r\n]*\.(?:jpe?g|png|webp|gif|bmp|tiff?|avif))\s*", re.IGNORECASE)
"""What no caption looks like, but where an image is to be found."""


@dataclass(frozen=True, slots=True)
class Delimited:
    """A file of fields between commas, tabs, semicolons or bars; its first line names them."""

    path: Path
    name: str
    form: Form
    delimiter: str
    quotes: Quotes | None
    names: list[str]
    binary: tuple[str, ...] = ()

    @classmethod
    def opened(cls, path: Path, name: str, wanted: Sequence[str]) -> Delimited:
        """Tell how a file is written; `wanted` are columns that it has to have.

        Raises:
            SourceError: it cannot be read, or is empty.
        """
        written = form(path)
        head = [line for line in islice(lines(path, written), _HEAD) if line[1].strip()]
        if not head:
            raise SourceError(f"{path} is empty; expected a line that names the columns, and rows below it")
        titles = {delimiter: _header(text(head[0][1]), delimiter) for delimiter in DELIMITERS}
        fitting = [d for d in DELIMITERS if all(name in titles[d] for name in wanted)] or list(DELIMITERS)
        usual = "\t" if path.suffix.lower() == ".tsv" else ","
        delimiter = max(fitting, key=lambda d: (len(titles[d]), d == usual))
        quotes = detect_quotes(lambda: lines(path, written), delimiter, _KEY, holds_quotes(path))
        return cls(path, name, written, delimiter, quotes, titles[delimiter])

    def entries(self, wanted: Sequence[str]) -> Iterator[Entry]:
        """Every row, of its cells those of `wanted`; a cell is text, or if it holds bytes that are no UTF-8, bytes."""
        columns = {name: self.names.index(name) for name in wanted}
        head = [record.fields for record in islice(self._records(), _HEAD) if len(record.fields) == len(self.names)]
        lists = {name for name, c in columns.items() if are_lists([fields[c].strip() for fields in head])}
        for record in self._records():
            place = f"{self.name}:{record.line}"
            if len(record.fields) != len(self.names):
                count = f"{len(record.fields)} fields" if record.fields else "quotes that are not closed"
                yield Entry({}, place, f"found {count}, expected {len(self.names)}, as the first line names")
            else:
                cells = {name: _cell(record.fields[c], name in lists) for name, c in columns.items()}
                yield Entry(cells, place)

    def _records(self) -> Iterator[Record]:
        """All but the header and empty lines."""
        numbered = ((number, line) for number, line in lines(self.path, self.form) if line.strip())
        return islice(records(numbered, self.delimiter, self.quotes, _KEY), 1, None)


@dataclass(frozen=True, slots=True)
class JsonLines:
    """A file with an object in every line."""

    path: Path
    name: str
    form: Form
    names: list[str]
    binary: tuple[str, ...] = ()

    @classmethod
    def opened(cls, path: Path, name: str) -> JsonLines:
        """Tell what fields the objects have.

        Raises:
            SourceError: the file cannot be read, or its first lines are something else.
        """
        written = form(path)
        names: dict[str, None] = {}
        for _, line in islice(lines(path, written), _HEAD):
            found = _object(line)
            if isinstance(found, dict):
                names.update(dict.fromkeys(found))
        if not names:
            raise SourceError(f"{path}: found no object in its first lines; expected {{...}} in every line")
        return cls(path, name, written, list(names))

    def entries(self, wanted: Sequence[str]) -> Iterator[Entry]:
        """Every row, of its fields those of `wanted`."""
        for number, line in lines(self.path, self.form):
            if line.strip():
                found, place = _object(line), f"{self.name}:{number}"
                if isinstance(found, dict):
                    yield Entry({name: found.get(name) for name in wanted}, place)
                else:
                    yield Entry({}, place, f"expected an object of JSON, found {found}")


def _object(line: bytes) -> dict[str, Any] | str:
    """The object in a line, or what stands there."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:
        return f"{line[:50]!r} ({error})"
    return found if isinstance(found, dict) else f"{line[:50]!r}"


def _cell(field: str, is_list: bool) -> Any:
    if is_list and (found := listed(field)) is not None:
        return found
    return field if field.isascii() or "\ufffd" in field or _is_text(field) else raw_bytes(field)


def _is_text(field: str) -> bool:
    try:
        field.encode()
    except UnicodeEncodeError:
        return False
    return True


def _header(line: str, delimiter: str) -> list[str]:
    """Names of columns, each once: what comes again gets a number, as pandas does."""
    double = Quotes() if '"' in line else None
    (record,) = records([(1, line.encode(errors="surrogateescape"))], delimiter, double, _KEY)
    seen: Counter[str] = Counter()
    names = []
    for name in (field.strip() for field in record.fields):
        names.append(f"{name}.{seen[name]}" if seen[name] else name)
        seen[name] += 1
    return names

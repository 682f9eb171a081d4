"""Records of a delimited text file, with quotes as the csv module reads them, or with none.

A quote that is never closed makes csv swallow the rest of a file. Here a record that spans lines has to be whole within
a hundred of them, and what is not is one damaged line, behind which reading goes on.
"""

from __future__ import annotations

import csv
import re
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import NamedTuple

DELIMITERS = (",", ";", "\t", "|")

_MOST_LINES = 100
"""Of a record."""
_ENOUGH = 1000
"""Records with quotes by which is decided what the quotes of a file are."""


class Record(NamedTuple):
    """A record, and the number of its first line. Bytes that are no UTF-8 are surrogates, as in file names."""

    line: int
    fields: list[str]
    """None at all if they cannot be told apart."""
    raw: str


def text(line: bytes) -> str:
    """A line as text that `raw_bytes` takes back."""
    return line.decode(errors="surrogateescape")


def raw_bytes(field: str) -> bytes:
    """The bytes of a field as they stand in the file."""
    return field.encode(errors="surrogateescape")


def records(
    numbered: Iterable[tuple[int, bytes]], delimiter: str, quoted: bool, key: re.Pattern[str]
) -> Iterator[Record]:
    """Every record; an empty line is one too.

    Args:
        numbered: lines of the file.
        delimiter: of fields.
        quoted: whether quotes are those of csv.
        key: what the field that every record has looks like; a line that has one is not part of another's caption.
    """
    if not quoted:
        for number, line in numbered:
            yield Record(number, text(line).split(delimiter), text(line))
        return
    source = iter(numbered)
    waiting: deque[tuple[int, str]] = deque()
    while waiting or (waiting := _next(source)):
        first, own = waiting.popleft()
        if own.count('"') % 2 == 0:
            yield Record(first, _parsed(own, delimiter), own)
            continue
        joined, used = _joined(own, waiting, source)
        fields = _parsed(joined, delimiter) if used else []
        within = (field for i in range(used - 1) for field in _parsed(waiting[i][1], delimiter))
        if fields and not any(map(key.fullmatch, within)):
            for _ in range(used):
                waiting.popleft()
            yield Record(first, fields, joined)
        else:
            yield Record(first, _parsed(own, delimiter), own)


def _next(source: Iterator[tuple[int, bytes]]) -> deque[tuple[int, str]]:
    return deque((number, text(line)) for number, line in islice(source, 1))


def _joined(line: str, waiting: deque[tuple[int, str]], source: Iterator[tuple[int, bytes]]) -> tuple[str, int]:
    """A line and those behind it up to where its quotes are closed, and how many of them; 0 if they never are."""
    parts = [line]
    for used in range(1, _MOST_LINES):
        if len(waiting) < used:
            waiting += _next(source)
        if len(waiting) < used:
            break
        parts.append(waiting[used - 1][1])
        if parts[-1].count('"') % 2:
            return "\n".join(parts), used
    return line, 0


def _parsed(record: str, delimiter: str) -> list[str]:
    if '"' not in record:
        return record.split(delimiter)
    try:
        return next(csv.reader([record], delimiter=delimiter, strict=True), [""])
    except csv.Error:
        return []


def is_quoted(numbered: Iterable[tuple[int, bytes]], delimiter: str, key: re.Pattern[str]) -> bool:
    """Whether the quotes of a file are those of csv rather than part of what is said.

    Csv puts a field in quotes where it holds quotes, which are doubled then, the delimiter or a line end; some writers
    do so with every field of a column. A field that holds quotes in any other way speaks against it.

    Args:
        numbered: lines of the file.
        delimiter: of its fields.
        key: what a field looks like that no one would put in quotes but to quote it, such as a url.
    """
    end = re.escape(delimiter)
    field = re.compile(rf'(?:^|{end})(?:"((?:[^"]|"")*)"(?={end}|\Z)|([^{end}]*))')
    total, in_quotes, idle = Counter[int](), Counter[int](), Counter[int]()
    reasons = against = with_quotes = 0
    for record in records(numbered, delimiter, True, key):
        total.update(range(len(record.fields)))
        if '"' not in record.raw:
            continue
        with_quotes += 1
        for column, found in enumerate(field.finditer(record.raw)):
            inner, plain = found[1], found[2] or ""
            in_quotes[column] += inner is not None
            if inner and ('""' in inner or delimiter in inner or "\n" in inner or key.fullmatch(inner)):
                reasons += 1
            elif inner and "," not in inner:  # which some spreadsheets quote whatever the delimiter
                idle[column] += 1
            against += '"' in plain
        if with_quotes >= _ENOUGH or (against > 100 and not reasons):
            break
    for column, count in idle.items():
        if total[column] >= 3 and in_quotes[column] >= 0.9 * total[column] - 1:  # a header may have none
            reasons += count
        else:
            against += count
    return reasons >= against if delimiter in ",;" else reasons > 3 * against

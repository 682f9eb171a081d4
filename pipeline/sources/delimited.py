"""Records of a delimited text file, with quotes as the csv module reads them, or with none.

A quote that is never closed makes csv swallow the rest of a file. Here a record that spans lines has to be whole within
a hundred of them, and what is not is one damaged line, behind which reading goes on.
"""

from __future__ import annotations

import csv
import re
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, NamedTuple

DELIMITERS = (",", ";", "\t", "|")

_MOST_LINES = 100
"""A record spans this many lines at most."""
_ENOUGH = 1000
"""Records with quotes by which is decided what the quotes of a file are."""
_HEAD = 1000
"""Lines by which is decided whether apostrophes are quotes, for almost every file of captions holds some."""


class Record(NamedTuple):
    """A record, and the number of its first line. Bytes that are no UTF-8 are surrogates, as in file names."""

    line: int
    fields: list[str]
    """The list is empty if the fields cannot be told apart."""
    raw: str


class Quotes(NamedTuple):
    """What puts fields in quotes, and what stands before a quote within; without that, such quotes are doubled."""

    mark: str = '"'
    escape: str = ""

    def __str__(self) -> str:
        return ("" if self.mark == '"' else "single ") + "quotes as in csv" + (", backslashes" if self.escape else "")

    def count(self, line: str) -> int:
        """How many there are that open, close or are doubled."""
        return (re.sub(r"\\.", "", line) if self.escape else line).count(self.mark)


def text(line: bytes) -> str:
    """A line as text that `raw_bytes` takes back."""
    return line.decode(errors="surrogateescape")


def raw_bytes(field: str) -> bytes:
    """The bytes of a field as they stand in the file."""
    return field.encode(errors="surrogateescape")


def records(
    numbered: Iterable[tuple[int, bytes]], delimiter: str, quotes: Quotes | None, key: re.Pattern[str]
) -> Iterator[Record]:
    """Every record; an empty line is one too.

    Args:
        numbered: lines of the file.
        delimiter: of fields.
        quotes: those of csv, if the file has any.
        key: what the field that every record has looks like; a line that has one is not part of another's caption.
    """
    if quotes is None:
        for number, line in numbered:
            yield Record(number, text(line).split(delimiter), text(line))
        return
    source = iter(numbered)
    waiting: deque[tuple[int, str]] = deque()
    while waiting or (waiting := _next(source)):
        first, current = waiting.popleft()
        if quotes.count(current) % 2 == 0:
            yield Record(first, _parsed(current, delimiter, quotes), current)
            continue
        joined, used = _joined(current, waiting, source, quotes)
        fields = _parsed(joined, delimiter, quotes) if used else []
        within = (field for i in range(used - 1) for field in _parsed(waiting[i][1], delimiter, quotes))
        if fields and not any(map(key.fullmatch, within)):
            for _ in range(used):
                waiting.popleft()
            yield Record(first, fields, joined)
        else:
            yield Record(first, _parsed(current, delimiter, quotes), current)


def _next(source: Iterator[tuple[int, bytes]]) -> deque[tuple[int, str]]:
    return deque((number, text(line)) for number, line in islice(source, 1))


def _joined(
    line: str, waiting: deque[tuple[int, str]], source: Iterator[tuple[int, bytes]], quotes: Quotes
) -> tuple[str, int]:
    """A line and those behind it up to where its quotes are closed, and how many of them; 0 if they never are."""
    parts = [line]
    for used in range(1, _MOST_LINES):
        if len(waiting) < used:
            waiting += _next(source)
        if len(waiting) < used:
            break
        parts.append(waiting[used - 1][1])
        if quotes.count(parts[-1]) % 2:
            return "\n".join(parts), used
    return line, 0


def _parsed(record: str, delimiter: str, quotes: Quotes) -> list[str]:
    if quotes.mark not in record:
        return record.split(delimiter)
    if quotes.escape:  # csv would drop a backslash that escapes nothing
        special = quotes.mark + quotes.escape + delimiter
        record = re.sub(
            r"\\(.?)", lambda found: found[0] if found[1] and found[1] in special else rf"\{found[0]}", record
        )
    after = rf"(?<![{quotes.mark}\\]){quotes.mark} +(?={re.escape(delimiter)}|\Z)"
    dialect: dict[str, Any] = {"delimiter": delimiter, "quotechar": quotes.mark, "escapechar": quotes.escape or None}
    for candidate in (
        record,
        re.sub(after, quotes.mark, record),
    ):  # csv takes spaces before a quote, but none behind one
        try:
            return next(csv.reader([candidate], skipinitialspace=True, strict=True, **dialect), [""])
        except csv.Error:
            continue
    return []


def detect_quotes(
    read: Callable[[], Iterable[tuple[int, bytes]]], delimiter: str, key: re.Pattern[str], double: bool
) -> Quotes | None:
    """What puts fields of a file in quotes; None if all its quotes are part of what is said.

    Csv puts a field in quotes where it holds quotes, which are doubled or escaped then, the delimiter or a line end;
    some writers do so with every field of a column. A field that holds quotes in any other way speaks against it.

    Args:
        read: gives the lines of the file, each time from its beginning.
        delimiter: of its fields.
        key: what a field looks like that no one would put in quotes but to quote it, such as a url.
        double: whether the file holds any double quote.
    """
    for mark in "\"'" if double else "'":
        quotes = Quotes(mark)
        numbered = (lambda: islice(read(), _HEAD)) if mark == "'" else read
        reasons, against, escaped = _evidence(numbered(), delimiter, quotes, key)
        if escaped:
            escaped_reasons, escaped_against, _ = _evidence(numbered(), delimiter, Quotes(mark, "\\"), key)
            if escaped_against < against and escaped_reasons > escaped_against:
                quotes, reasons, against = Quotes(mark, "\\"), escaped_reasons, escaped_against
        if mark == "'":
            convincing = reasons >= 3 and reasons > 9 * against
        else:
            convincing = reasons >= against if delimiter in ",;" else reasons > 3 * against
        if convincing:
            return quotes
    return None


def _evidence(
    numbered: Iterable[tuple[int, bytes]], delimiter: str, quotes: Quotes, key: re.Pattern[str]
) -> tuple[int, int, bool]:
    """How many fields speak for these quotes, how many against, and whether a backslash stands before one."""
    end, mark = re.escape(delimiter), quotes.mark
    within = rf"(?:[^{mark}\\]|{mark}{mark}|\\.)*+" if quotes.escape else rf"(?:[^{mark}]|{mark}{mark})*+"
    field = re.compile(rf"(?:^|{end}) *+(?:{mark}({within}){mark}(?= *+(?:{end}|\Z))|([^{end}]*))", re.DOTALL)
    total, in_quotes, idle, commas = Counter[int](), Counter[int](), Counter[int](), Counter[int]()
    reasons = against = with_quotes = 0
    escaped = False
    for record in records(numbered, delimiter, quotes, key):
        total.update(range(len(record.fields)))
        if mark not in record.raw:
            continue
        with_quotes += 1
        escaped = escaped or f"\\{mark}" in record.raw
        signs = (2 * mark, f"\\{mark}" if quotes.escape else delimiter, delimiter, "\n")
        for column, found in enumerate(field.finditer(record.raw)):
            inner, plain = found[1], found[2] or ""
            in_quotes[column] += inner is not None
            if inner and (any(sign in inner for sign in signs) or key.fullmatch(inner)):
                reasons += 1
            elif inner:  # which some spreadsheets quote for a comma whatever the delimiter
                (commas if "," in inner else idle)[column] += 1
            against += mark in plain
        if with_quotes >= _ENOUGH or (against > 100 and not reasons):
            break
    for column in idle | commas:
        if total[column] >= 3 and in_quotes[column] >= 0.9 * total[column] - 1:  # a header may have none
            reasons += idle[column] + commas[column]
        else:
            against += idle[column]
    return reasons, against, escaped

"""Arrays in JSON files larger than one would hold in memory."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any, BinaryIO

import ijson
import ijson.backends.python

from pipeline.sources.rows import SourceError

_HIGH, _LOW = rb"\\u[dD][89abAB][0-9a-fA-F]{2}", rb"\\u[dD][c-fC-F]"
_HALF_PAIR = re.compile(_HIGH + rb"(?!" + _LOW + rb")|(?<!" + _HIGH + rb")" + _LOW)
_MONSTER = re.compile(rb"[0-9]{1000}|[:,\[]\s*-?[0-9.]+[eE][+-]?[0-9]{5}|(?:[\[{]\s*){200}")
"""Numbers and nesting that no such file has, and that parsers die of."""


def entries(path: Path, name: str, expected: str, *, optional: bool = False) -> Iterator[Any]:
    """Every entry of the array `name` of the JSON object in a file, one at a time.

    `expected` says in errors what the file should be; if `optional`, there may be no such array.

    Raises:
        SourceError: the file is not valid JSON, which may show after any number of entries, or it has no such array.
    """
    advice = f"expected {expected}. Download it again"
    found = False
    try:
        with path.open("rb") as stream:
            if _matches(stream, _MONSTER):
                raise SourceError(f"{path}: found an endless number or nesting; {advice}")
            for entry in _parser(stream).items(stream, f"{name}.item"):
                found = True
                yield entry
        if not found and not optional and not _is_array(path, name):
            raise SourceError(f"{path}: found no array {name!r}; {advice}")
    except SourceError:
        raise
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error}; {advice}") from error
    except (ijson.JSONError, ValueError, ArithmeticError, RecursionError) as error:
        reason = str(error).partition("\n")[0]
        raise SourceError(f"{path}: found no valid JSON ({reason}); {advice}") from error


def field(entry: Any, name: str) -> Any:
    """A field of an entry; None if there is none, or the entry is no object."""
    return entry.get(name) if isinstance(entry, dict) else None


def printable(text: Any) -> str:
    """Text that UTF-8 can hold: half of a surrogate pair becomes `?`, and what is no text nothing."""
    return text.encode(errors="replace").decode() if isinstance(text, str) else ""


def _is_array(path: Path, name: str) -> bool:
    with path.open("rb") as stream:
        return any(event == "start_array" for prefix, event, _ in _parser(stream).parse(stream) if prefix == name)


def _parser(stream: BinaryIO) -> Any:
    r"""The fast parser, or for a file with half of a surrogate pair (such as \ud83d alone) the slow one.

    Of those, which JSON can spell and UTF-8 cannot hold, the fast one makes a question mark or an error.
    """
    return ijson.backends.python if _matches(stream, _HALF_PAIR) else ijson


def _matches(stream: BinaryIO, pattern: re.Pattern[bytes]) -> bool:
    if not os.fstat(stream.fileno()).st_size:
        return False
    with mmap(stream.fileno(), 0, access=ACCESS_READ) as data:
        return pattern.search(data) is not None

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

_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


def entries(path: Path, name: str, expected: str, *, optional: bool = False) -> Iterator[Any]:
    """Every entry of the array `name` of the JSON object in a file, one at a time.

    Args:
        path: the file.
        name: a key of the object.
        expected: what the file should be, for the error.
        optional: there may be no such array.

    Raises:
        SourceError: the file is not valid JSON, which may show after any number of entries, or it has no such array.
    """
    advice = f"expected {expected}. Download it again"
    found = False
    try:
        with path.open("rb") as stream:
            for entry in _parser(stream).items(stream, f"{name}.item"):
                found = True
                yield entry
        if not found and not optional and not _is_array(path, name):
            raise SourceError(f"{path}: found no array {name!r}; {advice}")
    except ijson.JSONError as error:
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
    r"""The fast parser, or for a file with \ud83d or the like the slow one.

    Of half of a surrogate pair, which JSON can spell and UTF-8 cannot, the fast one makes a question mark or an error.
    """
    if not os.fstat(stream.fileno()).st_size:
        return ijson
    with mmap(stream.fileno(), 0, access=ACCESS_READ) as data:
        return ijson.backends.python if _SURROGATE.search(data) else ijson

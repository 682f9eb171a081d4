"""Text files as lines of bytes."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from pathlib import Path

from pipeline.sources.rows import SourceError


def lines(path: Path) -> Iterator[tuple[int, bytes]]:
    r"""Number, from 1, and bytes of every line.

    Lines end at \n alone: a caption may hold what else Unicode counts as a line end. The end, the \r before it and a
    byte order mark at the start of the file are no part of a line.

    Raises:
        SourceError: the file cannot be read.
    """
    try:
        stream = path.open("rb")
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error}; expected a text file") from error
    with stream:
        for number, line in enumerate(stream, start=1):
            yield number, (line.removeprefix(codecs.BOM_UTF8) if number == 1 else line).rstrip(b"\r\n")

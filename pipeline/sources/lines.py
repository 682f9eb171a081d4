"""Text files as lines of UTF-8 bytes, in whatever encoding and with whatever line ends they are."""

from __future__ import annotations

import codecs
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import BinaryIO

from pipeline.sources.rows import SourceError

_HEAD = 1 << 16
"""Bytes from which encoding and line ends are told."""
_CHUNK = _LONGEST = 1 << 20
"""Bytes that are read at a time, and bytes of a line; what is beyond is no part of any caption."""
_CR_ALONE = re.compile(rb"\r(?![\r\n]|\Z)")
"""One that ends no line of those that end at newlines, nor the file."""
_IN_QUOTES = re.compile(rb'(?<![^,;|\t\r\n ])"(?:[^"]|"")*+"(?=[,;|\t\r\n ]|\Z)')
"""Line ends in there are part of what a cell says."""
_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32-le",
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
"""In this order: UTF-32's begins with UTF-16's."""


@dataclass(frozen=True, slots=True)
class Form:
    """What a text file is written in."""

    encoding: str = ""
    """Empty for UTF-8, and for all that holds ASCII as it is: such bytes are left alone."""
    end: bytes = b"\n"

    def __str__(self) -> str:
        parts = [self.encoding.upper(), "lines that end at CR" if self.end == b"\r" else ""]
        return ", ".join(part for part in parts if part)


def form(path: Path) -> Form:
    """Tell the form of a file from its beginning.

    Raises:
        SourceError: the file cannot be read.
    """
    with _opened(path) as stream:
        head, size = stream.read(_HEAD), os.fstat(stream.fileno()).st_size
    marked = (name for mark, name in _MARKS.items() if head.startswith(mark) and b"\0" in head)  # as every ASCII has
    encoding = next(marked, "") or _without_mark(head)
    text = head.decode(encoding, "replace").encode(errors="replace") if encoding else head
    width = {"utf-16": 2, "utf-32": 4}.get(encoding[:6], 1)
    if size % width:
        raise SourceError(f"{path}: {size:,} bytes are no {encoding.upper()}, of {width} each; download it again")
    outside = _IN_QUOTES.sub(b"", text)
    counted = outside if b"\n" in outside or b"\r" in outside else text
    return Form(encoding, b"\r" if len(_CR_ALONE.findall(counted)) > counted.count(b"\n") else b"\n")


def _without_mark(head: bytes) -> str:
    """UTF-16 that no byte order mark tells: every other byte of most letters is zero."""
    for encoding, zeros, letters in (("utf-16-le", head[1::2], head[::2]), ("utf-16-be", head[::2], head[1::2])):
        if len(head) >= 8 and zeros.count(0) > 0.5 * len(zeros) and not letters.count(0):
            return encoding
    return ""


def lines(path: Path, written: Form = Form()) -> Iterator[tuple[int, bytes]]:
    r"""Number, from 1, and bytes of every line.

    Lines end at \n alone (or at \r alone): a caption may hold what else Unicode counts as a line end. The end, the \r
    before it and a byte order mark at the start of the file are no part of a line, nor is what goes beyond a megabyte.
    Text in another encoding becomes UTF-8, and what that cannot hold a byte that UTF-8 does not have.

    Raises:
        SourceError: the file cannot be read.
    """
    with _opened(path) as stream:
        try:
            if written == Form():
                yield from _ended_by_newlines(stream)
            else:
                yield from _ended_by(written.end, _decoded(stream, written))
        except (OSError, UnicodeDecodeError) as error:
            raise SourceError(f"{path} cannot be read: {error}; expected a text file") from error


def _opened(path: Path) -> BinaryIO:
    if path.exists() and not path.is_file() and not path.is_dir():  # to open a pipe would wait for a writer
        raise SourceError(f"{path} is a pipe or a device; expected a text file")
    try:
        return path.open("rb")
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error}; expected a text file") from error


def _ended_by_newlines(stream: BinaryIO) -> Iterator[tuple[int, bytes]]:
    number = 0
    while line := stream.readline(_LONGEST):
        number += 1
        rest = line
        while rest and rest[-1:] != b"\n":
            rest = stream.readline(_LONGEST)
        yield number, line.rstrip(b"\r\n") if number > 1 else _first(line)


def _ended_by(end: bytes, chunks: Iterator[bytes]) -> Iterator[tuple[int, bytes]]:
    waiting, number = b"", 0
    for chunk in chain(chunks, [b""]):
        *whole, waiting = (waiting + chunk).split(end)
        if not chunk and waiting:
            whole.append(waiting)
        for line in whole:
            number += 1
            yield number, line[:_LONGEST].rstrip(b"\r\n") if number > 1 else _first(line[:_LONGEST])
        waiting = waiting[:_LONGEST]


def _first(line: bytes) -> bytes:
    return line.removeprefix(codecs.BOM_UTF8).rstrip(b"\r\n")


def _decoded(stream: BinaryIO, written: Form) -> Iterator[bytes]:
    if not written.encoding:
        while chunk := stream.read(_CHUNK):
            yield chunk
        return
    decoder = codecs.getincrementaldecoder(written.encoding)("surrogatepass")
    while chunk := stream.read(_CHUNK):
        yield decoder.decode(chunk).encode(errors="surrogatepass")

"""Tars as they are found: every member with the place of its bytes, and a word on whatever could not be read.

Python's tarfile ends quietly at a damaged header and at the first zeros, behind which joined tars go on, and reads for
ever where a size is negative. Here reading goes on behind both, at the next header whose checksum is right; of every
gap the reader is told. Headers are all that is read; nothing that a header states is believed before the file has it.
"""

from __future__ import annotations

import os
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

BLOCK = tarfile.BLOCKSIZE
_ZEROS = bytes(BLOCK)
_END = 2 * BLOCK
"""A tar ends with this many zero bytes at least."""
_LONGEST_NAME = 1 << 20
"""Bytes of what stands before a member to say more of it: a long name, or the records of POSIX."""
_FIRST_WINDOW, _WINDOW = 1 << 11, 1 << 20
"""Bytes that are searched at first, and at most, at a time: there may be one search for every other block."""
_RECORDS = (tarfile.RECORDSIZE, *(1 << power for power in range(14, 21)))
"""Bytes that tars are filled up to a multiple of; with fewer than the usual ones the zeros of damage look the same."""
_MOST_FALSE = 10_000
"""Places that look like a header and are none, after which the search for the next one is given up."""
_MAGIC = re.compile(rb"(?=ustar[\0 ])")
_POSIX = b"ustar\0"
_MAGIC_AT, _CHECKSUM_AT = 257, 148
_CHECKSUM = re.compile(rb"[ 0]*[0-7]+[ \0]")
_NAME = 100
"""Bytes of a header that are the member's name."""
_PLAIN = re.compile(
    rb"[\s\S]{24}(?P<size>[0-7]{11})[\0 ][\s\S]{12}(?P<checksum>[0-7]{6})\0 0"
    rb"[\s\S]{100}ustar\x0000[\s\S]{80}\0[\s\S]{166}"
)
"""The header of a regular file as nearly all writers have it, behind its name: tarfile reads it at a fraction of the
speed."""
_RECORD = re.compile(rb"(\d{1,7}) ([^=]+)=")
_NUMBER = re.compile(rb"\d{1,19}")
_COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
_LONG_NAMES = (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
_ANNOUNCING = (*_LONG_NAMES, tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.XGLTYPE)
_LINKS = (tarfile.LNKTYPE, tarfile.SYMTYPE)
_BODILESS = (*_LINKS, tarfile.DIRTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE)
_SILENT = (tarfile.DIRTYPE, b"V")  # folders, and the label of a volume, hold nothing


class DamagedTar(Exception):
    """A tar that is not whole; says where and why."""


@dataclass(frozen=True, slots=True)
class Member:
    """A file within a tar: `size` bytes from `offset`."""

    tar: Path
    name: str
    offset: int
    size: int
    part: int = 0
    """The part of the file, counted from one end or damage to the next: one name in two parts is two files."""

    def read_bytes(self) -> bytes:
        """Its bytes."""
        with self.tar.open("rb") as stream:
            stream.seek(self.offset)
            return stream.read(self.size)

    def __str__(self) -> str:
        return f"{self.tar}/{self.name}"


@dataclass(frozen=True, slots=True)
class Gap:
    """Something of a tar that is not read, at a byte of it."""

    offset: int
    reason: str

    def __str__(self) -> str:
        return f"damaged or cut short at byte {self.offset}: {self.reason}"


class _Header(NamedTuple):
    """What is asked of a header."""

    type: bytes
    name: str
    size: int


class _BadHeader(Exception):
    """A block that should be a header is none."""


def members(path: Path) -> Iterator[Member | Gap]:
    """Every regular file of a tar, and of the tars joined to it, in order, and every gap between them.

    What is no regular file is a gap too: a link holds no bytes of its own, and those of a sparse file are not in one
    piece. Folders are passed over.
    """
    if not path.is_file():  # to open a pipe would wait for a writer
        yield Gap(0, "there is no such file")
        return
    try:
        with path.open("rb", buffering=0) as stream:
            yield from _Reading(path, stream.fileno()).run()
    except OSError as error:
        yield Gap(0, f"it cannot be read ({error.strerror or error})")


def whole(path: Path) -> Iterator[Member]:
    """Every regular file of a tar in which nothing is missing.

    Raises:
        DamagedTar: something is.
    """
    for found in members(path):
        if isinstance(found, Gap):
            raise DamagedTar(str(found))
        yield found


class _Reading:
    """One pass through a tar."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path, self.descriptor = path, descriptor
        self.size = os.fstat(descriptor).st_size
        self.position = self.part = 0
        self.starts = [0]
        """Where the tar that is read now may begin, of those that are joined."""
        self.false = 0
        self.more: dict[str, bytes] = {}
        """What stands before a member to say more of it: `path`, `size`, and what marks a sparse file."""

    def read(self, offset: int, length: int) -> bytes:
        return os.pread(self.descriptor, length, offset)

    def run(self) -> Iterator[Member | Gap]:
        zeros = 0
        while self.position < self.size:
            header, block = self.position, self.read(self.position, BLOCK)
            if block == _ZEROS:
                zeros = self._zeros()
                self.part += 1
                yield from self._after_zeros(zeros)
                continue
            zeros = 0
            try:
                found = self._entry(block)
            except _BadHeader as error:
                yield Gap(header, str(error))
                self.more = {}
                self.part += 1
                self.position = header + 1
                try:
                    self.position = self._next_header()
                except _BadHeader as worse:
                    yield Gap(self.position, str(worse))
                    return
                self.starts = [*self.starts[-1:], self.position]
                zeros = _END  # the end, if it was lost, is told already
            else:
                if found is not None:
                    yield found
        if zeros < _END:
            yield Gap(self.position, "the end is missing")

    def _zeros(self) -> int:
        """Pass over zeros, in whole blocks; returns how many bytes there were."""
        first, length = self.position, _FIRST_WINDOW
        while window := self.read(self.position, length):
            rest = window.lstrip(b"\0")
            self.position += (len(window) - len(rest)) // BLOCK * BLOCK if rest else len(window)
            if rest:
                break
            length = min(2 * length, _WINDOW)
        return self.position - first

    def _after_zeros(self, zeros: int) -> Iterator[Gap]:
        """Whether zeros are the end of a tar as it is written: two blocks, or as many as fill a record."""
        begin, joined = self.position - zeros, self.position < self.size
        filled = (zeros == _END and self._begins()) or any(
            _END <= zeros < record + _END and (self.position - start) % record == 0
            for record in _RECORDS
            for start in self.starts
        )
        if self.more:
            yield Gap(begin, "zeros where a member was announced")
        elif not filled and (joined or zeros > _END):  # fewer at the end are told as a missing end
            yield Gap(begin, f"{zeros:,} zero bytes, which are not the end of a tar; what stood there is not known")
        self.more = {}
        self.starts = [self.position]

    def _begins(self) -> bool:
        """Whether a tar begins here."""
        try:
            self._parsed(self.read(self.position, BLOCK))
        except _BadHeader:
            return False
        return True

    def _entry(self, block: bytes) -> Member | Gap | None:
        """Take a header and move behind what it heads; None where there is nothing to tell.

        Raises:
            _BadHeader: it is none, or the file does not have what it states.
        """
        header = self.position
        info = self._parsed(block)
        body = header + BLOCK
        size = self._size(info, body)
        if info.type in _ANNOUNCING:
            if size > _LONGEST_NAME:
                raise _BadHeader(f"{size:,} bytes stand where a member's name should, at most {_LONGEST_NAME:,} can")
            self._announce(info.type, self.read(body, size))
            self.position = body + _padded(size)
            return None
        more, self.more = self.more, {}
        name = more["path"].decode("utf-8", "surrogateescape") if more.get("path") else info.name
        if info.type == tarfile.GNUTYPE_SPARSE:
            body = self._after_sparse_map(block, body)
        self.position = body + _padded(size)
        if info.type == tarfile.GNUTYPE_SPARSE or any(key.startswith("GNU.sparse") for key in more):
            return Gap(header, f"{name} is a sparse file, which is not read; pack it again without --sparse")
        if info.type in _LINKS:
            return Gap(header, f"{name} is a link, which is not followed; pack it again with --hard-dereference -h")
        if info.type in _SILENT:
            return None
        if info.type in tarfile.REGULAR_TYPES:
            return Member(self.path, name, body, size, self.part)
        return Gap(header, f"{name} is no regular file (type {info.type.decode('latin-1')!r})")

    def _parsed(self, block: bytes) -> _Header | tarfile.TarInfo:
        for magic, name in _COMPRESSED.items():
            if self.position == 0 and block.startswith(magic):
                raise _BadHeader(f"it is compressed ({name}); unpack it")
        if len(block) < BLOCK:
            raise _BadHeader("it ends within a header")
        plain = _PLAIN.fullmatch(block, _NAME)
        if plain and int(plain["checksum"], 8) == sum(block) - sum(block[148:156]) + 8 * ord(" "):
            name = block[:_NAME].partition(b"\0")[0].decode("utf-8", "surrogateescape")
            return _Header(tarfile.REGTYPE, name, int(plain["size"], 8))
        try:
            info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except (tarfile.HeaderError, ValueError) as error:
            raise _BadHeader("no header stands there") from error
        if not block.startswith(_POSIX, _MAGIC_AT):  # where POSIX has the folder others have times, as `tar -g` writes
            info.name = block[:_NAME].partition(b"\0")[0].decode("utf-8", "surrogateescape")
        return info

    def _size(self, info: _Header | tarfile.TarInfo, body: int) -> int:
        """What a header, or the records before it, state as size.

        Raises:
            _BadHeader: the file cannot have so many bytes.
        """
        size = info.size
        if info.type not in _ANNOUNCING and "size" in self.more:
            if not _NUMBER.fullmatch(self.more["size"]):
                raise _BadHeader(f"a member states a size of {self.more['size'][:40]!r}")
            size = int(self.more["size"])
        if info.type in _BODILESS and size > 0:
            return 0  # what old tars state of links is the size of what they lead to
        if not 0 <= size <= self.size - body:
            raise _BadHeader(f"a member states {size:,} bytes, of which {max(0, self.size - body):,} are there")
        return size

    def _announce(self, kind: bytes, data: bytes) -> None:
        """Remember what the next member is called, and how large it is.

        Raises:
            _BadHeader: the records are not as POSIX has them, or are to hold for all members.
        """
        if kind == tarfile.GNUTYPE_LONGNAME:
            self.more["path"] = data.partition(b"\0")[0]
        if kind in _LONG_NAMES:
            return
        start, found = 0, {}
        while start < len(data) and data[start] != 0:
            record = _RECORD.match(data, start)
            end = start + int(record[1]) if record else 0
            if not record or end < record.end() + 1 or data[end - 1 : end] != b"\n":
                raise _BadHeader("the records before a member are damaged")
            found[record[2].decode("utf-8", "replace")] = data[record.end() : end - 1]
            start = end
        names = ("path", "size")
        wanted = {key: value for key, value in found.items() if value and (key in names or key[:10] == "GNU.sparse")}
        if kind == tarfile.XGLTYPE and wanted:
            raise _BadHeader("one name or size is stated for all members")
        self.more |= wanted

    def _after_sparse_map(self, block: bytes, body: int) -> int:
        """Where the data of an old sparse file begin: its map may go on for several blocks."""
        extended = block[482]
        while extended and body < self.size:  # each block is read once, so that it ends
            extended = self.read(body, BLOCK).ljust(BLOCK, b"\0")[504]
            body += BLOCK
        return body

    def _next_header(self) -> int:
        """Where the next header begins, wherever it stands; the end of the file if there is none.

        Raises:
            _BadHeader: too much of the file looks like a header and is none.
        """
        start, length = self.position, _FIRST_WINDOW
        while start < self.size:
            window = self.read(start, length + BLOCK)
            for magic in _MAGIC.finditer(window, _MAGIC_AT):
                first = magic.start() - _MAGIC_AT
                if first >= length:
                    break
                if not _CHECKSUM.match(window, first + _CHECKSUM_AT):
                    continue
                try:
                    tarfile.TarInfo.frombuf(window[first : first + BLOCK], "utf-8", "surrogateescape")
                except (tarfile.HeaderError, ValueError):
                    self.false += 1
                    if self.false > _MOST_FALSE:
                        raise _BadHeader("too much looks like a header and is none; it is read no further") from None
                else:
                    return start + first
            start += length
            length = min(2 * length, _WINDOW)
        return self.size


def _padded(size: int) -> int:
    return -(-size // BLOCK) * BLOCK

"""Sealed files: with digests at their end, by which whoever opens one knows that it has the bytes that were written.

    content | sha256 of every block of the content | content's length, 8 bytes | sha256 of label, length and digests

What reads the content need not know: zip files (torch), memory maps (numpy) and others that state their own length
leave alone what follows it. Blocks are hashed by several threads.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from pipeline.errors import Damaged
from pipeline.machine.ahead import ahead
from pipeline.machine.progress import track

BLOCK = 32 << 20
_PIECE = 1 << 20
_MANY = 30
"""Blocks, a gigabyte, whose hashing takes long enough to be shown."""
_SHA256 = 32
_LENGTH = 8


def seal(path: Path, label: str, threads: int = 1) -> None:
    """Append its seal to a file that is not there for others yet: written by `files.whole`, it appears with its seal.

    The label says what the file is to its reader; a whole file of another label is refused, too. `threads` hash.
    """
    length = path.stat().st_size
    digests = _digests(path, length, threads)
    with path.open("ab") as stream:
        stream.write(digests + _end(label, length, digests))


def check(path: Path, label: str, threads: int = 1) -> None:
    """Read all of a file, and stop unless it has the bytes that were sealed under this label.

    Raises:
        Damaged: it is cut, changed, without a seal, of another label, or no file at all.
    """
    if not path.is_file():
        raise Damaged(f"{path} is no file")
    size = path.stat().st_size
    with path.open("rb") as stream:
        stream.seek(max(0, size - _SHA256 - _LENGTH))
        length = int.from_bytes(stream.read(_LENGTH), "little")
        stated = max(0, size - length - _SHA256 - _LENGTH)
        if length >= size or stated != _SHA256 * len(_starts(length)):
            raise Damaged(
                f"{path} is damaged: its {size:,} bytes do not end with a seal; it was cut, or is of an older version"
            )
        stream.seek(length)
        digests, end = stream.read(stated), stream.read()
    if end != _end(label, length, digests):
        raise Damaged(f"{path} is damaged, or of something else: its seal is not that of {label}")
    found = _digests(path, length, threads)
    if found != digests:
        bad = next(i for i in range(0, stated, _SHA256) if found[i : i + _SHA256] != digests[i : i + _SHA256])
        start = bad // _SHA256 * BLOCK
        raise Damaged(
            f"{path} is damaged: bytes {start:,} to {min(start + BLOCK, length):,} are not those that were written"
        )


def _end(label: str, length: int, digests: bytes) -> bytes:
    stated = length.to_bytes(_LENGTH, "little")
    return stated + hashlib.sha256(stated + digests + label.encode()).digest()


def _starts(length: int) -> range:
    return range(0, length, BLOCK)


def _digests(path: Path, length: int, threads: int) -> bytes:
    """The sha256 of every block of a file's first `length` bytes, one after the other."""

    def digest(start: int) -> bytes:
        found, left = hashlib.sha256(), min(BLOCK, length - start)
        with path.open("rb", buffering=0) as stream:
            stream.seek(start)
            while left and (piece := stream.read(min(_PIECE, left))):
                found.update(piece)
                left -= len(piece)
        return found.digest()

    starts: Iterable[int] = _starts(length)
    if len(_starts(length)) > _MANY:
        starts = track(starts, f"hash {path.name[:12]}", unit="blocks")
    return b"".join(ahead(digest, starts, threads=threads, depth=2 * threads))

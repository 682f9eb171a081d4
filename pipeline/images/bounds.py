"""What an image file may hold before it is decoded: bytes, pixels, and the parts that a decoder walks one by one.

A few kilobytes can ask for minutes of work (a thousand scans over the same pixels) or for gigabytes (a blank PNG, a
TIFF with a million strips). Whatever these bounds let through is decoded in seconds, and beside the file itself in at
most about 16 bytes a pixel: 1.3 gigabytes for a WebP of the most pixels, whose decoder holds the image several times.
They are far above what cameras, editors and optimisers write, and looking costs microseconds.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

MOST_BYTES = 1 << 29
"""An image file that is read at all has this many bytes at most."""
MOST_PIXELS = 80_000_000
"""Width times height of an image that is decoded is this at most."""
MOST_SCANS = 100
"""Of a JPEG: one where it is baseline, about ten where it is progressive, a few more where an optimiser chose them."""
MOST_SCANNED = 20 * MOST_PIXELS
"""Pixels times scans: each scan passes over all coefficients of the image, whether or not it changes any."""
MOST_RUN_LENGTH_PIXELS = 2_000_000
"""Of a BMP compressed by run length, which Pillow unpacks in Python."""
MOST_SEGMENTS = 4096
"""Before the pixels of a JPEG; a profile has 255 at most, and depth maps of telephones a few hundred."""
MOST_HEADER, MOST_JUNK = 1 << 24, 1 << 20
"""Bytes before the pixels of a JPEG, and of these in no segment, over which Pillow steps one by one."""
MOST_DATA_CHUNKS, MOST_OTHER_CHUNKS = 200_000, 1000
"""Of a PNG; others than data can each be a compressed text or profile."""
MOST_BLOCKS = 500_000
"""Of up to 255 bytes, in a GIF up to its second frame."""
MOST_TAGS, MOST_STRIPS, MOST_NUMBERS = 1 << 16, 1 << 17, 1 << 18
"""Of a TIFF: entries of its directory, strips or tiles of its pixels, and numbers of any other entry."""
MOST_EXIF = 1 << 24
"""An EXIF block has this many bytes at most."""

_SMALL = 1 << 18
_PROGRESSIVE = frozenset((0xC2, 0xC6, 0xCA, 0xCE))
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_ALONE = frozenset((0x01, *range(0xD0, 0xDA)))
"""JPEG markers that no length follows."""
_START_OF_SCAN, _END = 0xDA, 0xD9
_MARKER, _MARKER_OF_SCAN = re.compile(rb"\xff[^\x00\xff]"), re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
"""What begins a segment, and what does once there are scans, whose data hold markers of their own."""
_ORDERS = {b"II": "<", b"MM": ">"}
_TIFF = (b"*\0", b"\0*", b"+\0", b"\0+")
_PLACES = {273: "strips", 324: "tiles"}
_TEXTS = (1, 2, 6, 7)
"""Types of a TIFF's entries that are read as they are."""
_RUN_LENGTH = (1, 2)
_DAMAGE = (IndexError, OverflowError, struct.error)
"""What reading behind the end of a file, or at a place that no file has, raises."""


def excess(data: bytes) -> str | None:
    """Which bound a file of these bytes breaks by its structure, and by how much; None where it breaks none.

    Nothing is said of what is damaged: it ends where the damage begins, and the decoder reports it. Nor of small files,
    over whose parts a decoder is within a second, whatever they are.
    """
    if len(data) < _SMALL:
        return None
    try:
        if data.startswith(b"\xff\xd8"):
            return _jpeg_header(data)
        if data.startswith(b"\x89PNG"):
            return _png(data)
        if data.startswith(b"GIF8"):
            return _gif(data)
        if data[:2] in _ORDERS and data[2:4] in _TIFF:
            return _tiff(data)
    except _DAMAGE:
        return None
    return None


def excess_of_work(data: bytes, form: str, compression: object, pixels: int) -> str | None:
    """The same for what depends on the number of pixels, of a file of this format; Pillow names its compression."""
    if form in ("JPEG", "MPO"):
        return _too_many_scans(scans(data, _most_scans(pixels)), pixels)
    if form == "TIFF" and compression in ("jpeg", "tiff_jpeg"):
        try:
            counts = [data.count(b"\xff\xda", start, end) for start, end in _strips(data)]
        except _DAMAGE:
            return None
        return _too_many_scans(max(counts, default=0), pixels)
    if form == "BMP" and compression in _RUN_LENGTH:
        if pixels > MOST_RUN_LENGTH_PIXELS:
            return f"{pixels:,} pixels compressed by run length, at most {MOST_RUN_LENGTH_PIXELS:,}"
        if len(data) > (most := 4 * pixels + MOST_JUNK):
            return f"{len(data):,} bytes of {pixels:,} pixels compressed by run length, at most {most:,}"
    return None


def _most_scans(pixels: int) -> int:
    return min(MOST_SCANS, MOST_SCANNED // max(1, pixels))


def _too_many_scans(found: int, pixels: int) -> str | None:
    most = _most_scans(pixels)
    return f"more than {most} scans over {pixels:,} pixels" if found > most else None


def _segments(data: bytes) -> Iterator[tuple[int, int]]:
    """Marker and place behind it of every segment of a JPEG, the data of scans skipped."""
    position, scanned = 2, False
    while found := (_MARKER_OF_SCAN if scanned else _MARKER).search(data, position):
        marker, position = data[found.end() - 1], found.end()
        yield marker, position
        if marker == _END and scanned:
            return
        if marker not in _ALONE:
            position += int.from_bytes(data[position : position + 2], "big")
        scanned = scanned or marker == _START_OF_SCAN


def _jpeg_header(data: bytes) -> str | None:
    behind, junk = 2, 0
    for number, (marker, position) in enumerate(_segments(data)):
        junk += position - 2 - behind
        behind = position if marker in _ALONE else position + int.from_bytes(data[position : position + 2], "big")
        if number == MOST_SEGMENTS:
            return f"more than {MOST_SEGMENTS:,} segments before the pixels"
        if marker == _START_OF_SCAN or max(behind, junk) > MOST_HEADER:
            break
    else:
        junk += max(0, len(data) - behind)
    if junk > MOST_JUNK:
        return f"more than {MOST_JUNK:,} bytes in no segment before the pixels"
    return f"more than {MOST_HEADER:,} bytes before the pixels" if behind > MOST_HEADER else None


def scans(data: bytes, most: int) -> int:
    """Scans of a JPEG; where there are more than `most`, any number above it."""
    components, progressive, found = 0, False, 0
    for number, (marker, position) in enumerate(_segments(data)):
        if number > MOST_SEGMENTS:  # between scans, where a decoder walks over them as we do
            return most + 1
        if marker in _FRAMES:
            components, progressive = _byte(data, position + 7), marker in _PROGRESSIVE
        if marker == _START_OF_SCAN:
            found += 1
            # A first scan of all components is the only one. Else to count markers, though some of a thumbnail may be
            # among them, is quicker than to walk from one to the next.
            if found == 1 and (
                (not progressive and _byte(data, position + 2) >= components)
                or data.count(b"\xff\xda", position - 2) <= most
            ):
                return 1
            if found > most:
                return found
    return found


def _byte(data: bytes, position: int) -> int:
    """The byte at a position; 0 behind the end."""
    return data[position] if position < len(data) else 0


def _png(data: bytes) -> str | None:
    pixel_chunks = others = 0
    position = 8
    while position + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        if kind == b"IEND":
            break
        if kind in (b"IDAT", b"fdAT", b"fcTL"):
            pixel_chunks += 1
        else:
            others += 1
        if pixel_chunks > MOST_DATA_CHUNKS:
            return f"more than {MOST_DATA_CHUNKS:,} chunks of data"
        if others > MOST_OTHER_CHUNKS:
            return f"more than {MOST_OTHER_CHUNKS:,} chunks besides those of data"
        position += 12 + length
    return None


def _gif(data: bytes) -> str | None:
    palette = data[10]
    position = 13 + (3 << (palette & 7) + 1 if palette & 0x80 else 0)
    blocks = frames = 0
    while data[position] in (0x21, 0x2C) and frames < 2:
        if data[position] == 0x2C:
            frames += 1
            palette = data[position + 9]
            position += 11 + (3 << (palette & 7) + 1 if palette & 0x80 else 0)
        else:
            position += 2
        while length := data[position]:
            position += length + 1
            blocks += 1
            if blocks > MOST_BLOCKS:
                return f"more than {MOST_BLOCKS:,} blocks up to the second frame"
        position += 1
        blocks += 1
    return None


def _tags(data: bytes) -> tuple[str, int, Iterator[tuple[int, int, int, int]]]:
    """Byte order of a TIFF, entries of its first directory, and each one's number, type, count and value's place."""
    order, big = _ORDERS[data[:2]], b"+" in data[2:4]
    (position,) = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)
    (entries,) = struct.unpack_from(order + ("Q" if big else "H"), data, position)
    position, entry = position + (8 if big else 2), order + ("HHQ" if big else "HHI")
    size, room = (20, 8) if big else (12, 4)
    widths = {3: 2, 4: 4, 16: 8}

    def each() -> Iterator[tuple[int, int, int, int]]:
        for i in range(min(entries, MOST_TAGS)):
            place = position + size * i
            tag, kind, count = struct.unpack_from(entry, data, place)
            place += size - room
            if widths.get(kind, 1) * count > room:
                (place,) = struct.unpack_from(order + ("Q" if big else "I"), data, place)
            yield tag, kind, count, place

    return order, entries, each()


def _tiff(data: bytes) -> str | None:
    _, entries, tags = _tags(data)
    if entries > MOST_TAGS:
        return f"{entries:,} tags, at most {MOST_TAGS:,}"
    for tag, kind, count, _ in tags:
        if tag in _PLACES and count > MOST_STRIPS:
            return f"{count:,} {_PLACES[tag]}, at most {MOST_STRIPS:,}"
        if kind not in _TEXTS and count > MOST_NUMBERS:
            return f"{count:,} numbers of tag {tag}, at most {MOST_NUMBERS:,}"
    return None


def _strips(data: bytes) -> set[tuple[int, int]]:
    """Where the strips or tiles of a TIFF begin and end."""
    order, _, tags = _tags(data)
    found: dict[int, tuple[int, ...]] = {}
    for tag, kind, count, place in tags:
        if tag in (273, 279, 324, 325) and kind in (3, 4, 16) and count <= MOST_STRIPS:
            letter = {3: "H", 4: "I", 16: "Q"}[kind]
            found.setdefault(tag, struct.unpack_from(f"{order}{count}{letter}", data, place))
    starts = found.get(273, ()) or found.get(324, ())
    lengths = found.get(279, ()) or found.get(325, ())
    return {(start, start + length) for start, length in zip(starts, lengths, strict=False)}

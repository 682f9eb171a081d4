"""TIFF files of any layout, written by hand: Pillow writes few of those that it reads."""

import struct
import zlib

import numpy as np

_KINDS = {"u": 1, "i": 2, "f": 3}


def tiff(pixels, *, photometric=None, order="<", compressed=False, planar=False, tags=None):
    """A TIFF of one strip a plane.

    Args:
        pixels: [height, width] or [height, width, samples], of any numpy type.
        photometric: 0 white is zero, 1 black is zero, 2 RGB, 3 palette, 5 CMYK, 8 LAB; 1 or 2 by default.
        order: of bytes, "<" or ">".
        compressed: by deflate, which libtiff reads; Pillow reads the rest itself.
        planar: one sample after the other instead of one pixel after the other.
        tags: more of them: (type, values) by number; type 3 is 16 bits, 4 is 32.
    """
    cube = pixels.reshape(*pixels.shape[:2], -1)
    height, width, samples = cube.shape
    planes = [cube[..., i] for i in range(samples)] if planar else [cube]
    strips = [np.ascontiguousarray(p).astype(p.dtype.newbyteorder(order)).tobytes() for p in planes]
    strips = [zlib.compress(s) for s in strips] if compressed else strips
    starts = [8 + sum(map(len, strips[:i])) for i in range(len(strips))]
    photometric = (1 if samples < 3 else 2) if photometric is None else photometric
    entries = {
        256: (4, [width]), 257: (4, [height]), 258: (3, [8 * pixels.dtype.itemsize] * samples),
        259: (3, [8 if compressed else 1]), 262: (3, [photometric]), 273: (4, starts), 277: (3, [samples]),
        278: (4, [height]), 279: (4, [len(s) for s in strips]), 284: (3, [2 if planar else 1]),
        339: (3, [_KINDS[pixels.dtype.kind]] * samples),
    } | (tags or {})  # fmt: skip
    return file(b"".join(strips), entries, order)


def file(body, entries, order="<"):
    """A TIFF of one directory: `body` from byte 8 on, then entries, (type, values) by number."""
    body += b"\0" * (len(body) % 2)
    at = 8 + len(body)
    values, rows = b"", b""
    behind = at + 2 + 12 * len(entries) + 4
    for tag, (kind, numbers) in sorted(entries.items()):
        packed = struct.pack(f"{order}{len(numbers)}{'H' if kind == 3 else 'I'}", *numbers)
        if len(packed) > 4:
            place = struct.pack(f"{order}I", behind + len(values))
            values += packed + b"\0" * (len(packed) % 2)
        else:
            place = packed.ljust(4, b"\0")
        rows += struct.pack(f"{order}HHI", tag, kind, len(numbers)) + place
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", at)
    return head + body + struct.pack(f"{order}H", len(entries)) + rows + bytes(4) + values

"""Small files that would take minutes or gigabytes to decode are refused, by every format's own means."""

import io
import os
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tiny_tiff import file as tiff_file
from tiny_tiff import tiff

from pipeline.images import bounds, decoding
from pipeline.images.decoding import CostlyImage, OversizedImage, UnreadableImage, decode

MANY = 70_000
"""Of parts of a few bytes: enough that a file is no longer small."""


def encode(image, form, **options):
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def scanned(side, more, *, between=b""):
    """A progressive JPEG with its last scan `more` times again."""
    whole = encode(Image.new("L", (side, side), 128), "JPEG", progressive=True)
    last = whole[whole.rfind(b"\xff\xda") : -2]
    return whole[:-2] + between + last * more + whole[-2:]


def claimed(data, side):
    """A JPEG whose header says another size."""
    at = data.index(b"\xff\xc2") + 5
    return data[:at] + struct.pack(">HH", side, side) + data[at + 4 :]


def separate(repeats):
    """A sequential JPEG whose components have scans of their own, each `repeats` times."""
    whole = encode(Image.new("RGB", (16, 16), (9, 99, 199)), "JPEG", subsampling=0)
    start = whole.rfind(b"\xff\xda")
    scans = b"".join(b"\xff\xda\0\x08\1" + bytes([component]) + b"\0\0\x3f\0\x3f" for component in (1, 2, 3))
    return whole[:start] + scans * repeats + whole[-2:]


def chunk(kind, data=b""):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(before=b"", after=b"", side=64):
    """A blank RGBA PNG with chunks before and after its data; almost no bytes, whatever its side."""
    row, packer = bytes(4 * side + 1), zlib.compressobj(9)
    data = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side, 8, 6, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + before + chunk(b"IDAT", data) + after + chunk(b"IEND")


def gif(before):
    """A GIF with blocks before its image."""
    whole = encode(Image.new("P", (8, 8)), "GIF")
    start = 13 + (3 << (whole[10] & 7) + 1 if whole[10] & 0x80 else 0)
    return whole[:start] + before + whole[start:]


def bmp(side, rows):
    """A BMP compressed by run length."""
    header = struct.pack("<IiiHHIIiiII", 40, side, side, 1, 8, 1, len(rows), 0, 0, 256, 0)
    return b"BM" + struct.pack("<IHHI", 1078 + len(rows), 0, 0, 1078) + header + bytes(1024) + rows


def strips(count, tags=None):
    """A TIFF of 64 x 64 with so many strips, and other tags."""
    return tiff_file(
        bytes(64 * 64),
        {
            256: (4, [64]), 257: (4, [64]), 258: (3, [8]), 259: (3, [1]), 262: (3, [1]), 277: (3, [1]), 278: (4, [1]),
            273: (4, [8] * count), 279: (4, [64] * count),
        } | (tags or {}),
    )  # fmt: skip


def jpeg_in_tiff(data, side):
    return tiff_file(
        data,
        {
            256: (4, [side]), 257: (4, [side]), 258: (3, [8]), 259: (3, [7]), 262: (3, [1]), 273: (4, [8]),
            277: (3, [1]), 278: (4, [side]), 279: (4, [len(data)]),
        },
    )  # fmt: skip


PLAIN = encode(Image.new("L", (8, 8)), "JPEG")
PROFILE = chunk(b"iCCP", b"p\0\0" + zlib.compress(bytes(10**6), 9))
COSTLY = {
    "scans": (lambda: scanned(64, 1000), "more than 100 scans"),
    "scans behind an end that is none": (
        lambda: scanned(64, 1000, between=b"\xff\xfe\0\4\xff\xd9"), "more than 100 scans"
    ),
    "scans of a large image": (lambda: claimed(scanned(64, 30), 8000), "more than 25 scans over 64,000,000 pixels"),
    "scans of single components": (lambda: separate(40), "more than 100 scans"),
    "scans in a TIFF": (lambda: jpeg_in_tiff(scanned(64, 200), 64), "more than 100 scans"),
    "segments": (lambda: PLAIN[:2] + b"\xff\xe0\0\2" * MANY + PLAIN[2:], "4,096 segments"),
    "exif": (lambda: PLAIN[:2] + (b"\xff\xe1\xff\xffExif\0\0" + bytes(65527)) * 300 + PLAIN[2:], "16,777,216 bytes"),
    "junk in a JPEG": (lambda: PLAIN[:2] + bytes(2**21) + PLAIN[2:], "1,048,576 bytes in no segment"),
    "nothing but junk": (lambda: b"\xff\xd8\xff" + bytes(2**21), "1,048,576 bytes in no segment"),
    "filling": (lambda: b"\xff\xd8" + b"\xff" * 2**21 + PLAIN[2:], "1,048,576 bytes in no segment"),
    "segments between scans": (
        lambda: scanned(64, 0, between=b"\xff\xfe\0\4\xff\xda" * MANY), "more than 100 scans"
    ),
    "texts": (lambda: png(chunk(b"tEXt", b"a\0b") * MANY), "1,000 chunks"),
    "texts behind the pixels": (lambda: png(after=chunk(b"tEXt", b"a\0b") * MANY), "1,000 chunks"),
    "profiles": (lambda: png(PROFILE * 1100), "1,000 chunks"),
    "chunks of data": (lambda: png(after=chunk(b"IDAT") * 210_000), "200,000 chunks"),
    "comments": (lambda: gif(b"!\xfe" + b"\1a" * 10**6 + b"\0"), "500,000 blocks"),
    "extensions": (lambda: gif(b"!\xfe\0" * 10**6), "500,000 blocks"),
    "runs": (lambda: bmp(2000, b"\0\1"), "4,000,000 pixels compressed by run length"),
    "ends of lines": (lambda: bmp(8, b"\0\0" * 10**6), "compressed by run length, at most"),
    "strips": (lambda: strips(140_000), "140,000 strips, at most 131,072"),
    "numbers of a tag": (lambda: strips(64, {320: (3, [1] * 300_000)}), "300,000 numbers of tag 320, at most 262,144"),
    "EXIF": (lambda: png(chunk(b"eXIf", b"II*\0" + bytes(2**24))), "EXIF of 16,777,2.. bytes, at most 16,777,216"),
}  # fmt: skip


@pytest.mark.parametrize("made", COSTLY)
def test_a_file_that_asks_for_too_much_work_says_which_bound_it_breaks(made):
    make, told = COSTLY[made]
    with pytest.raises(CostlyImage, match=told):
        decode(make())


@pytest.mark.parametrize(
    "data",
    [
        scanned(64, 80), png(PROFILE * 3), gif(b"!\xfe" + b"\1a" * 1000 + b"\0"), strips(64),
        bmp(64, b"\x40\1\0\0" * 64 + b"\0\1"), PLAIN[:2] + b"\xff\xe0\0\2" * 200 + PLAIN[2:],
        jpeg_in_tiff(scanned(64, 30), 64), tiff(np.frombuffer(b"\xff\xd8\xff\xda" * 1024, "u1").reshape(64, 64)),
    ],
    ids=["scans", "profiles", "comments", "strips", "runs", "segments", "scans in a TIFF", "pixels like scans"],
)  # fmt: skip
def test_what_is_unusual_but_cheap_is_decoded(data):
    assert decode(data).mode == "RGB"


@pytest.mark.parametrize("data", [png(side=13_300), png(side=9_000)], ids=["two gigabytes", "just too many"])
def test_a_blank_picture_of_too_many_pixels_is_refused_by_its_header(data):
    assert len(data) < 10**6
    with pytest.raises(OversizedImage, match=r"pixels, at most 80,000,000"):
        decode(data)


@pytest.mark.parametrize(
    ("options", "wanted"),
    [({}, 1), ({"progressive": True}, 10), ({"progressive": True, "restart_marker_rows": 1}, 10)],
)
def test_scans_of_ordinary_files_are_counted_where_they_could_be_many(options, wanted):
    exif = Image.Exif()
    exif[0x010E] = "a thumbnail has scans of its own: \xff\xda \xff\xda"
    data = encode(Image.effect_noise((200, 100), 90).convert("RGB"), "JPEG", exif=exif, **options)
    assert bounds.scans(data, 1) == min(wanted, 2), "it is not counted further than is asked"
    assert bounds.scans(data, 100) == 1, "as cheap as can be where there are few"


def test_the_second_picture_of_a_file_is_not_counted():
    progressive = scanned(64, 60)
    two = encode(Image.new("L", (64, 64)), "MPO", save_all=True, append_images=[Image.new("L", (64, 64))])
    end = two.index(b"\xff\xd9") + 2
    assert decode(progressive + two[end:] + progressive).size == (64, 64)


def test_a_file_is_read_no_further_than_a_picture_may_reach(tmp_path):
    huge = tmp_path / "huge.jpg"
    with huge.open("wb") as stream:
        stream.truncate(3 * 2**30)
    with pytest.raises(OversizedImage, match=r"3,221,225,472 bytes, at most 536,870,912"):
        decoding.read(huge)
    small = tmp_path / "small.jpg"
    small.write_bytes(PLAIN)
    assert decoding.read(small) == PLAIN
    for unreadable in (tmp_path, tmp_path / "gone.jpg"):
        with pytest.raises(UnreadableImage, match=str(unreadable)):
            decoding.read(unreadable)


@pytest.mark.skipif(not os.path.exists("/dev/zero"), reason="no file without an end")
def test_a_file_without_an_end_is_read_no_further_either(monkeypatch):
    from pathlib import Path

    monkeypatch.setattr(decoding, "MOST_BYTES", 10**6)
    with pytest.raises(OversizedImage, match="at most 1,000,000"):
        decoding.read(Path("/dev/zero"))


MAGIC = {
    b"\xff\xd8": "JPEG", b"\x89PNG\r\n\x1a\n": "PNG", b"GIF89a": "GIF", b"BM": "BMP", b"II*\0": "TIFF",
    b"MM\0*": "TIFF", b"MM*\0": "TIFF", b"II+\0\x08\0\0\0": "TIFF", b"MM\0+": "TIFF",
}  # fmt: skip


@given(st.sampled_from(sorted(MAGIC)), st.binary(max_size=300), st.integers(1, 20))
@settings(deadline=None, max_examples=150)
def test_looking_at_anything_at_all_raises_nothing(magic, data, times):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bounds, "_SMALL", 0)
        content = magic + data * times
        for found in (bounds.excess(content), bounds.excess_of_work(content, MAGIC[magic], "jpeg", 100)):
            assert found is None or isinstance(found, str)

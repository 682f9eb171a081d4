import contextlib
import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFilter

from pipeline.images import decoding
from pipeline.images.decoding import NotAnImage, OversizedImage, UnreadableImage, decode, encode_jpeg, opened
from pipeline.images.formats import EXTENSIONS

FORMATS = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp", "GIF": "gif", "BMP": "bmp", "TIFF": "tif", "AVIF": "avif"}


def scene(seed, side=96):
    """A smooth random image, as photographs are."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
    return small.resize((side, side), Image.Resampling.BICUBIC).filter(ImageFilter.GaussianBlur(2))


def encode(image, form, **options):
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_is_known_by_its_content_and_decoded(form):
    data = encode(Image.new("RGB", (6, 4), (200, 30, 30)), form)
    with opened(data) as image:
        assert EXTENSIONS[image.format] == FORMATS[form]
    picture = decode(data)
    assert (picture.mode, picture.size) == ("RGB", (6, 4))
    assert np.abs(np.asarray(picture, dtype=int) - (200, 30, 30)).max() <= 3


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("share", [0.4, 0.7])
def test_a_truncated_file_is_unreadable(form, share):
    data = encode(Image.effect_noise((64, 64), 80).convert("RGB"), form)
    with pytest.raises(UnreadableImage, match=r"bytes|of 64 x 64"):
        decode(data[: int(share * len(data))])


@pytest.mark.parametrize(
    "data",
    [b"", b"<html>404 Not Found</html>", bytes(100), encode(Image.new("RGB", (2, 2)), "PPM")],
    ids=["empty", "web page", "zeros", "format that is not read"],
)
def test_what_is_no_picture_says_how_it_begins_and_what_is_read(data):
    with pytest.raises(NotAnImage, match="expected one of JPEG"):
        decode(data)


@pytest.mark.parametrize("before", [b"\n", b"\r\n", b" ", b"\xef\xbb\xbf", b"\0"])
def test_what_stands_before_a_picture_is_seen_in_the_error(before):
    with pytest.raises(NotAnImage) as caught:
        decode(before + encode(Image.new("RGB", (2, 2)), "JPEG"))
    assert repr(before + b"\xff\xd8")[2:-1] in str(caught.value)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP"])
def test_the_start_of_a_picture_is_damaged_and_not_something_else(form):
    data = encode(Image.effect_noise((64, 64), 80).convert("RGB"), form)
    with pytest.raises(UnreadableImage, match="24 bytes") as caught:
        decode(data[:24])
    assert not isinstance(caught.value, NotAnImage)


def test_a_jpeg_of_twelve_bits_says_so():
    data = bytearray(encode(Image.new("L", (8, 8)), "JPEG"))
    data[data.index(b"\xff\xc0") + 4] = 12
    with pytest.raises(UnreadableImage, match="12-bit"):
        decode(bytes(data))


@pytest.mark.parametrize("side", [10_000, 60_000])
def test_a_bomb_is_known_by_its_header(side):
    data = bytearray(encode(Image.new("1", (64, 64)), "PNG"))
    data[16:24] = struct.pack(">II", side, side)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    with pytest.raises(OversizedImage, match="pixels"), opened(bytes(data)):
        pass


@given(st.binary(max_size=200), st.integers(0, 400), st.sampled_from(sorted(FORMATS)))
@settings(deadline=None, max_examples=200)
def test_damage_is_always_called_unreadable(junk, at, form):
    whole = encode(scene(2, side=24), form)
    data = whole[:at] + junk + whole[at + len(junk) :]
    with contextlib.suppress(UnreadableImage):
        assert decode(data).mode == "RGB"


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_shade_that_a_png_calls_transparent_becomes_white(mode):
    image = Image.new(mode, (4, 2), "black")
    image.putpixel((0, 0), (200, 10, 10) if mode == "RGB" else 200)
    data = io.BytesIO()
    image.save(data, "PNG", transparency=(0, 0, 0) if mode == "RGB" else 0)
    picture = decode(data.getvalue())
    assert picture.mode == "RGB"
    assert picture.getpixel((3, 1)) == (255, 255, 255)
    assert picture.getpixel((0, 0)) == ((200, 10, 10) if mode == "RGB" else (200, 200, 200))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_becomes_white(mode):
    image = Image.new("RGBA", (6, 6), (0, 0, 0, 0))
    image.paste((200, 30, 30, 255), (0, 0, 3, 6))
    picture = decode(encode(image.quantize(8) if mode == "P" else image.convert(mode), "PNG"))
    assert picture.getpixel((5, 3)) == (255, 255, 255)
    assert max(picture.getpixel((1, 3))) < 210


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}, {"restart_marker_rows": 1}])
def test_damage_shows_at_a_reduced_size_as_it_does_at_the_full_one(options):
    data = encode(Image.effect_noise((400, 300), 80).convert("RGB"), "JPEG", **options)

    def readable(part, at_least):
        try:
            with opened(part) as image:
                decoding.upright(image, at_least)
        except UnreadableImage:
            return False
        return True

    for end in [*range(300, len(data), len(data) // 60), *range(len(data) - 8, len(data) + 1)]:
        assert len({readable(data[:end], at_least) for at_least in (None, 200, 100, 40)}) == 1
    assert readable(data, 40)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_reduced_picture_is_upright_and_large_enough_and_its_full_size_is_known(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(scene(1, side=400).resize((800, 400)), "JPEG", exif=exif)
    full = decode(data)
    with opened(data) as image:
        assert decoding.upright_size(image) == full.size
        small = decoding.upright(image, 90)
    assert small.size == tuple(side // 4 for side in full.size)
    assert np.abs(np.asarray(small, float) - np.asarray(full.reduce(4), float)).mean() < 2


def test_exif_rotation_is_applied():
    image = Image.new("RGB", (4, 2), "black")
    image.putpixel((0, 0), (255, 255, 255))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: the stored top left belongs at the top right
    picture = decode(encode(image, "PNG", exif=exif))
    assert picture.size == (2, 4)
    assert picture.getpixel((1, 0)) == (255, 255, 255)
    assert picture.getpixel((0, 0)) == (0, 0, 0)


def test_a_damaged_exif_block_does_not_stop_the_run():
    orientation = struct.pack("<HHIHH", 0x0112, 3, 1, 6, 0)
    width_that_is_text = struct.pack("<HHI4s", 0x0100, 2, 4, b"abc\0")
    block = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 2) + orientation + width_that_is_text + struct.pack("<I", 0)
    data = encode(Image.new("RGB", (8, 4)), "JPEG", exif=block)
    with contextlib.suppress(UnreadableImage):  # recorded with its reason, which is as good as decoded
        assert decode(data).mode == "RGB"


def test_cmyk_becomes_the_rgb_that_is_seen():
    picture = decode(encode(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG"))  # no cyan: red
    r, g, b = picture.getpixel((4, 4))
    assert picture.mode == "RGB"
    assert r > 200
    assert max(g, b) < 60


def test_grey_becomes_rgb_with_equal_channels():
    picture = decode(encode(Image.new("L", (8, 8), 90), "PNG"))
    assert (picture.mode, picture.getpixel((3, 3))) == ("RGB", (90, 90, 90))


def test_sixteen_bit_grey_keeps_its_shades():
    half = Image.fromarray(np.full((4, 4), 32768, dtype=np.uint16))
    r, _, _ = decode(encode(half, "PNG")).getpixel((0, 0))
    assert 120 <= r <= 136


def test_a_palette_becomes_its_colours():
    picture = decode(encode(Image.new("RGB", (8, 8), (10, 200, 30)).quantize(4), "GIF"))
    assert (picture.mode, picture.getpixel((0, 0))) == ("RGB", (10, 200, 30))


def test_jpeg_quality_is_used():
    small, large = encode_jpeg(scene(1), 20), encode_jpeg(scene(1), 95)
    assert len(small) < len(large)
    assert decode(small).size == (96, 96)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", [1, 3, 6, 8, 9, 300])
def test_the_size_that_is_told_is_the_size_that_is_decoded(form, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(scene(1, side=60).resize((60, 30)), form, exif=exif)
    with opened(data) as image:
        told = decoding.upright_size(image)
    assert told == decode(data).size


def test_an_infinite_orientation_is_none():
    endless = struct.pack("<HHI4s", 0x0112, 11, 1, struct.pack("<f", float("inf")))
    block = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 1) + endless + struct.pack("<I", 0)
    data = encode(Image.new("RGB", (8, 4)), "JPEG", exif=block)
    with opened(data) as image:
        assert decoding.upright_size(image) == (8, 4)


def test_asking_a_damaged_png_for_its_size_does_not_make_it_readable():
    whole = encode(scene(3), "PNG")
    damaged = whole[:254] + bytes(9) + b"\x18h" + whole[254:]
    with pytest.raises(UnreadableImage):
        decode(damaged)
    with decoding.opened(damaged) as image, pytest.raises(UnreadableImage):
        decoding.upright_size(image)
        decoding.upright(image)

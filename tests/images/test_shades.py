"""Images of every depth show what is in them, or say why not: none is black because of its numbers."""

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tiny_tiff import tiff

from pipeline.images import shades
from pipeline.images.decoding import UnreadableImage, decode

RAMP = np.linspace(0, 1, 24 * 32).reshape(24, 32)
"""Dark at the top left, light at the bottom right."""
COLOURS = np.stack([RAMP, 1 - RAMP, RAMP / 2], axis=-1)
OPAQUE = np.ones((24, 32, 1))
KINDS = ["u1", "i1", "u2", "i2", "u4", "i4", "f4"]


def numbers(kind, share=0.999):
    """The ramp over a type's range."""
    dtype = np.dtype(kind)
    if dtype.kind == "f":
        return RAMP.astype(dtype)
    info = np.iinfo(dtype)
    return (info.min + RAMP * (float(info.max) - info.min) * share).astype(dtype)


def shown(data):
    return np.asarray(decode(data)).astype(float)


def png16(pixels, colour_type, clear=()):
    height, width = pixels.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    trns = [(b"tRNS", struct.pack(f">{len(clear)}H", *clear))] if clear else []
    chunks = [(b"IHDR", header), *trns, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("photometric", [0, 1])
def test_every_grey_tiff_shows_its_ramp_or_says_why_not(kind, order, compressed, photometric):
    data = tiff(numbers(kind), order=order, compressed=compressed, photometric=photometric)
    try:
        picture = shown(data)
    except UnreadableImage as error:
        assert "unknown pixel mode" in str(error)
        assert photometric == 0 or (kind, order) == ("u4", ">"), "one that Pillow opens"
        return
    wanted = 255 * (RAMP if photometric else 1 - RAMP)
    assert np.abs(picture - wanted[..., None]).max() <= 2.5


@pytest.mark.parametrize(
    ("kind", "low", "high"),
    [
        ("u2", 0, 4095), ("u2", 100, 900), ("u4", 0, 200), ("u4", 3_000_000_000, 4_000_000_000), ("i4", -500, 1000),
        ("i2", -7000, -2000), ("f4", 0, 1e-30), ("f4", -3e38, 3e38), ("f4", 0, 255), ("f4", -1, 1),
    ],
)  # fmt: skip
def test_numbers_without_a_scale_are_scaled_by_their_own_range(kind, low, high):
    picture = shown(tiff((low + RAMP * (float(high) - low)).astype(kind)))
    assert np.abs(picture - 255 * RAMP[..., None]).max() <= 2


@given(st.lists(st.floats(width=32), min_size=6, max_size=6), st.sampled_from("<>"), st.booleans())
@settings(deadline=None, max_examples=100)
def test_any_floats_are_in_order_or_refused(values, order, compressed):
    data = tiff(np.array(values, dtype="f4").reshape(2, 3), order=order, compressed=compressed)
    if not np.isfinite(values).all() or len(set(values)) == 1:
        with pytest.raises(UnreadableImage, match=r"not finite|every pixel is"):
            decode(data)
        return
    try:
        found = shown(data)[..., 0].ravel()
    except UnreadableImage as error:
        assert "so far from the others" in str(error)
        return
    assert (found.min(), found.max()) == (0, 255)
    assert (np.diff(found[np.argsort(values, kind="stable")]) >= 0).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_number_that_is_none_is_found_wherever_it_is(bad, monkeypatch):
    monkeypatch.setattr(shades, "_STRIP", 64)
    for at in (0, 400, 767):
        pixels = RAMP.astype("f4")
        pixels.flat[at] = bad
        with pytest.raises(UnreadableImage, match="not finite"):
            decode(tiff(pixels))


def spoiled(pixels, number, count):
    """With so many pixels, spread over it, of another number."""
    found = pixels.copy()
    found.flat[np.arange(count) * (found.size // max(1, count))] = number
    return found, np.broadcast_to((found == number)[..., None], (*found.shape, 3))


@pytest.mark.parametrize(
    ("kind", "high", "mark"),
    [
        ("f4", 1, -3.4e38), ("f4", 100, -9999), ("i2", 500, -32768), ("i4", 500, 2**31 - 1), ("u4", 3000, 2**32 - 1),
        ("u2", 4095, 5000), ("u2", 3000, 65535), ("u2", 5000, 8192), ("u2", 8000, 9000),
    ],
)  # fmt: skip
@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_few_pixels_of_another_number_do_not_decide_how_the_others_look(kind, high, mark, count):
    pixels, other = spoiled((RAMP * high).astype(kind), mark, count)
    picture = shown(tiff(pixels))
    assert len(np.unique(picture[~other])) > 128
    assert picture[~other].mean() > 60
    assert set(picture[other]) <= {0, 255}


@pytest.mark.parametrize(("kind", "high", "mark"), [("f4", 100, -9999), ("i2", 500, -32768), ("i4", 500, 2**31 - 1)])
@pytest.mark.parametrize("count", [5, 80, 700])
def test_many_marks_for_missing_values_are_refused(kind, high, mark, count, monkeypatch):
    monkeypatch.setattr(shades, "_STRIP", 32)
    pixels, _ = spoiled((RAMP * high).astype(kind), mark, count)
    with pytest.raises(UnreadableImage, match="so far from the others"):
        decode(tiff(pixels))


def test_a_mask_of_numbers_without_a_scale_is_black_and_white():
    mask = (RAMP > 0.997).astype("f4")
    assert (shown(tiff(mask)) == 255 * mask[..., None]).all()


@pytest.mark.parametrize("bits", [13, 14, 16])
def test_grey_of_sixteen_bits_keeps_its_depth_unless_its_bulk_is_in_the_lowest_eighth(bits):
    picture = shown(png16(RAMP * (2**bits - 1), 0))
    assert np.abs(picture - (255 if bits == 13 else 2 ** (bits - 8) - 1) * RAMP[..., None]).max() <= 1


def test_a_bright_thing_on_black_keeps_its_depth():
    pixels = np.where(RAMP > 0.997, 40_000, 0)
    assert set(shown(png16(pixels, 0)).ravel()) == {0, 40_000 // 256}


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("compressed", [False, True])
def test_colours_of_sixteen_bits_are_those_of_eight(order, planar, compressed):
    deep = tiff((COLOURS * 65535).astype("u2"), order=order, planar=planar, compressed=compressed)
    assert np.abs(shown(deep) - 255 * COLOURS).max() <= 1


@pytest.mark.parametrize("kind", ["f2", "f4", "f8", "u4"])
@pytest.mark.parametrize("planar", [False, True])
def test_colours_of_other_depths_are_refused_as_what_they_are(kind, planar):
    with pytest.raises(UnreadableImage, match=r"^TIFF of .* bytes: unknown pixel mode"):
        decode(tiff(COLOURS.astype(kind), planar=planar))


@pytest.mark.parametrize(
    ("samples", "colour_type"),
    [(COLOURS, 2), (np.concatenate([COLOURS, OPAQUE], -1), 6), (np.stack([RAMP, OPAQUE[..., 0]], -1), 4)],
)
def test_a_deep_png_is_shown_or_too_dark_to_be(samples, colour_type):
    colours = samples[..., :3] if colour_type != 4 else samples[..., :1]
    assert np.abs(shown(png16(samples * 65535, colour_type)) - 255 * colours).max() <= 1
    dark = np.concatenate([colours * 4095, *([OPAQUE * 65535] if samples.shape[-1] % 2 == 0 else [])], -1)
    with pytest.raises(UnreadableImage, match="too dark to be read"):
        decode(png16(dark, colour_type))


@pytest.mark.parametrize("colour_type", [2, 6])
def test_a_bright_pixel_does_not_make_a_dark_deep_picture_one_that_is_seen(colour_type):
    samples = np.concatenate([COLOURS * 4000, OPAQUE * 65535], -1)
    samples[0, 0] = 65535
    samples[:12] *= [1, 1, 1, colour_type == 2]  # a transparent half is not seen
    with pytest.raises(UnreadableImage, match="too dark to be read"):
        decode(png16(samples[..., : 3 if colour_type == 2 else 4], colour_type))


def test_a_small_thing_on_nothing_is_not_dark():
    samples = np.zeros((24, 32, 4))
    samples[3, 4] = 65535, 0, 0, 65535
    assert set(map(tuple, shown(png16(samples, 6)).reshape(-1, 3))) == {(255, 0, 0), (255, 255, 255)}


@pytest.mark.parametrize("high", [4095, 65535])
@pytest.mark.parametrize("clear", [0, 700, 65535])
def test_a_deep_shade_that_a_png_calls_transparent_becomes_white(high, clear):
    pixels = (RAMP * high).astype("u2")
    pixels[5:9] = clear
    picture = shown(png16(pixels, 0, clear=(clear,)))
    wanted = np.where(pixels == clear, 255, 255 * RAMP)
    assert np.abs(picture - wanted[..., None]).max() <= 2


def test_a_deep_colour_that_a_png_calls_transparent_becomes_white():
    pixels = (COLOURS * 65535).astype("u2")
    pixels[5:9] = clear = (300, 40_000, 513)
    picture = shown(png16(pixels, 2, clear=clear))
    assert (picture[5:9] == 255).all()
    assert np.abs(picture[9:] - 255 * COLOURS[9:]).max() <= 1


def test_a_picture_that_is_all_of_a_transparent_shade_is_white():
    assert set(shown(png16(np.full((4, 4), 300), 0, clear=(300,))).ravel()) == {255}


def test_twelve_bits_in_a_grey_png_of_sixteen_are_seen():
    assert np.abs(shown(png16(RAMP * 4095, 0)) - 255 * RAMP[..., None]).max() <= 1


@pytest.mark.parametrize("level", [0, 300, 40_000])
def test_a_flat_picture_of_a_known_depth_keeps_its_shade(level):
    assert set(shown(png16(np.full((4, 4), level), 0)).ravel()) == {level // 256}


@pytest.mark.parametrize("scale", [1, 257])
@pytest.mark.parametrize("compressed", [False, True])
def test_a_palette_of_eight_bits_is_not_black(scale, compressed):
    colours = [255 - i for i in range(256)] + list(range(256)) + [7] * 256
    data = tiff((RAMP * 255).astype("u1"), photometric=3, compressed=compressed,
                tags={320: (3, [scale * c for c in colours])})  # fmt: skip
    levels = (RAMP * 255).astype("u1").astype(float)
    assert np.abs(shown(data) - np.stack([255 - levels, levels, 0 * levels + 7], -1)).max() == 0


@pytest.mark.parametrize("extra", [1, 2], ids=["premultiplied", "plain"])
def test_transparent_grey_stands_on_white(extra):
    half = np.stack([RAMP * 100, np.full_like(RAMP, 100)], -1).astype("u1")
    picture = shown(tiff(half, tags={338: (3, [extra])}))
    assert picture.min() > 150
    assert picture[0, 0, 0] < picture[-1, -1, 0]


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_a_picture_in_strips_is_the_picture(mode, monkeypatch):
    image = Image.fromarray((np.concatenate([COLOURS, RAMP[..., None]], -1) * 255).astype("u1"))
    out = io.BytesIO()
    (image.quantize(8) if mode == "P" else image.convert(mode)).save(out, "PNG")
    whole = shown(out.getvalue())
    monkeypatch.setattr(shades, "_STRIP", 40)
    assert (shown(out.getvalue()) == whole).all()

import contextlib
import io
import struct

import numpy as np
import pytest
from PIL import Image, ImageFilter

from pipeline.images import UnreadableImage, decode, encode_jpeg, perceptual_hash, sniff

FORMATS = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp", "GIF": "gif", "BMP": "bmp", "TIFF": "tif"}


def scene(seed, side=96):
    """A smooth random picture, as photographs are."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
    return small.resize((side, side), Image.Resampling.BICUBIC).filter(ImageFilter.GaussianBlur(2))


def encode(image, form, **options):
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def distance(a, b):
    return (perceptual_hash(a) ^ perceptual_hash(b)).bit_count()


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_is_known_by_its_content_and_decoded(form):
    data = encode(Image.new("RGB", (6, 4), (200, 30, 30)), form)
    assert sniff(data) == FORMATS[form]
    picture = decode(data)
    assert (picture.mode, picture.size) == ("RGB", (6, 4))
    assert np.abs(np.asarray(picture, dtype=int) - (200, 30, 30)).max() <= 3


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("share", [0.4, 0.7])
def test_a_truncated_file_is_unreadable(form, share):
    data = encode(Image.effect_noise((64, 64), 80).convert("RGB"), form)
    with pytest.raises(UnreadableImage, match="bytes"):
        decode(data[: int(share * len(data))])


@pytest.mark.parametrize(
    "data",
    [b"", b"\xff\xd8\xff", b"<html>404 Not Found</html>", bytes(100)],
    ids=["empty", "start of a JPEG", "web page", "zeros"],
)
def test_what_is_no_picture_is_unreadable(data):
    with pytest.raises(UnreadableImage):
        decode(data)
    with pytest.raises(UnreadableImage):
        sniff(data)


def test_a_format_without_a_shard_extension_is_refused_by_name():
    with pytest.raises(UnreadableImage, match="PPM"):
        sniff(encode(Image.new("RGB", (2, 2)), "PPM"))


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


@pytest.mark.parametrize("seed", range(5))
def test_a_recompressed_or_resized_picture_has_nearly_the_same_hash(seed):
    picture = scene(seed)
    assert distance(picture, decode(encode_jpeg(picture, 50))) <= 4
    assert distance(picture, picture.resize((60, 60), Image.Resampling.BICUBIC)) <= 4


def test_other_pictures_have_other_hashes():
    pictures = [scene(seed) for seed in range(6)]
    assert min(distance(a, b) for i, a in enumerate(pictures) for b in pictures[:i]) > 12


def test_a_hash_is_of_the_light_and_not_of_its_level():
    picture = scene(3).point(lambda v: v // 2 + 20)
    assert distance(picture, picture.point(lambda v: v + 30)) <= 2
    assert 0 <= perceptual_hash(picture) < 2**64

import hashlib

import numpy as np
import pytest
from PIL import Image
from tiny_corpora import encoded, picture, png, write
from tiny_tiff import tiff

from pipeline.artifacts.schema import Reason
from pipeline.curation.appearance import frames, perceptual_hash, sharpness, sketch
from pipeline.curation.inspection import ImageFault, ImageLimits, Inspection, inspect
from pipeline.sources import File

LIMITS = ImageLimits(min_side=16, max_pixels=100_000, max_aspect=4)


def many_scans(count):
    data = encoded(picture(1), "JPEG", progressive=True)
    last = data[data.rfind(b"\xff\xda") : -2]
    return data[:-2] + last * count + data[-2:]


def look(path, data, limits=LIMITS):
    return inspect(File(str(write(path, data))), limits)


def test_a_readable_image_is_described_upright_and_by_its_content(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(picture(1, (48, 32)), exif=exif)
    found = look(tmp_path / "named.jpg", data)
    upright = picture(1, (48, 32)).transpose(Image.Transpose.ROTATE_270)
    assert found == Inspection(
        hashlib.sha256(data).digest(), perceptual_hash(upright), sketch(upright), 32, 48, "png", False, frames(upright),
        *sharpness(upright),
    )  # fmt: skip


def test_a_part_of_a_file_is_an_image_too(tmp_path):
    data = png(3)
    path = write(tmp_path / "all.tar", b"x" * 700 + data + b"y" * 99)
    found = inspect(File(str(path), 700, len(data)), LIMITS)
    assert found == look(tmp_path / "alone.png", data)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", Reason.EMPTY_FILE),
        (b"<html>404</html>", Reason.NOT_AN_IMAGE),
        (png(1)[:400], Reason.UNREADABLE_IMAGE),
        (encoded(picture(1, (400, 300))), Reason.OVERSIZED_IMAGE),
        (encoded(picture(1, (60_000, 4)).convert("L")), Reason.OVERSIZED_IMAGE),
        (many_scans(1000), Reason.COSTLY_IMAGE),
        (tiff(np.full((40, 40), np.nan, "f4")), Reason.UNREADABLE_IMAGE),
        (encoded(picture(1, (40, 15))), Reason.SMALL_IMAGE),
        (encoded(picture(1, (1, 1))), Reason.SMALL_IMAGE),
        (encoded(picture(1, (65, 16))), Reason.EXTREME_SHAPE),
        (encoded(picture(1, (16, 65))), Reason.EXTREME_SHAPE),
        (encoded(picture(1), "GIF", save_all=True, append_images=[picture(2)]), Reason.ANIMATED_IMAGE),
    ],
)
def test_an_image_that_cannot_be_used_is_named_with_its_reason(tmp_path, data, reason):
    found = look(tmp_path / "odd.jpg", data)
    assert isinstance(found, ImageFault)
    assert found.reason is reason
    assert "odd.jpg" in found.detail


@pytest.mark.parametrize("size", [(16, 16), (64, 16), (16, 64), (400, 250)])
def test_sizes_at_the_limits_are_kept(tmp_path, size):
    found = look(tmp_path / "a.png", encoded(picture(1, size)))
    assert isinstance(found, Inspection)
    assert (found.width, found.height) == size


@pytest.mark.parametrize(
    ("image", "form"),
    [
        (picture(1).convert("CMYK"), "JPEG"),
        (picture(1).convert("L"), "JPEG"),
        (picture(1).quantize(16), "GIF"),
        (picture(1).convert("I;16"), "PNG"),
        (picture(1).convert("RGBA"), "PNG"),
        (picture(1), "WEBP"),
    ],
    ids=["cmyk", "grey", "palette", "16 bit", "transparent", "webp"],
)
def test_odd_modes_and_formats_are_kept(tmp_path, image, form):
    assert isinstance(look(tmp_path / "a.jpg", encoded(image, form)), Inspection)


def test_two_pictures_in_one_jpeg_are_no_animation(tmp_path):
    data = encoded(picture(1), "MPO", save_all=True, append_images=[picture(2)])
    assert isinstance(look(tmp_path / "phone.jpg", data), Inspection)


def test_the_part_that_is_claimed_of_a_file_is_not_read_if_it_is_too_large(tmp_path):
    path = write(tmp_path / "all.tar", png(3))
    found = inspect(File(str(path), 0, 2**40), LIMITS)
    assert isinstance(found, ImageFault) and found.reason is Reason.OVERSIZED_IMAGE
    assert "1,099,511,627,776 bytes" in found.detail


def test_a_file_that_is_gone_is_missing_and_a_folder_is_unreadable(tmp_path):
    gone = inspect(File(str(tmp_path / "gone.jpg")), LIMITS)
    assert isinstance(gone, ImageFault) and gone.reason is Reason.MISSING_IMAGE
    folder = inspect(File(str(tmp_path)), LIMITS)
    assert isinstance(folder, ImageFault) and folder.reason is Reason.UNREADABLE_IMAGE

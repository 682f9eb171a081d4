import hashlib
import io

import pytest
from PIL import Image
from tiny_corpora import png, write

from pipeline.curation.checks import Inspection, Refusal, clean_caption, inspect_image
from pipeline.schema import Reason


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("a dog", "a dog"),
        ("  a \t dog\n", "a dog"),
        ("a\xa0dog", "a dog"),
        ("Café 3!", "Café 3!"),
        ("犬", "犬"),
        ("", ""),
        ("   ", ""),
        (" . ", ""),
        ("?!…", ""),
    ],
)
def test_a_caption_is_cleaned_of_white_space_and_empty_without_a_letter_or_digit(text, cleaned):
    assert clean_caption(text) == cleaned


def test_a_readable_image_is_described_upright_and_by_its_content(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    out = io.BytesIO()
    Image.new("RGB", (20, 10)).save(out, "PNG", exif=exif)
    found = inspect_image(write(tmp_path / "named.jpg", out.getvalue()))
    assert isinstance(found, Inspection)
    assert (found.width, found.height, found.extension) == (10, 20, "png")
    assert found.sha256 == hashlib.sha256(out.getvalue()).hexdigest()


def test_an_image_without_a_file_is_missing(tmp_path):
    for path in (None, tmp_path / "gone.jpg"):
        found = inspect_image(path)
        assert isinstance(found, Refusal)
        assert found.reason is Reason.MISSING_IMAGE


@pytest.mark.parametrize("data", [b"", b"<html>", png(1)[:40]], ids=["empty", "web page", "truncated"])
def test_a_file_that_is_no_picture_is_unreadable_and_named(tmp_path, data):
    found = inspect_image(write(tmp_path / "broken.jpg", data))
    assert isinstance(found, Refusal)
    assert found.reason is Reason.UNREADABLE_IMAGE
    assert "broken.jpg" in found.detail


def test_a_folder_with_the_name_of_an_image_is_unreadable(tmp_path):
    (tmp_path / "1.jpg").mkdir()
    found = inspect_image(tmp_path / "1.jpg")
    assert isinstance(found, Refusal)
    assert found.reason is Reason.UNREADABLE_IMAGE

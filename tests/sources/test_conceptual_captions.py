import hashlib

import pytest
from tiny_corpora import png, write

from pipeline.schema import Reason
from pipeline.sources import Rejected, Sample, SourceError, conceptual_captions, read

URL = "http://pictures.example/1.jpg"
CRC = conceptual_captions.crc32(URL)


def corpus(folder, *lines, name="Train_GCC-training.tsv"):
    write(folder / name, b"".join(line + b"\n" for line in lines))
    return folder


def row(caption, url=URL):
    return caption + b"\t" + url.encode()


def rows(folder):
    found = list(read("conceptual_captions", folder))
    return [r for r in found if isinstance(r, Sample)], [r for r in found if isinstance(r, Rejected)]


def test_crc32_is_the_standard_one_in_decimal():
    assert conceptual_captions.crc32("123456789") == "3421780262"


def test_an_id_is_the_start_of_the_urls_sha256(tmp_path):
    (sample,), _ = rows(corpus(tmp_path, row(b"a dog")))
    digest = hashlib.sha256(URL.encode()).hexdigest()
    assert sample.source_id == f"cc-{digest[:16]}"
    assert sample.key == f"conceptual_captions-cc-{digest[:16]}"
    assert sample.url == URL


@pytest.mark.parametrize("name", [f"{CRC}.jpg", f"17_{CRC}.jpg", f"17_{CRC}", f"{CRC}.webp", f"a/b/0_{CRC}.png"])
def test_a_download_is_found_by_the_crc32_of_its_url(tmp_path, name):
    write(tmp_path / name, png(1))
    (sample,), _ = rows(corpus(tmp_path, row(b"a dog")))
    assert sample.path == tmp_path / name


def test_the_row_number_alone_does_not_make_a_download_that_of_a_url(tmp_path):
    write(tmp_path / f"{CRC}_17.jpg", png(1))
    (sample,), _ = rows(corpus(tmp_path, row(b"a dog")))
    assert sample.path is None


def test_rows_of_one_url_are_captions_of_one_image(tmp_path):
    corpus(tmp_path, row(b"a dog"), row(b"a cat", "http://x/2"), row(b"a hound"))
    (dog, cat), _ = rows(corpus(tmp_path, row(b"a pet"), name="Validation_GCC-1.1.0-Validation.tsv"))
    assert [(c.text, c.place) for c in dog.captions] == [
        ("a dog", "Train_GCC-training.tsv:1"),
        ("a hound", "Train_GCC-training.tsv:3"),
        ("a pet", "Validation_GCC-1.1.0-Validation.tsv:1"),
    ]
    assert [c.text for c in cat.captions] == ["a cat"]


@pytest.mark.parametrize("line", [b"", b"a row without its url", b"a dog\t", b"a dog\t  "])
def test_a_malformed_row_is_rejected_by_its_line_number(tmp_path, line):
    samples, (rejected,) = rows(corpus(tmp_path, row(b"a dog"), line))
    assert len(samples) == 1
    assert (rejected.kind, rejected.reason, rejected.place) == (
        "caption",
        Reason.MALFORMED_ROW,
        "Train_GCC-training.tsv:2",
    )


def test_a_caption_that_is_not_utf8_is_rejected_and_its_image_stays(tmp_path):
    (sample,), (rejected,) = rows(corpus(tmp_path, row(b"\xff\xfe a dog")))
    assert sample.captions == ()
    assert (rejected.reason, rejected.key) == (Reason.NOT_UTF8, sample.key)


def test_a_folder_without_a_table_is_an_error(tmp_path):
    write(tmp_path / f"{CRC}.jpg", png(1))
    with pytest.raises(SourceError, match=r"no \*\.tsv"):
        rows(tmp_path)

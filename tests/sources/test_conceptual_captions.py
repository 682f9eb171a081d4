import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reading import places, read, rows, texts
from tiny_corpora import img2dataset, png, write

from pipeline.artifacts.schema import Reason
from pipeline.sources import Caption, Rejected, SourceError, conceptual_captions

URL = "http://images.example/1.jpg"
CRC = conceptual_captions.crc32(URL)
ID = conceptual_captions.source_id(URL)


def corpus(folder, *lines, name="Train_GCC-training.tsv"):
    write(folder / name, b"".join(line + b"\n" for line in lines))
    return folder


def row(caption, url=URL):
    return caption + b"\t" + url.encode()


def test_crc32_is_the_standard_one_in_decimal():
    assert conceptual_captions.crc32("123456789") == "3421780262"


def test_an_id_is_the_start_of_the_urls_sha256(tmp_path):
    images, _, _ = rows("conceptual_captions", corpus(tmp_path, row(b"a dog")))
    assert list(images) == [f"cc-{hashlib.sha256(URL.encode()).hexdigest()[:16]}"]
    assert images[ID].url == URL


@pytest.mark.parametrize("name", [f"{CRC}.jpg", f"17_{CRC}.jpg", f"17_{CRC}", f"{CRC}.webp", f"a/b/0_{CRC}.png"])
def test_a_download_is_found_by_the_crc32_of_its_url(tmp_path, name):
    write(tmp_path / name, png(1))
    images, _, _ = rows("conceptual_captions", corpus(tmp_path, row(b"a dog")))
    assert images[ID].file.path == str(tmp_path / name)
    assert images[ID].file.read() == png(1)


@pytest.mark.parametrize(
    "name", [f"{CRC}_17.jpg", f"0{CRC}.jpg", f"{CRC}.txt", f"{CRC}.json", f"._{CRC}.jpg", f"x{CRC}"]
)
def test_other_names_are_no_downloads(tmp_path, name):
    write(tmp_path / name, png(1))
    images, _, _ = rows("conceptual_captions", corpus(tmp_path, row(b"a dog")))
    assert (images[ID].file, images[ID].note) == (None, f"no download is named {CRC}")


def test_of_several_downloads_of_a_url_it_is_always_the_same(tmp_path):
    for name in ("b/1", "a/2", "c/0"):
        write(tmp_path / f"{name}_{CRC}.jpg", png(1))
    images, _, _ = rows("conceptual_captions", corpus(tmp_path, row(b"a dog")))
    assert images[ID].file.path == str(tmp_path / f"a/2_{CRC}.jpg")


ALIKE = "http://example.org/655648829745.jpg", "http://example.org/503259193545.jpg"
"""Two urls of one CRC-32, as some thousand of the three million are."""


def of_alike(folder, *lines):
    """The file, or why there is none, of both."""
    images, _, _ = rows("conceptual_captions", corpus(folder, *lines))
    found = (images[conceptual_captions.source_id(url)] for url in ALIKE)
    return [image.file.path.removeprefix(f"{folder}/") if image.file else image.note for image in found]


def test_urls_of_one_crc32_have_the_downloads_of_their_rows(tmp_path):
    one, other = ALIKE
    crc = conceptual_captions.crc32(one)
    assert conceptual_captions.crc32(other) == crc
    for name in (f"1_{crc}.jpg", f"2_{crc}.jpg"):
        write(tmp_path / name, png(1))
    lines = (row(b"no twin"), row(b"one", one), row(b"other", other), row(b"one again", one))
    assert of_alike(tmp_path, *lines) == [f"1_{crc}.jpg", f"2_{crc}.jpg"]


def test_a_url_never_has_the_download_of_another_one(tmp_path):
    one, other = ALIKE
    crc = conceptual_captions.crc32(one)
    why = "another url has this one's CRC-32, and no download is named "
    write(tmp_path / f"0_{crc}.jpg", png(1))
    assert of_alike(tmp_path, row(b"one", one), row(b"other", other)) == [f"0_{crc}.jpg", f"{why}1_{crc}"]
    (tmp_path / f"0_{crc}.jpg").rename(tmp_path / f"{crc}.jpg")
    assert of_alike(tmp_path, row(b"one", one), row(b"other", other)) == [f"{why}0_{crc}", f"{why}1_{crc}"]


def test_rows_of_one_url_are_captions_of_one_image(tmp_path):
    corpus(tmp_path, row(b"a dog"), row(b"a cat", "http://x/2"), row(b"a hound"))
    corpus(tmp_path, row(b"a pet"), name="Validation_GCC-1.1.0-Validation.tsv")
    images, captions, _ = rows("conceptual_captions", tmp_path)
    assert len(images) == 2
    assert [(c.text, c.place) for c in captions if c.id == ID] == [
        (b"a dog", "Train_GCC-training.tsv:1"),
        (b"a hound", "Train_GCC-training.tsv:3"),
        (b"a pet", "Validation_GCC-1.1.0-Validation.tsv:1"),
    ]


def test_a_header_is_no_row(tmp_path):
    _, captions, rejected = rows("conceptual_captions", corpus(tmp_path, b"caption\turl", row(b"a dog")))
    assert ([c.place for c in captions], rejected) == (["Train_GCC-training.tsv:2"], [])


@pytest.mark.parametrize(
    "line", [b"", b"a row without its url", b"a dog\t", b"a dog\t  ", b"a dog\thttp://x/\xff", b"a dog\thttp://x\t0.9"]
)
def test_a_malformed_row_is_rejected_by_its_line_number(tmp_path, line):
    images, captions, (rejected,) = rows("conceptual_captions", corpus(tmp_path, row(b"a dog"), line))
    assert (len(images), len(captions)) == (1, 1)
    assert (rejected.kind, rejected.reason) == ("caption", Reason.MALFORMED_ROW)
    assert rejected.place == "Train_GCC-training.tsv:2"


@pytest.mark.parametrize("text", [b"\xff\xfe a dog", b"", b"   "])
def test_what_a_caption_holds_is_left_to_curation(tmp_path, text):
    _, (caption,), rejected = rows("conceptual_captions", corpus(tmp_path, row(text)))
    assert (caption.text, rejected) == (text, [])


@pytest.mark.parametrize("form", ["webdataset", "files"])
def test_without_a_table_the_rows_are_those_of_img2dataset(tmp_path, form):
    found = [(URL, "a dog", png(1)), ("http://x/2", "a cat", "HTTP Error 404: Not Found")]
    img2dataset(tmp_path / "cc3m", found, form=form)
    img2dataset(tmp_path / "cc3m", [(URL, "a hound", png(1))], form=form, shard="00001")
    found = [r for r in read("conceptual_captions", tmp_path) if not isinstance(r, Caption | Rejected)]
    assert [i.file.read() for i in found if i.id == ID] == [png(1), png(1)]
    assert [(i.url, i.note) for i in found if not i.file] == [
        ("http://x/2", "failed_to_download: HTTP Error 404: Not Found")
    ]
    captions = [r for r in read("conceptual_captions", tmp_path) if isinstance(r, Caption)]
    assert [(c.text, c.place) for c in captions] == [
        ("a dog", "cc3m/00000.parquet#000000000"),
        ("a cat", "cc3m/00000.parquet#000000001"),
        ("a hound", "cc3m/00001.parquet#000010000"),
    ]


def test_without_a_caption_column_the_txt_is_the_caption_as_it_stands(tmp_path):
    img2dataset(
        tmp_path, [(URL, "a dog", png(1)), ("http://x/2", "a cat", "HTTP Error 404")], form="files", captions=False
    )
    write(tmp_path / "00000" / "000000000.txt", b"a caf\xe9")
    images, captions, rejected = rows("conceptual_captions", tmp_path)
    assert len(images) == 2
    assert [(c.id, c.text) for c in captions] == [(ID, b"a caf\xe9")]
    assert rejected == []


@pytest.mark.parametrize("form", ["webdataset", "files"])
def test_a_table_has_the_rows_and_img2dataset_only_the_pictures(tmp_path, form):
    urls = [f"http://x/{i}" for i in range(4)]
    done = [(urls[0], "ignored", png(0)), (urls[1], "ignored", "HTTP Error 404"), ("http://x/other", "ignored", png(9))]
    img2dataset(tmp_path / "cc3m", [*done, (urls[2], "ignored", png(2))], form=form)
    write(tmp_path / f"{conceptual_captions.crc32(urls[2])}.jpg", png(7))
    images, captions, rejected = rows("conceptual_captions", corpus(tmp_path, *(row(b"a dog", url) for url in urls)))
    assert [i.file and i.file.read() for i in images.values()] == [png(0), None, png(7), None]
    assert [i.note for i in images.values()] == [
        "", "failed_to_download: HTTP Error 404", "", f"no download is named {conceptual_captions.crc32(urls[3])}",
    ]  # fmt: skip
    assert {text for _, text in texts(captions)} == {"a dog"}
    assert rejected == []


def test_of_two_downloads_by_img2dataset_the_one_that_succeeded_counts(tmp_path):
    for shard, result in (("00000", "HTTP Error 503"), ("00001", png(1)), ("00002", "HTTP Error 404")):
        img2dataset(tmp_path, [(URL, "a dog", result)], shard=shard)
    images, _, _ = rows("conceptual_captions", corpus(tmp_path, row(b"a dog")))
    assert images[ID].file.read() == png(1)


def test_damage_to_a_shard_is_told_beside_a_table_too(tmp_path):
    img2dataset(tmp_path, [(URL, "a dog", png(1))])
    write(tmp_path / "00000.parquet", b"")
    images, _, rejected = rows("conceptual_captions", corpus(tmp_path, row(b"a dog")))
    assert images[ID].file.read() == png(1)
    assert places(rejected) == [("image", "00000.parquet")]


def test_a_folder_of_downloads_alone_is_an_error_that_says_what_was_expected(tmp_path):
    write(tmp_path / f"{CRC}.jpg", png(1))
    with pytest.raises(SourceError, match=r"found no \*\.tsv .* nor shards of img2dataset"):
        rows("conceptual_captions", tmp_path)


PIECES = [b"a dog", b"\t", b"http://x/1", b"\n", b"\r", b"\xff", b"\0", b" ", b"\xef\xbb\xbf", "\u2028".encode()]


@given((st.binary() | st.lists(st.sampled_from(PIECES)).map(b"".join)).filter(lambda data: b"caption\turl" not in data))
def test_every_line_of_any_bytes_is_one_caption_or_one_rejected_row(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("corpus")
    data = b"\n".join([b"", *(b"a dog\thttp://x/%d" % n for n in range(60))]) + data  # it stays in its own layout
    write(folder / "a.tsv", data)
    found = [r for r in read("conceptual_captions", folder) if isinstance(r, Caption | Rejected)]
    count = data.count(b"\n") + (not data.endswith(b"\n"))
    assert [r.place for r in found] == [f"a.tsv:{number}" for number in range(1, count + 1)]

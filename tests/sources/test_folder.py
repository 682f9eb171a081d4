import pytest
from reading import places, read, rows, texts
from tiny_corpora import png, write

from pipeline.sources import SourceError


def test_every_line_beside_an_image_is_a_caption(tmp_path):
    write(tmp_path / "a/1.jpg", png(1))
    write(tmp_path / "a/1.txt", "\ufeffa dog\r\n\r\n  two dogs\n".encode())
    write(tmp_path / "2.png", png(2))
    images, captions, rejected = rows("folder", tmp_path)
    assert {i.id: i.file.read() for i in images.values()} == {"a/1": png(1), "2.png.": png(2)}
    assert texts(captions) == [("a/1", "a dog"), ("a/1", "  two dogs")]
    assert [c.place for c in captions] == ["a/1.txt:1", "a/1.txt:3"]
    assert rejected == []


def test_images_of_one_name_have_its_captions_each(tmp_path):
    for name in ("1.b.jpg", "1.jpg", "1.PNG"):
        write(tmp_path / name, png(1))
    write(tmp_path / "1.txt", b"a dog")
    assert texts(rows("folder", tmp_path)[1]) == [("1", "a dog"), ("1.PNG.", "a dog")]


def test_a_text_without_an_image_is_an_image_that_is_missing(tmp_path):
    write(tmp_path / "1.jpg", png(1))
    write(tmp_path / "2.txt", b"a dog\na cat\n")
    images, captions, _ = rows("folder", tmp_path)
    assert images["2"].file is None and "no image beside 2.txt" in images["2"].note
    assert len(captions) == 2


def test_what_lies_below_the_folder_of_a_split_is_of_it(tmp_path):
    for name in ("test/1.jpg", "a/val2017/2.jpg", "train/3.jpg", "testimony/4.jpg"):
        write(tmp_path / name, png(1))
    images, _, _ = rows("folder", tmp_path)
    assert {name: image.evaluation for name, image in images.items()} == {
        "test/1": "test", "a/val2017/2": "val", "train/3": None, "testimony/4": None,
    }  # fmt: skip


def test_a_text_or_a_name_that_cannot_be_read_is_rejected(tmp_path):
    write(tmp_path / "1.jpg", png(1))
    write(tmp_path / "1.txt", b"\xff\xfea\0b")  # half of a UTF-16 letter
    (tmp_path / b"\xff.jpg".decode(errors="surrogateescape")).write_bytes(png(2))
    write(tmp_path / b"\xff.txt".decode(errors="surrogateescape"), b"a dog")
    images, _, rejected = rows("folder", tmp_path)
    assert list(images) == ["1"]
    assert places(rejected) == [("caption", "1.txt:1"), ("image", "?.jpg"), ("caption", "?.txt:1")]


def test_a_folder_without_images_says_what_is_expected(tmp_path):
    write(tmp_path / "1.txt", b"a dog")
    with pytest.raises(SourceError, match=r"no images below .*000\.jpg with 000\.txt"):
        list(read("folder", tmp_path))

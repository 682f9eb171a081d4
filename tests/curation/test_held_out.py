import io
import tarfile

import pytest
from tiny_corpora import png, write

from pipeline.curation.held_out import collections, with_attributes, zeroshot
from pipeline.errors import InputError


def names(found):
    return [picture.name.removeprefix("zero-shot image ") for picture in found]


def test_val_and_test_pictures_by_class_are_held_out(tmp_path):
    for name in ("val/a/1.png", "test/a/deep/2.png", "test/b/3.odd", "train/a/4.png", "test/.hidden/5.png"):
        write(tmp_path / name, png(1))
    write(tmp_path / "classes.json", b"{}")
    assert sorted(names(zeroshot(tmp_path))) == ["test/a/deep/2.png", "test/b/3.odd", "val/a/1.png"]


def test_all_pictures_of_an_image_folder_are(tmp_path):
    for name in ("cat/1.png", "test/2.png", "notes.txt"):
        write(tmp_path / name, png(1))
    (tmp_path / "test/2.png").rename(tmp_path / "cat/2.png")
    (tmp_path / "test").rmdir()
    assert names(zeroshot(tmp_path)) == ["cat/1.png", "cat/2.png"]


def test_members_of_a_webdataset_are_with_their_bytes(tmp_path):
    write(tmp_path / "classnames.txt", b"cat\n")
    (tmp_path / "test").mkdir()
    with tarfile.open(tmp_path / "test/0.tar", "w") as tar:
        for name, data in (("0.cls", b"0"), ("0.png", png(5)), ("1.png", png(6)), ("1.cls", b"0")):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    found = list(zeroshot(tmp_path))
    assert names(found) == ["test/0.tar/0.png", "test/0.tar/1.png"]
    assert [picture.file.read() for picture in found] == [png(5), png(6)]
    write(tmp_path / "test/1.tar", b"no tar at all" * 100)
    with pytest.raises(InputError, match=r"1\.tar"):
        list(zeroshot(tmp_path))


def test_of_pictures_with_attributes_those_that_are_tested_are(tmp_path):
    files = {
        "classes.txt": "1 cat\n2 dog\n", "predicates.txt": "1 furry\n", "predicate-matrix-binary.txt": "1\n1\n",
        "trainclasses.txt": "cat\n", "testclasses.txt": "dog\n",
    }  # fmt: skip
    for name, text in files.items():
        write(tmp_path / name, text.encode())
    write(tmp_path / "JPEGImages/cat/1.jpg", png(1))
    write(tmp_path / "JPEGImages/dog/2.jpg", png(2))
    assert [p.name for p in with_attributes(tmp_path)] == ["image with attributes JPEGImages/dog/2.jpg"]


def test_folders_that_are_not_there_hold_nothing(tmp_path):
    none, nowhere = tmp_path / "none", tmp_path / "nowhere"
    assert collections(none, nowhere) == {none: [], nowhere: []}
    assert collections(none, None) == {none: []}

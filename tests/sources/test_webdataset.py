import io
import json
import tarfile

import pytest
from reading import places, read, texts
from tiny_corpora import png, write

from pipeline.sources import Caption, Image, Rejected, SourceError
from pipeline.sources.columns import Columns


def tar(path, *members):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as stream:
        for name, data in members:
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            stream.addfile(entry, io.BytesIO(data))
    return write(path, out.getvalue())


def wds(path, **columns):
    found = list(read("webdataset", path, columns=Columns(**columns)))
    return tuple([row for row in found if isinstance(row, kind)] for kind in (Image, Caption, Rejected))


def test_an_image_with_a_text_or_a_record_is_a_sample(tmp_path):
    record = {"captions": ["a cat", ["two cats"]], "url": "http://a/2", "license": "CC0", "width": 4}
    tar(
        tmp_path / "0.tar", ("1.jpg", png(1)), ("1.txt", b"a dog"), ("2.png", png(2)),
        ("2.json", json.dumps(record).encode()),
    )  # fmt: skip
    images, captions, rejected = wds(tmp_path)
    assert [(i.id, i.file.read(), i.url, i.licence) for i in images] == [
        ("0.tar#1", png(1), "", ""), ("0.tar#2", png(2), "http://a/2", "CC0"),
    ]  # fmt: skip
    assert texts(captions) == [("0.tar#1", "a dog"), ("0.tar#2", "a cat"), ("0.tar#2", "two cats")]
    assert rejected == []


def test_two_tars_may_use_one_key_and_an_id_tells_samples_apart(tmp_path):
    for name in ("a", "b"):
        tar(tmp_path / f"{name}.tar", ("1.jpg", png(1)), ("1.json", json.dumps({"uid": f"u{name}"}).encode()))
    assert [i.id for i in wds(tmp_path)[0]] == ["a.tar#1", "b.tar#1"]
    assert [i.id for i in wds(tmp_path, id="uid")[0]] == ["ua", "ub"]
    assert [i.id for i in wds(tmp_path / "b.tar", id="__key__")[0]] == ["1"]


def test_a_field_that_is_named_goes_before_the_text(tmp_path):
    tar(tmp_path / "0.tar", ("1.jpg", png(1)), ("1.txt", b"alt"), ("1.json", b'{"blip": "a dog", "caption": "alt"}'))
    assert texts(wds(tmp_path)[1]) == [("0.tar#1", "alt")]
    assert texts(wds(tmp_path, captions=("blip", "txt"))[1]) == [("0.tar#1", "a dog"), ("0.tar#1", "alt")]


@pytest.mark.parametrize("record", [b"{", b"[]", b"\xff", b"[" * 100_000, b""])
def test_a_record_that_cannot_be_read_loses_its_sample(tmp_path, record):
    tar(tmp_path / "0.tar", ("1.jpg", png(1)), ("1.txt", b"a dog"), ("1.json", record), ("2.jpg", png(2)))
    images, captions, rejected = wds(tmp_path)
    assert ([i.id for i in images], captions) == (["0.tar#2"], [])
    assert places(rejected) == [("image", "0.tar#1"), ("caption", "0.tar#1")]


def test_a_tar_that_was_cut_off_is_read_as_far_as_it_goes(tmp_path):
    path = tar(tmp_path / "0.tar", ("1.jpg", png(1)), ("1.txt", b"a dog"), ("2.txt", b"a cat"), ("2.jpg", png(2)))
    path.write_bytes(path.read_bytes()[: -len(png(2)) - 10_000])
    images, captions, rejected = wds(tmp_path)
    assert len(images) >= 1 and len(captions) >= 1
    assert places(rejected) == [("image", "0.tar")]
    assert [i.note for i in images if i.file is None] in ([], ["there is no image 2"])


def test_tars_of_a_split_are_kept_out_of_training(tmp_path):
    for name in ("train-0000.tar", "val/0.tar", "test-0001.tar"):
        tar(tmp_path / name, ("1.jpg", png(1)), ("1.txt", b"a dog"))
    assert {i.id: i.evaluation for i in wds(tmp_path)[0]} == {
        "test-0001.tar#1": "test", "train-0000.tar#1": None, "val/0.tar#1": "val",
    }  # fmt: skip


def test_no_tar_is_an_error(tmp_path):
    write(tmp_path / "0.tar.gz", b"")
    with pytest.raises(SourceError, match=r"no \*\.tar"):
        wds(tmp_path)

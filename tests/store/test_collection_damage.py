import errno
import hashlib
import os
import shutil

import pyarrow as pa
import pytest
from tiny_collection import LISTS, fill, lacking, opened, segments

from pipeline.store import keys, segment


@pytest.fixture
def two(tmp_path, a_segment_an_addition):
    """A collection of the segments of `a` and of `b`, and the path of `a`'s."""
    made = fill(tmp_path, ["a"])
    (path,) = segments(made)
    return fill(tmp_path, ["b"]), path


def check_repaired(two, tmp_path, caplog):
    """Only `a` is lost, its segment is named, and it can be written again."""
    path = two[1]
    found = opened(tmp_path)
    assert lacking(found, ["a", "b"]) == ["a"]
    assert path.name in caplog.text
    assert not path.exists() and path.with_suffix(".damaged").is_file()
    assert lacking(fill(tmp_path, ["a"]), ["a", "b"]) == []
    assert lacking(opened(tmp_path), ["a", "b"]) == []


def test_every_flipped_byte_of_a_segment_is_detected_and_costs_its_rows_alone(two, tmp_path, caplog):
    path = two[1]
    good = path.read_bytes()
    for at in range(len(good)):
        path.write_bytes(good[:at] + bytes([good[at] ^ (1 << at % 8)]) + good[at + 1 :])
        caplog.clear()
        assert lacking(opened(tmp_path), ["a", "b"]) == ["a"]
        assert path.name in caplog.text
        assert not path.exists()
        path.with_suffix(".damaged").unlink()
    fill(tmp_path, ["a"])
    assert path.read_bytes() == good


@pytest.mark.parametrize("share", [0, 0.01, 0.5, 0.999])
def test_a_truncated_segment_costs_its_rows_alone(two, tmp_path, caplog, share):
    good = two[1].read_bytes()
    two[1].write_bytes(good[: int(share * len(good))])
    check_repaired(two, tmp_path, caplog)


def test_a_segment_with_something_behind_it_costs_its_rows_alone(two, tmp_path, caplog):
    with two[1].open("ab") as stream:
        stream.write(b"\0")
    check_repaired(two, tmp_path, caplog)


def test_a_segment_under_the_name_of_another_costs_its_rows_alone(two, tmp_path, caplog):
    other = next(p for p in segments(two[0]) if p != two[1])
    shutil.copyfile(other, two[1])
    check_repaired(two, tmp_path, caplog)


def test_a_deleted_segment_costs_its_rows_alone(two, tmp_path):
    two[1].unlink()
    assert lacking(opened(tmp_path), ["a", "b"]) == ["a"]


@pytest.mark.parametrize(
    "other", [{"made_with": {"weights": "v"}}, {"made_with": {"weights": "v"}, "values": LISTS}], ids=["rows", "lists"]
)
def test_a_segment_of_another_collection_is_set_aside_and_named(tmp_path, caplog, other):
    made = fill(tmp_path, ["b"])
    stranger = opened(tmp_path, **other)
    with stranger.writing() as writer:
        writer.add(
            keys.from_texts(["a"]), pa.array([[1, 1]] if len(other) == 1 else [[[1, 1]]], stranger.schema[0].type)
        )
    copy = made.folder / segments(stranger)[0].name
    shutil.copyfile(segments(stranger)[0], copy)
    assert lacking(opened(tmp_path), ["a", "b"]) == ["a"]
    assert copy.name in caplog.text and "another collection" in caplog.text
    assert not copy.exists() and copy.with_suffix(".damaged").is_file()


def broken_footer(content):
    return content[:-200] + bytes(190) + content[-10:]


def other_letters(content):
    return content.replace(b"pictures", b"\xff" * 8)


@pytest.mark.parametrize(
    "broken",
    [lambda _: b"", lambda _: b"no Arrow file", lambda c: c[:-1], broken_footer, other_letters],
    ids=["empty", "junk", "truncated", "broken footer", "no UTF-8"],
)
def test_what_bears_its_own_hash_but_is_no_segment_is_set_aside_and_named(tmp_path, caplog, broken):
    made = fill(tmp_path, ["b"])
    content = broken(segments(made)[0].read_bytes())
    path = made.folder / f"{hashlib.sha256(content).hexdigest()}.arrow"
    path.write_bytes(content)
    assert lacking(opened(tmp_path), ["a", "b"]) == ["a"]
    assert path.name in caplog.text
    assert not path.exists()


def test_two_processes_may_set_the_same_segment_aside(two, tmp_path, monkeypatch):
    two[1].write_bytes(b"damaged")
    check = segment.check

    def check_and_lose(path, *name):
        try:
            check(path, *name)
        except segment.Damaged:
            path.rename(path.with_suffix(".damaged"))  # as another process does at this moment
            raise

    monkeypatch.setattr(segment, "check", check_and_lose)
    assert lacking(opened(tmp_path), ["a", "b"]) == ["a"]


def test_where_nothing_may_be_written_a_damaged_segment_stays_and_is_not_read(two, tmp_path, monkeypatch, caplog):
    two[1].write_bytes(b"damaged")

    def refused(*_, **__):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(os, "replace", refused)
    assert lacking(opened(tmp_path), ["a", "b"]) == ["a"]
    assert two[1].read_bytes() == b"damaged"
    assert two[1].name in caplog.text
    assert ".damaged" not in caplog.text, "there is no such file"


def test_leftovers_of_killed_writers_are_ignored(two, tmp_path, caplog):
    folder, content = two[1].parent, two[1].read_bytes()
    (folder / f".{two[1].name}.0123.part").write_bytes(content[:100])
    (folder / ".collection.json.0123.part").write_text("{")
    assert lacking(opened(tmp_path), ["a", "b"]) == []
    assert caplog.text == ""

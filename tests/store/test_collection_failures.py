import errno
import os

import pytest
from tiny_collection import check_names, fill, lacking, opened, rows_of

from pipeline.store import keys
from pipeline.store.collection import StoreError

# What stops a writer


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, ValueError])
def test_what_was_added_before_an_error_is_kept(tmp_path, error):
    made = opened(tmp_path)
    with pytest.raises(error), made.writing() as writer:
        writer.add(keys.from_texts("a"), rows_of("a"))
        raise error
    for found in (made, opened(tmp_path)):
        assert lacking(found, ["a", "b"]) == ["b"]
    check_names(made)


def test_ctrl_c_while_a_segment_is_written_loses_nothing(tmp_path, monkeypatch, a_segment_an_addition):
    fill(tmp_path, ["a"])
    made = opened(tmp_path)

    def interrupted(_):
        monkeypatch.undo()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), made.writing() as writer:
        monkeypatch.setattr(os, "fsync", interrupted)
        writer.add(keys.from_texts("b"), rows_of("b"))
    for found in (made, opened(tmp_path)):
        assert lacking(found, ["a", "b"]) == []
    check_names(made)


# A disk that is full or may not be written to


ADVICE = [
    (errno.ENOSPC, "No space left on device", "dclip cache gc"),
    (errno.EACCES, "Permission denied", "write permission"),
    (errno.EIO, "Input/output error", "Check the disk"),
]


@pytest.mark.parametrize(("number", "cause", "advice"), ADVICE)
@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_disk_that_fails_ends_the_run_with_advice_and_keeps_what_was_written(
    tmp_path, monkeypatch, a_segment_an_addition, call, number, cause, advice
):
    made = opened(tmp_path)

    def fail(*_):
        raise OSError(number, os.strerror(number))

    with pytest.raises(StoreError) as caught, made.writing() as writer:
        writer.add(keys.from_texts("a"), rows_of("a"))
        with monkeypatch.context() as failing:
            failing.setattr(os, call, fail)
            writer.add(keys.from_texts("b"), rows_of("b"))
    for part in (str(made.folder), "1 new rows of pictures", cause, advice, "run it again"):
        assert part in str(caught.value)
    for found in (made, opened(tmp_path)):
        assert lacking(found, ["a", "b"]) == ["b"]
    check_names(made)

    with made.writing() as writer:
        writer.add(keys.from_texts("b"), rows_of("b"))
    for found in (made, opened(tmp_path)):
        assert lacking(found, ["a", "b"]) == []


def test_a_disk_that_fails_before_the_description_is_written_leaves_a_new_collection(tmp_path, monkeypatch):
    made = opened(tmp_path)

    def fail(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as failing, pytest.raises(StoreError, match="No space left"):
        failing.setattr(os, "fsync", fail)
        with made.writing() as writer:
            writer.add(keys.from_texts("a"), rows_of("a"))
    assert lacking(opened(tmp_path), ["a"]) == ["a"]
    assert lacking(fill(tmp_path, ["a"]), ["a"]) == []
    check_names(made)


def test_a_file_where_the_store_should_be_is_an_error_with_its_path(tmp_path):
    (tmp_path / "store").write_text("")
    with pytest.raises(StoreError, match=r"could not be written to .*store"):
        fill(tmp_path / "store", ["a"])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_only_be_read_is_read_and_not_written(tmp_path):
    made = fill(tmp_path, ["a"])
    made.folder.chmod(0o555)
    try:
        assert lacking(opened(tmp_path), ["a", "b"]) == ["b"]
        with pytest.raises(StoreError, match="write permission"):
            fill(tmp_path, ["b"])
    finally:
        made.folder.chmod(0o755)
    check_names(made)

"""What actors need of a store: segments that the clock does not close, rows that are lent, sending without a list."""

import numpy as np
import pytest
from tiny_store import contents, fill, lacking, opened, rows_of

from pipeline.store import collection, keys
from pipeline.store.collection import by_size_alone
from pipeline.store.remote import collections, send

pytestmark = pytest.mark.usefixtures("unflushed")


@pytest.fixture
def hours(monkeypatch):
    """An hour passes whenever somebody looks at the clock."""
    clock = iter(range(0, 10**8, 3600))
    monkeypatch.setattr(collection.time, "monotonic", lambda: float(next(clock)))


def add_one_by_one(root, *texts):
    made = opened(root)
    with made.writing() as writer:
        for text in texts:
            writer.add(keys.from_texts([text]), rows_of([text]))
    return made


def test_by_size_alone_slow_rows_are_one_segment(tmp_path, hours):
    assert len(add_one_by_one(tmp_path / "timed", "a", "b", "c").segments) == 3
    with by_size_alone():
        assert len(add_one_by_one(tmp_path / "whole", "a", "b", "c").segments) == 1
    assert len(add_one_by_one(tmp_path / "timed again", "a", "b", "c").segments) == 3


def test_segments_of_others_are_found_without_opening_the_collection_again(tmp_path):
    mine = opened(tmp_path)
    fill(tmp_path, "a", "b")
    fill(tmp_path, "c")
    assert mine.missing(keys.from_texts(["a", "c"])).tolist() == [True, True]
    for _ in range(2):
        mine.refresh()
        assert len(mine.segments) == 2
    assert mine.missing(keys.from_texts(["a", "c", "d"])).tolist() == [False, False, True]


def test_rows_that_are_lent_are_known_and_neither_kept_nor_sent(tmp_path):
    fill(tmp_path / "theirs", "a", "b")
    wanted = keys.from_texts(["b", "a"])
    made = opened(tmp_path / "mine")
    made.lend(wanted, opened(tmp_path / "theirs").take(wanted), tmp_path / "mine/lent")
    made.lend(wanted[:0], made.take(wanted[:0]), tmp_path / "mine/lent")
    assert np.array_equal(made.vectors(wanted), rows_of(["b", "a"]))
    with made.writing() as writer:
        writer.add(keys.from_texts(["c"]), rows_of(["c"]))
    assert len(send(tmp_path / "mine", str(tmp_path / "shared"))) == 1
    assert lacking(tmp_path / "shared", "a", "b", "c") == ["a", "b"]


def test_a_small_store_is_sent_without_listing_the_remote(mine, remote, monkeypatch):
    assert collections(remote.url) == set()
    with monkeypatch.context() as patch:
        patch.setattr(type(remote.fs), "find", None)
        sent = send(mine, remote.url)
    assert sorted(sent) == sorted(path for path in contents(mine) if path.endswith(".arrow"))
    assert remote.contents() == contents(mine)
    assert collections(remote.url) == {path.partition("/")[0] for path in contents(mine)}
    monkeypatch.setattr(type(remote.fs), "put_file", None)
    assert send(mine, remote.url) == sent, "what is there is not sent again"

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_collection import BLOBS, BOXES, LISTS, check_names, fill, lacking, opened, rows_of, segments
from tiny_store import VECTORS

from pipeline.store import collection, keys
from pipeline.store.collection import StoreError

numbers = st.floats(-1000, 1000, width=16)
vector = st.lists(numbers, min_size=2, max_size=2)
KINDS = {
    "vectors": (VECTORS, vector),
    "lists of vectors": (LISTS, st.lists(vector, max_size=3)),
    "lists of binaries": (BLOBS, st.lists(st.binary(max_size=4), max_size=3)),
}


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_rows_come_back_as_they_were_written_in_any_order_and_repeated(kind, data):
    schema, values = KINDS[kind]
    rows = data.draw(st.dictionaries(st.text(max_size=3), values, min_size=1, max_size=6))
    texts = list(rows)
    cut = data.draw(st.integers(0, len(texts) - 1))
    asked = data.draw(st.lists(st.sampled_from(texts), max_size=10))
    with TemporaryDirectory() as folder:
        for part in filter(None, (texts[:cut], texts[cut:])):
            made = opened(Path(folder), values=schema)
            with made.writing() as writer:
                column = [rows[t] for t in part]
                writer.add(keys.from_texts(part), np.array(column) if kind == "vectors" else column)
        for found in (made, opened(Path(folder), values=schema)):
            assert found.take(keys.from_texts(asked)).column(0).to_pylist() == [rows[t] for t in asked]
            if kind == "vectors":
                assert found.vectors(keys.from_texts(asked)).tolist() == [rows[t] for t in asked]
            assert found.missing(keys.from_texts([*texts, "not there"])).tolist() == [False] * len(texts) + [True]
            assert len(found) == len(texts)


def test_rows_of_several_columns_stay_together(tmp_path):
    made = opened(tmp_path, values=BOXES)
    with made.writing() as writer:
        writer.add(keys.from_texts("ab"), [[[0, 0, 1, 1]], []], [[0.5], []])
    assert made.take(keys.from_texts("ba")).to_pylist() == [
        {"corners": [], "scores": []}, {"corners": [[0, 0, 1, 1]], "scores": [0.5]},
    ]  # fmt: skip


def test_a_new_collection_lacks_everything_and_makes_no_folder(tmp_path):
    found = opened(tmp_path)
    assert (len(found), lacking(found, ["a", "b"])) == (0, ["a", "b"])
    assert found.take(keys.pack([])).num_rows == 0
    assert found.vectors(keys.pack([])).shape == (0, 2)
    assert list(tmp_path.iterdir()) == []


def test_a_row_that_is_not_there_is_counted_and_not_made_up(tmp_path):
    found = fill(tmp_path, ["a"])
    for read in (found.take, found.vectors):
        with pytest.raises(StoreError, match="lacks 2 of 3 rows"):
            read(keys.from_texts(["a", "b", "c"]))


@pytest.mark.parametrize("name", ["SEGMENT_BYTES", "SEGMENT_SECONDS"])
def test_a_segment_is_written_when_enough_is_waiting_or_it_has_waited_long_enough(tmp_path, monkeypatch, name):
    monkeypatch.setattr(collection, name, 0)
    made = opened(tmp_path)
    with made.writing() as writer:
        for i, text in enumerate("abc"):
            writer.add(keys.from_texts(text), rows_of(text))
            assert len(segments(made)) == i + 1
            assert lacking(opened(tmp_path), list("abc")) == list("abc")[i + 1 :]
        assert writer.rows == 3
    assert lacking(made, list("cab")) == []
    check_names(made)


def test_rows_of_several_segments_come_back_in_the_order_asked_for(tmp_path, a_segment_an_addition):
    made = opened(tmp_path)
    with made.writing() as writer:
        for text in "abcdefgh":
            writer.add(keys.from_texts([text, text * 2]), rows_of([text, text * 2]))
    asked = ["hh", "a", "d", "a", "bb", "h", "c"]
    assert len(segments(made)) == 8
    assert made.vectors(keys.from_texts(asked)).tolist() == rows_of(asked).tolist()
    assert made.take(keys.from_texts(asked))["vector"].to_pylist() == rows_of(asked).tolist()


def test_an_empty_batch_adds_nothing(tmp_path):
    made = opened(tmp_path)
    with made.writing() as writer:
        writer.add(keys.pack([]), np.empty((0, 2)))
    for found in (made, opened(tmp_path)):
        assert lacking(found, ["a"]) == ["a"]


def test_a_callers_buffers_may_be_used_again_once_they_were_added(tmp_path):
    own, rows = keys.from_texts(["a", "b"]), rows_of(["a", "b"])
    made = opened(tmp_path)
    with made.writing() as writer:
        writer.add(own, rows)
        own[:], rows[:] = 0, 0
    assert lacking(made, ["a", "b"]) == []

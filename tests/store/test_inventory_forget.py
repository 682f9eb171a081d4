"""Rows that were computed wrongly leave the store, and nothing else does."""

import numpy as np
import pyarrow as pa
import pytest

from pipeline.store import collection, inventory, keys
from pipeline.store.collection import Collection

SCHEMA = pa.schema([("vector", pa.list_(pa.float16(), 2)), ("names", pa.list_(pa.string()))])


def opened(root, texts=()):
    made = Collection(root, "boxes", {"weights": "w"}, SCHEMA)
    with made.writing() as writer:
        writer.add(keys.from_texts(texts), np.array([[len(t), 1] for t in texts]).reshape(-1, 2), [[t] for t in texts])
    return made


@pytest.mark.parametrize("segments", [1, 3])
@pytest.mark.parametrize("gone", [["b"], ["a", "ccc"], ["a", "b", "ccc"], ["nowhere"], []])
def test_rows_that_are_forgotten_are_gone_and_all_others_are_as_they_were(tmp_path, monkeypatch, segments, gone):
    monkeypatch.setattr(collection, "SEGMENT_BYTES", 1)
    texts = ["a", "b", "ccc"]
    for part in [texts] if segments == 1 else [[text] for text in texts]:
        opened(tmp_path, part)
    (held,) = inventory.collections(tmp_path)
    assert inventory.forget(held, keys.from_texts(gone)) == len(set(gone) & set(texts))
    made = opened(tmp_path)
    rest = [text for text in texts if text not in gone]
    assert made.missing(keys.from_texts(texts)).tolist() == [text in gone for text in texts]
    assert made.take(keys.from_texts(rest))["names"].to_pylist() == [[text] for text in rest]
    assert made.take(keys.from_texts(rest))["vector"].to_pylist() == [[len(text), 1] for text in rest]
    (held,) = inventory.collections(tmp_path)
    assert held.rows == len(rest) and list(inventory.faults(held)) == []


def test_a_row_that_two_writers_have_computed_is_forgotten_twice(tmp_path):
    first, second = (Collection(tmp_path, "boxes", {"weights": "w"}, SCHEMA) for _ in range(2))
    for made, name in ((first, "x"), (second, "y")):
        with made.writing() as writer:
            writer.add(keys.from_texts(["a", name]), np.ones((2, 2)), [["a"], [name]])
    (held,) = inventory.collections(tmp_path)
    assert inventory.forget(held, keys.from_texts(["a"])) == 2
    assert opened(tmp_path).missing(keys.from_texts(["a", "x", "y"])).tolist() == [True, False, False]


def test_a_damaged_segment_stays_for_the_next_stage_to_set_aside(tmp_path):
    made = opened(tmp_path, ["a", "b"])
    (path,) = made.folder.glob("*.arrow")
    path.write_bytes(path.read_bytes()[:-1])
    (held,) = inventory.collections(tmp_path)
    assert inventory.forget(held, keys.from_texts(["a"])) == 0
    assert path.exists()

import errno
import json
import os
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_collection import MADE_WITH, VECTOR, fill, lacking, opened

from pipeline.store import keys

values_of_json = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.sampled_from([0.0, 1.0, 0.5]) | st.text(max_size=2),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=1), inner, max_size=2),
    max_leaves=4,
)


@settings(deadline=None)
@given(*[st.dictionaries(st.sampled_from("ab"), values_of_json, max_size=2)] * 2)
def test_another_value_of_any_kind_is_another_folder(one, other):
    same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert (opened(Path("nowhere"), one).folder == opened(Path("nowhere"), other).folder) == same


@pytest.mark.parametrize(
    "other",
    [
        {"made_with": {"weights": "v", "batch": 4}},
        {"made_with": {"weights": "w", "batch": 4.0}},
        {"made_with": {"weights": "w", "batch": "4"}},
        {"made_with": {"weights": "w", "batch": [4]}},
        {"made_with": {"weights": "w"}},
        {"made_with": {"weights": "w", "batch": 4, "side": None}},
        {"name": "texts"},
        {"values": pa.schema([("vectors", VECTOR)])},
    ],
)
def test_rows_made_in_another_way_are_never_seen(tmp_path, other):
    made = fill(tmp_path, ["a"])
    found = opened(tmp_path, **other)
    assert (found.folder.parent, len(found)) == (tmp_path, 0)
    assert found.folder != made.folder
    assert found.missing(keys.from_texts(["a"])).all()
    assert lacking(opened(tmp_path, {"batch": 4, "weights": "w"}), ["a"]) == [], "the order of names says nothing"


def test_a_collection_says_in_json_what_it_was_made_with(tmp_path):
    made = fill(tmp_path, ["a"])
    assert json.loads((made.folder / "collection.json").read_text()) == {
        "name": "pictures", "made_with": MADE_WITH, "values": ["vector: fixed_size_list<item: halffloat>[2]"],
    }  # fmt: skip
    assert made.folder.name == f"pictures-{made.fingerprint}"


def test_what_it_was_made_with_may_hold_tuples(tmp_path):
    fill(tmp_path, ["a"], made_with={"mean": (0.5, 0.4)})
    for same in ((0.5, 0.4), [0.5, 0.4]):
        assert lacking(opened(tmp_path, {"mean": same}), ["a"]) == []


def test_what_is_not_json_is_refused_before_anything_is_computed(tmp_path):
    with pytest.raises(TypeError):
        opened(tmp_path, {"path": Path("weights")})


@pytest.mark.parametrize("content", [b"", b"{", b'{"name": "another"}', None])
def test_a_damaged_description_costs_no_row_and_is_written_again(tmp_path, content):
    path = fill(tmp_path, ["a"]).folder / "collection.json"
    good = path.read_bytes()
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    assert lacking(opened(tmp_path), ["a"]) == []
    fill(tmp_path, ["b"])
    assert path.read_bytes() == good


def test_opening_a_collection_says_when_it_was_last_used(tmp_path):
    path = fill(tmp_path, ["a"]).folder / "collection.json"
    os.utime(path, (0, 0))
    opened(tmp_path)
    assert path.stat().st_mtime > 0


def test_a_collection_whose_description_a_teammate_wrote_can_be_read(tmp_path, monkeypatch):
    fill(tmp_path, ["a"])

    def refused(*_, **__):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "utime", refused)
    assert lacking(opened(tmp_path), ["a"]) == []

import hashlib
import shutil

import numpy as np
import pyarrow as pa
import pytest
from tiny_inventory import faulty
from tiny_store import fill, flip, segment_of, segments

from pipeline.store import inventory

pytestmark = pytest.mark.usefixtures("unflushed")


def assert_one_fault(root, path, *parts):
    ((found, fault),) = faulty(root)
    assert found == path
    for part in parts:
        assert part in fault


def test_a_sound_store_has_no_faults(three, tmp_path):
    fill(tmp_path, "c")
    assert faulty(tmp_path) == []


def test_a_flipped_byte_anywhere_in_a_segment_is_named(tmp_path):
    path = segment_of(tmp_path, "a")
    (held,) = inventory.collections(tmp_path)
    good = path.read_bytes()
    for at in (*range(0, len(good), 5), -1):
        path.write_bytes(good[:at] + bytes([good[at] ^ (1 << at % 8)]) + good[at:][1:])
        assert [p for p, _ in inventory.faults(held)] == [path], at
    path.write_bytes(good)
    assert faulty(tmp_path) == []


@pytest.mark.parametrize("share", [0, 0.01, 0.5, 0.999])
def test_a_truncated_segment_is_named(tmp_path, share):
    path = segment_of(tmp_path, "a")
    fill(tmp_path, "b")
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    assert_one_fault(tmp_path, path, path.name, "damaged", hashlib.sha256(path.read_bytes()).hexdigest())


def test_a_segment_under_the_name_of_another_is_named(tmp_path):
    one, other = segment_of(tmp_path, "a"), segment_of(tmp_path, "b")
    shutil.copyfile(one, other)
    assert_one_fault(tmp_path, other, "expected its name")


def test_a_segment_of_another_collection_is_named(tmp_path):
    folder, stranger = fill(tmp_path, "a"), segment_of(tmp_path, "a", weights="v")
    shutil.copy(stranger, folder)
    assert_one_fault(tmp_path, folder / stranger.name, "another collection")


def test_a_missing_description_is_named(tmp_path):
    path = fill(tmp_path, "a") / "collection.json"
    path.unlink()
    assert_one_fault(tmp_path, path, "cannot be read")


@pytest.mark.parametrize("content", ["", "{", '{"name": "images"', "[]", "[1]", "null", '"text"', "1", "{}"])
def test_a_damaged_description_is_named_and_hides_nothing_else(tmp_path, content):
    folder = fill(tmp_path, "a")
    flipped = segment_of(tmp_path, "b", name="texts")
    flip(flipped)
    (folder / "collection.json").write_text(content)
    assert [path for path, _ in faulty(tmp_path)] == [folder / "collection.json", flipped]
    assert inventory.collections(tmp_path)[0].rows == 1


def test_the_description_of_another_collection_is_named_with_its_fingerprint(tmp_path):
    one, other = fill(tmp_path, "a"), fill(tmp_path, "a", weights="v")
    shutil.copy(other / "collection.json", one)
    assert_one_fault(tmp_path, one / "collection.json", other.name.removeprefix("pictures-"))


def test_a_description_with_one_other_value_is_named(tmp_path):
    path = fill(tmp_path, "a") / "collection.json"
    path.write_text(path.read_text().replace('"w"', '"v"'))
    assert_one_fault(tmp_path, path, "fingerprint")


def test_of_many_faults_every_one_is_named(three, tmp_path):
    broken = [path for folder in three for path in (folder / "collection.json", *segments(folder))]
    for path in broken:
        path.write_bytes(path.read_bytes()[:-3])
    assert sorted(path for path, _ in faulty(tmp_path)) == sorted(broken)


def own_hash(folder, content):
    """A file of a collection that bears the hash of its bytes, whatever they are."""
    path = folder / f"{hashlib.sha256(content).hexdigest()}.arrow"
    path.write_bytes(content)
    return path


def arrow(folder, metadata=None, **columns):
    """The bytes of an Arrow file of these columns that says it belongs to the collection."""
    kinds = {"vector": pa.list_(pa.float16(), 2), "high": pa.uint64(), "low": pa.uint64()}
    metadata = {"fingerprint": folder.name.partition("-")[2], "rows": "1"} | (metadata or {})
    table = pa.table({name: pa.array(values, kinds[name]) for name, values in columns.items()})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema.with_metadata(metadata)) as writer:
        writer.write_table(table.replace_schema_metadata(metadata))
    return sink.getvalue().to_pybytes()


ROW = {"high": [1], "low": [1], "vector": [[0, 1]]}
NO_SEGMENTS = {
    "empty": lambda folder: b"",
    "no Arrow file": lambda folder: b"no Arrow file",
    "truncated": lambda folder: arrow(folder, **ROW)[:-1],
    "broken footer": lambda folder: arrow(folder, **ROW)[:-200] + bytes(190) + arrow(folder, **ROW)[-10:],
    "other columns": lambda folder: arrow(folder, vector=[[0, 1]]),
    "fingerprint that is no text": lambda folder: arrow(folder, {"fingerprint": b"\xff"}, **ROW),
    "metadata that is no text": lambda folder: arrow(folder, {"python": b"\xff"}, **ROW),
    "a key twice": lambda folder: arrow(folder, high=[1, 1], low=[2, 2], vector=[[0, 1], [1, 0]]),
    "keys out of order": lambda folder: arrow(folder, high=[1, 1], low=[2, 1], vector=[[0, 1], [1, 0]]),
    "not finite": lambda folder: arrow(folder, high=[1], low=[1], vector=[[0, np.inf]]),
}


@pytest.mark.parametrize("content", NO_SEGMENTS.values(), ids=NO_SEGMENTS)
def test_what_bears_its_own_hash_but_is_no_right_segment_is_named(tmp_path, content):
    folder = fill(tmp_path, "a")
    strange = own_hash(folder, content(folder))
    flipped = segment_of(tmp_path, "b", name="texts")
    flip(flipped)
    assert [path for path, _ in faulty(tmp_path)] == [strange, flipped]


def test_a_segment_that_was_set_aside_meanwhile_stops_nothing(tmp_path):
    gone, flipped = sorted([segment_of(tmp_path, "a"), segment_of(tmp_path, "b")])
    flip(flipped)
    (held,) = inventory.collections(tmp_path)
    gone.unlink()
    assert flipped in [path for path, _ in inventory.faults(held)]

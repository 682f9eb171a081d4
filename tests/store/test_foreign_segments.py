"""Segments whose names are right and whose insides no writer of this project makes: refused, or set aside."""

import hashlib
import os

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny_collection import BLOBS, BOXES, opened
from tiny_store import VECTORS, contents, fill, lacking, segments

from pipeline.errors import Damaged
from pipeline.store import remote as remotes
from pipeline.store import segment
from pipeline.store.remote import pull, push

pytestmark = pytest.mark.usefixtures("unflushed")

FINGERPRINT = "f" * 32
FULL = segment.schema(VECTORS)


def encoded(schema, batches, compression=None, fingerprint=FINGERPRINT, **metadata):
    """The bytes of an Arrow file."""
    metadata = {"fingerprint": fingerprint, "rows": "1", **metadata}
    sink, own = pa.BufferOutputStream(), schema.with_metadata(metadata)
    with pa.ipc.new_file(sink, own, options=pa.ipc.IpcWriteOptions(compression=compression)) as writer:
        for columns in batches:
            writer.write_batch(pa.record_batch(columns, schema=own))
    return sink.getvalue().to_pybytes()


def batch(high=(1, 2), low=(1, 1), vectors=None):
    rows = [[0.0, 1.0]] * len(high) if vectors is None else vectors
    return [pa.array(high, pa.uint64()), pa.array(low, pa.uint64()), pa.array(rows, FULL.field("vector").type)]


def others(**columns):
    return pa.schema({**{"high": pa.uint64(), "low": pa.uint64()}, **columns})


FOREIGN = {
    "no batch": lambda fp: encoded(FULL, [], fingerprint=fp),
    "a batch without rows": lambda fp: encoded(FULL, [batch((), ())], fingerprint=fp),
    "two batches": lambda fp: encoded(FULL, [batch(), batch((3,), (1,))], fingerprint=fp),
    "a null key": lambda fp: encoded(FULL, [batch((1, None))], fingerprint=fp),
    "a null vector": lambda fp: encoded(FULL, [batch(vectors=[[0, 1], None])], fingerprint=fp),
    "a null in a vector": lambda fp: encoded(FULL, [batch(vectors=[[0, 1], [None, 1]])], fingerprint=fp),
    "NaN": lambda fp: encoded(FULL, [batch(vectors=[[0, 1], [np.nan, 1]])], fingerprint=fp),
    "infinite": lambda fp: encoded(FULL, [batch(vectors=[[0, 1], [0, -np.inf]])], fingerprint=fp),
    "keys out of order": lambda fp: encoded(FULL, [batch((2, 1))], fingerprint=fp),
    "second halves out of order": lambda fp: encoded(FULL, [batch((1, 1), (2, 1))], fingerprint=fp),
    "a key twice": lambda fp: encoded(FULL, [batch((1, 1), (1, 1))], fingerprint=fp),
    "zstd": lambda fp: encoded(FULL, [batch()], "zstd", fingerprint=fp),
    "lz4": lambda fp: encoded(FULL, [batch()], "lz4", fingerprint=fp),
    "signed keys": lambda fp: encoded(
        pa.schema({"high": pa.int64(), "low": pa.int64(), "vector": FULL.field("vector").type}),
        [[pa.array([1], pa.int64()), pa.array([1], pa.int64()), batch((1,), (1,))[2]]], fingerprint=fp,
    ),
    "keys alone": lambda fp: encoded(others(), [batch()[:2]], fingerprint=fp),
    "longer vectors": lambda fp: encoded(
        others(vector=pa.list_(pa.float16(), 3)),
        [[*batch()[:2], pa.array([[0, 0, 1]] * 2, pa.list_(pa.float16(), 3))]],
        fingerprint=fp,
    ),
    "another collection": lambda fp: encoded(FULL, [batch()]),
    "no fingerprint": lambda fp: encoded(FULL, [batch()], fingerprint=""),
    "a stream": lambda fp: stream(),
    "a folder's listing": lambda fp: b"<html>",
}  # fmt: skip


def stream():
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, FULL) as writer:
        writer.write_batch(pa.record_batch(batch(), schema=FULL))
    return sink.getvalue().to_pybytes()


def put(folder, content):
    """A file of a collection that bears the hash of its bytes."""
    path = folder / f"{hashlib.sha256(content).hexdigest()}.arrow"
    path.write_bytes(content)
    return path


def test_what_a_writer_makes_of_these_rows_is_taken(tmp_path):
    path = put(tmp_path, encoded(FULL, [batch()]))
    assert segment.Segment(path, VECTORS, FINGERPRINT).values.num_rows == 2


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_foreign_segment_is_refused_at_pull_and_set_aside_when_opened(tmp_path, kind, caplog):
    folder = fill(tmp_path / "theirs", "a")
    bad = put(folder, FOREIGN[kind](folder.name.rpartition("-")[2]))
    moved = pull(tmp_path / "mine", str(tmp_path / "theirs"))
    assert (moved.files, moved.damaged) == (2, (f"{folder.name}/{bad.name}",))
    assert lacking(tmp_path / "mine", "a", "b") == ["b"]
    caplog.clear()
    assert lacking(tmp_path / "theirs", "a", "b") == ["b"]
    assert bad.name in caplog.text and not bad.exists() and bad.with_suffix(".damaged").is_file()


def test_a_compressed_segment_is_refused_before_it_is_unpacked(tmp_path):
    zeros = pa.array(np.zeros(4_000_000, np.uint64))
    path = put(tmp_path, encoded(others(), [[zeros, zeros]], "zstd"))
    counted, usual = pa.proxy_memory_pool(pa.default_memory_pool()), pa.default_memory_pool()
    pa.set_memory_pool(counted)
    try:
        with pytest.raises(Damaged, match="is compressed"):
            segment.read(path, FINGERPRINT)
    finally:
        pa.set_memory_pool(usual)
    assert counted.max_memory() < 1_000_000


@pytest.mark.parametrize("values", [VECTORS, BLOBS, BOXES], ids=["vectors", "blobs", "boxes"])
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_bytes_a_segment_has_it_is_read_or_refused(tmp_path, values, data):
    made = pa.table(
        {"vector": [[0.0, 1.0]] * 3} if values is VECTORS
        else {"crops": [[b"ab"], [], [b"c", b""]]} if values is BLOBS
        else {"corners": [[[0.0] * 4], [], [[1.0] * 4]], "scores": [[0.5], [], [1.0]]},
        schema=values,
    )  # fmt: skip
    keys = np.array([[1, 1], [1, 2], [2, 1]], dtype=np.uint64)
    path = segment.write(tmp_path, keys, made, {"collection": "x", "fingerprint": FINGERPRINT})
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        place, size = data.draw(st.integers(0, len(content) - 1)), data.draw(st.sampled_from([1, 2, 4, 8]))
        content[place : place + size] = data.draw(st.binary(min_size=size, max_size=size))
    strange = put(tmp_path, bytes(content))
    try:
        found = segment.Segment(strange, values, FINGERPRINT)
    except Damaged:
        return
    assert len(found.values.take(list(range(len(found)))).to_pylist()) == len(found)
    assert found.find(keys).max() < len(found)


class Endless:
    """A file that has no end, and says how much of it was read."""

    def __init__(self, first):
        self.first, self.taken = first, 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def read(self, count):
        found = self.first[self.taken : self.taken + count].ljust(count, b"\0")
        self.taken += count
        return found


def test_a_file_without_an_end_is_left_where_its_stated_size_is_reached(mine, theirs, remote, monkeypatch):
    push(mine, remote.url)
    wanted = segments(opened(mine, {"weights": "w"}).folder)[0]
    endless = Endless(wanted.read_bytes())
    real = type(remote.fs).open
    monkeypatch.setattr(
        type(remote.fs),
        "open",
        lambda self, path, *a, **k: endless if wanted.name in path else real(self, path, *a, **k),
    )
    moved = pull(theirs, remote.url)
    assert (moved.files, moved.damaged) == (4, (f"{wanted.parent.name}/{wanted.name}",))
    assert endless.taken == wanted.stat().st_size + 1


def test_a_file_that_states_more_than_any_segment_has_is_not_fetched(mine, theirs, remote, monkeypatch):
    push(mine, remote.url)
    monkeypatch.setattr(remotes, "_MOST_BYTES", {".arrow": 10, ".json": 1 << 20})
    moved = pull(theirs, remote.url)
    assert (moved.files, len(moved.damaged)) == (2, 3)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_pipes_and_devices_on_a_remote_are_no_files(mine, theirs, folder):
    push(mine, folder.url)
    made = opened(mine, {"weights": "w"}).folder.name
    os.mkfifo(f"{folder.base}/{made}/{'0' * 64}.arrow")
    os.symlink("/dev/zero", f"{folder.base}/{made}/{'1' * 64}.arrow")
    moved = pull(theirs, folder.url)
    assert moved.files == 5
    assert contents(theirs) == contents(mine)

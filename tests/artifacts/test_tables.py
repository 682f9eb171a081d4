import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.artifacts.schema import SPANS, embeddings
from pipeline.artifacts.tables import (
    ContractError,
    EmbeddingWriter,
    Table,
    TableWriter,
    check_keys,
    offsets,
    write_parquet,
)
from pipeline.disk import files

SCHEMA = embeddings("caption_index", dimension=3)
KEYS = ["a", "a", "b", "c"]
PLACES = [0, 1, 0, 0]
ROWS = np.arange(12, dtype=np.float32).reshape(4, 3)


@pytest.fixture
def path(tmp_path):
    """Four vectors of three keys."""
    path = tmp_path / "features" / "captions.arrow"
    with EmbeddingWriter(path, SCHEMA, {"manifest": "m1", "weights": "w1", "dimension": 3}) as writer:
        writer.write(KEYS[:3], PLACES[:3], ROWS[:3])
        writer.write(KEYS[3:], PLACES[3:], ROWS[3:])
    return path


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def test_vectors_come_back_with_their_keys_and_provenance(path):
    table = Table(path, SCHEMA, manifest="m1", weights="w1", dimension=3)
    assert len(table) == 4
    assert table.strings("key") == KEYS
    assert table.integers("caption_index").tolist() == PLACES
    assert table.vectors().dtype == np.float16
    assert table.vectors().tolist() == ROWS.tolist()
    assert table.metadata == {"manifest": "m1", "weights": "w1", "dimension": "3", "rows": "4"}


def test_vectors_are_mapped_and_not_copied(tmp_path):
    path = tmp_path / "v.arrow"
    with EmbeddingWriter(path, embeddings(dimension=64), {}) as writer:
        for i in range(4):
            writer.write([f"{i}-{j}" for j in range(500)], np.full((500, 64), i))
    table = Table(path)
    before = pa.total_allocated_bytes()
    found = table.vectors()
    assert pa.total_allocated_bytes() == before
    assert not found.flags.owndata
    assert not found.flags.writeable
    assert found[:, 0].tolist() == [0] * 500 + [1] * 500 + [2] * 500 + [3] * 500


def test_rows_of_several_batches_come_back_in_order(tmp_path):
    path = tmp_path / "spans.arrow"
    with TableWriter(path, SPANS, {"kind": "spans"}) as writer:
        for key, start in (("a", 0), ("b", None)):
            place = {"key": [key], "caption_index": [0], "span_index": [0]}
            writer.write({**place, "kind": ["tokens"], "start": [start], "end": [2]})
    table = Table(path, SPANS, kind="spans")
    assert table.strings("key") == ["a", "b"]
    assert table.columns["start"].to_pylist() == [0, None]
    assert table.metadata["rows"] == "2"
    assert names(tmp_path) == ["spans.arrow"]


def test_equal_tables_are_equal_bytes(path, tmp_path):
    with EmbeddingWriter(
        tmp_path / "again.arrow", SCHEMA, {"manifest": "m1", "weights": "w1", "dimension": 3}
    ) as writer:
        writer.write(KEYS, PLACES, ROWS)
    assert (tmp_path / "again.arrow").read_bytes() == path.read_bytes()


@pytest.mark.parametrize("writer", [TableWriter, EmbeddingWriter])
def test_a_table_without_rows_is_valid(tmp_path, writer):
    path = tmp_path / "empty.arrow"
    with writer(path, SCHEMA, {}):
        pass
    table = Table(path, SCHEMA)
    assert (len(table), table.strings("key")) == (0, [])
    assert table.vectors().shape == (0, 3)


def test_other_metadata_is_refused_with_both_sides(path):
    with pytest.raises(ContractError) as caught:
        Table(path, SCHEMA, weights="w2")
    for part in (str(path), "weights", "'w1'", "'w2'", "dvc repro features"):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("place", "writes"),
    [
        ("regions/regions.arrow", "regions"), ("features/images.arrow", "features"), ("spans/spans.arrow", "spans"),
        ("features/spans/tokens.arrow", "features"), ("features/zeroshot/images.arrow", "features"),
    ],
)  # fmt: skip
def test_an_error_names_the_stage_that_writes_the_table(tmp_path, place, writes):
    with pytest.raises(ContractError, match=f"dvc repro {writes}$"):
        Table(tmp_path / "data" / place)


def test_metadata_that_is_not_there_is_refused(path):
    with pytest.raises(ContractError, match="fingerprint is None, expected 'f'"):
        Table(path, fingerprint="f")


def test_other_columns_are_refused_with_both_sides(path):
    with pytest.raises(ContractError) as caught:
        Table(path, embeddings("span_index", dimension=3))
    assert "caption_index" in str(caught.value)
    assert "span_index" in str(caught.value)


def test_another_dimension_is_refused_with_both_sides(path):
    with pytest.raises(ContractError) as caught:
        Table(path, embeddings("caption_index", dimension=5))
    assert "[3]" in str(caught.value)
    assert "[5]" in str(caught.value)


def test_fewer_rows_than_the_header_states_are_refused_with_both_numbers(tmp_path):
    path = tmp_path / "short.arrow"
    schema = pa.schema([("key", pa.string())], metadata={"rows": "5"})
    with pa.ipc.new_file(str(path), schema) as writer:
        writer.write_batch(pa.record_batch([pa.array(["a", "b"])], schema=schema))
    with pytest.raises(ContractError, match="rows is '5', expected '2'"):
        Table(path)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_refused(path, share):
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(ContractError, match=r"captions\.arrow is not a complete Arrow file"):
        Table(path)


def test_a_file_with_a_damaged_end_is_refused(path):
    data = bytearray(path.read_bytes())
    data[-60:-20] = bytes(40)
    path.write_bytes(data)
    with pytest.raises(ContractError, match=r"captions\.arrow"):
        Table(path)


def test_an_absent_file_names_the_stage_that_writes_it(tmp_path):
    with pytest.raises(ContractError, match=r"does not exist; .* dvc repro features"):
        Table(tmp_path / "features" / "captions.arrow")


@pytest.mark.parametrize("writer", [TableWriter, EmbeddingWriter])
def test_an_error_in_the_block_leaves_the_old_file_and_nothing_else(path, writer):
    old = path.read_bytes()
    with pytest.raises(KeyboardInterrupt), writer(path, SCHEMA, {}):
        raise KeyboardInterrupt
    assert path.read_bytes() == old
    assert names(path.parent) == ["captions.arrow"]


@pytest.mark.skipif(os.name != "posix", reason="no locks of files")
@pytest.mark.parametrize("writer", [TableWriter, EmbeddingWriter])
def test_what_a_killed_writer_left_is_swept(tmp_path, writer):
    code = (
        "import os, signal, sys; from pathlib import Path; from pipeline.artifacts import schema, tables\n"
        f"with tables.{writer.__name__}(Path(sys.argv[1]), schema.embeddings(dimension=3), {{}}):\n"
        " os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path / "v.arrow"], check=False, cwd=Path(__file__).parents[2])
    assert len(names(tmp_path)) == 1
    files.sweep(tmp_path)
    assert names(tmp_path) == []


def test_two_writers_of_one_table_do_not_meet(tmp_path):
    path, schema = tmp_path / "v.arrow", embeddings(dimension=3)
    with EmbeddingWriter(path, schema, {}) as first, EmbeddingWriter(path, schema, {}) as second:
        first.write(["a"], ROWS[:1])
        second.write(["b", "c"], ROWS[1:3])
    table = Table(path, schema)
    assert (table.strings("key"), table.vectors().tolist()) == (["a"], ROWS[:1].tolist()), "the last one to end"
    assert names(tmp_path) == ["v.arrow"]


@pytest.mark.parametrize("value", [np.nan, np.inf, 70_000.0])
def test_a_vector_that_is_not_finite_in_float16_is_refused_by_key(tmp_path, value):
    rows = np.ones((2, 3))
    rows[1, 2] = value
    with (
        pytest.raises(ContractError, match="vector of b is not finite"),
        np.errstate(over="ignore"),
        EmbeddingWriter(tmp_path / "v.arrow", embeddings(dimension=3), {}) as writer,
    ):
        writer.write(["a", "b"], rows)
    assert names(tmp_path) == []


def test_vectors_of_another_width_are_refused(tmp_path):
    with (
        pytest.raises(ContractError, match=r"\(2, 4\), expected \[n, 3\]"),
        EmbeddingWriter(tmp_path / "v.arrow", embeddings(dimension=3), {}) as writer,
    ):
        writer.write(["a", "b"], np.ones((2, 4)))


def test_keys_and_vectors_of_other_numbers_are_refused(tmp_path):
    with (
        pytest.raises(ContractError),
        EmbeddingWriter(tmp_path / "v.arrow", embeddings(dimension=3), {}) as writer,
    ):
        writer.write(["a", "b"], np.ones((3, 3)))
        writer.write(["c", "d"], np.ones((1, 3)))
    assert names(tmp_path) == []


def test_the_vectors_of_a_run_of_keys(path):
    found = Table(path).rows_of(["b", "c"])
    assert found.tolist() == ROWS[2:].tolist()
    assert not found.flags.owndata
    assert Table(path).rows_of(["a", "b"]).tolist() == ROWS[:3].tolist()


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (["b", "a"], "row 0 has key 'a', expected 'b'"),
        (["a", "c"], "3 keys, expected 2"),
        (["c", "d"], "1 keys, expected 2"),
        (["x"], "holds none of 1 keys"),
    ],
)
def test_keys_that_do_not_stand_together_in_this_order_are_refused(path, keys, message):
    with pytest.raises(ContractError, match=message):
        Table(path).rows_of(keys)


def test_a_key_whose_rows_are_scattered_is_refused(tmp_path):
    path = tmp_path / "v.arrow"
    with EmbeddingWriter(path, embeddings(dimension=3), {}) as writer:
        writer.write(["a", "b", "a"], ROWS[:3])
    with pytest.raises(ContractError):
        Table(path).rows_of(["a", "b"])


def test_offsets_say_where_the_rows_of_each_key_begin():
    assert offsets(["a", "a", "c"], ["a", "b", "c"], "spans").tolist() == [0, 2, 2, 3]
    assert offsets([], ["a"], "spans").tolist() == [0, 0]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (["b", "a"], "spans: row 1 has key 'a'"),
        (["a", "b", "a"], "spans: row 2 has key 'a'"),
        (["a", "x"], "spans: row 1 has key 'x'"),
    ],
)
def test_offsets_refuse_rows_in_another_order(keys, message):
    with pytest.raises(ContractError, match=message):
        offsets(keys, ["a", "b"], "spans")


def test_the_first_key_that_differs_is_named():
    check_keys(["a", "b"], ["a", "b"], "images")
    with pytest.raises(ContractError, match="images: row 1 has key 'x', expected 'b'"):
        check_keys(["a", "x"], ["a", "b"], "images")
    with pytest.raises(ContractError, match="images: 1 keys, expected 2"):
        check_keys(["a"], ["a", "b"], "images")


def test_parquet_rows_come_back_with_their_schema(tmp_path):
    schema = pa.schema([("key", pa.string()), ("phash", pa.uint64())])
    write_parquet(tmp_path / "m.parquet", [{"key": "a", "phash": 2**64 - 1}], schema, seed=17)
    table = pq.read_table(tmp_path / "m.parquet")
    assert table.to_pylist() == [{"key": "a", "phash": 2**64 - 1}]
    assert table.schema.remove_metadata().equals(schema)
    assert table.schema.metadata[b"seed"] == b"17"

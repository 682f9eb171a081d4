import hashlib

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.store import keys, segment
from pipeline.store.segment import Damaged, Segment

VECTORS = pa.schema([("vector", pa.list_(pa.float16(), 3))])
BLOBS = pa.schema([("crops", pa.list_(pa.binary()))])
METADATA = {"collection": "pictures", "fingerprint": "f", "python": "3.11"}
TEXTS = ["a", "b", "c", "d", "e"]
KEYS = keys.from_texts(TEXTS)
ROWS = np.arange(15, dtype=np.float16).reshape(5, 3)
CROPS = [[b"one", b""], [], [b"two"], [b"three"] * 3, [bytes(40)]]


def vectors(rows, schema=VECTORS):
    kind = schema.field(0).type
    return pa.table([pa.FixedSizeListArray.from_arrays(pa.array(rows.reshape(-1)), kind.list_size)], schema=schema)


def put(folder, own=KEYS, rows=ROWS):
    folder.mkdir(exist_ok=True)
    return segment.write(folder, own, vectors(rows), METADATA)


def opened(path, schema=VECTORS):
    return Segment(path, schema, "f")


def halves(*pairs):
    return np.array(pairs, dtype=np.uint64).reshape(-1, 2)


@pytest.fixture
def path(tmp_path):
    """Five vectors of three numbers."""
    return put(tmp_path)


# The file


def test_a_segment_is_named_by_the_sha256_of_its_bytes(path):
    assert path.name == hashlib.sha256(path.read_bytes()).hexdigest() + ".arrow"
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    segment.check(path)


@settings(max_examples=20, deadline=None)
@given(order=st.permutations(range(5)))
def test_the_same_rows_in_any_order_are_the_same_bytes(tmp_path_factory, order):
    folder = tmp_path_factory.mktemp("segments")
    for own in (list(range(5)), order):
        put(folder, KEYS[own], ROWS[own])
        segment.write(folder, KEYS[own], pa.table([pa.array([CROPS[i] for i in own], BLOBS.field(0).type)], BLOBS), {})
    assert len(list(folder.iterdir())) == 2


def test_rows_added_in_several_pieces_are_the_bytes_of_those_added_at_once(path, tmp_path):
    pieces = pa.concat_tables([vectors(ROWS[:2]), vectors(ROWS[2:])])
    assert segment.write(tmp_path / "other", KEYS, pieces, METADATA).name == path.name


@pytest.mark.parametrize("other", [{"python": "3.12"}, {"fingerprint": "g"}, {"torch": "2"}])
def test_other_metadata_is_another_segment(path, other):
    assert segment.write(path.parent, KEYS, vectors(ROWS), {**METADATA, **other}).name != path.name


def test_of_rows_with_one_key_the_first_is_kept(tmp_path):
    own = KEYS[[1, 0, 1, 1, 0]]
    found = opened(put(tmp_path, own))
    assert len(found) == 2
    assert found.vectors[found.find(KEYS[:2])].tolist() == ROWS[[1, 0]].tolist()


def test_the_file_is_plain_arrow_that_needs_no_code_of_ours(path):
    table = pa.ipc.open_file(str(path)).read_all()
    assert table.schema.names == ["high", "low", "vector"]
    order = sorted(range(5), key=lambda i: hashlib.sha256(TEXTS[i].encode()).digest())
    for row, i in zip(table.to_pylist(), order, strict=True):
        key = hashlib.sha256(TEXTS[i].encode()).digest()[:16]
        assert row["high"].to_bytes(8, "big") + row["low"].to_bytes(8, "big") == key
        assert row["vector"] == ROWS[i].tolist()
    metadata = {k.decode(): v.decode() for k, v in table.schema.metadata.items()}
    assert metadata == {**METADATA, "rows": "5"}


def test_vectors_stand_uncompressed_in_the_file_and_are_not_copied(tmp_path):
    rows = np.random.default_rng(0).normal(size=(2000, 64)).astype(np.float16)
    schema = pa.schema([("vector", pa.list_(pa.float16(), 64))])
    own = halves(*((i, 0) for i in range(2000)))
    path = segment.write(tmp_path, own, vectors(rows, schema), METADATA)
    assert rows.tobytes() in path.read_bytes()
    found = opened(path, schema)
    before = pa.total_allocated_bytes()
    mapped = found.vectors
    assert pa.total_allocated_bytes() == before
    assert not mapped.flags.owndata and not mapped.flags.writeable
    assert np.array_equal(mapped, rows)
    assert np.shares_memory(found.vectors[10:20], mapped)


@pytest.mark.parametrize("count", [4096, 5000])
def test_a_row_of_512_numbers_costs_at_most_a_twentieth_more_than_the_numbers(tmp_path, count):
    schema = pa.schema([("vector", pa.list_(pa.float16(), 512))])
    rows = np.random.default_rng(1).normal(size=(count, 512)).astype(np.float16)
    path = segment.write(tmp_path, halves(*((i, i) for i in range(count))), vectors(rows, schema), METADATA)
    assert path.stat().st_size / count <= 1.05 * 1024


# Finding rows


@settings(max_examples=50, deadline=None)
@given(
    present=st.lists(
        st.tuples(st.sampled_from([0, 7, 2**63, 2**64 - 1]), st.integers(0, 3) | st.just(2**64 - 1)),
        min_size=1, max_size=12, unique=True,
    ),
    wanted=st.lists(st.tuples(st.sampled_from([0, 6, 7, 2**63, 2**64 - 1]), st.integers(0, 4) | st.just(2**64 - 1))),
)  # fmt: skip
def test_find_is_a_dictionary_from_keys_to_rows(tmp_path_factory, present, wanted):
    rows = np.arange(3 * len(present), dtype=np.float16).reshape(-1, 3)
    found = opened(put(tmp_path_factory.mktemp("segments"), halves(*present), rows))
    assert found.keys.tolist() == [list(pair) for pair in sorted(present)]
    row_of = {pair: row for row, pair in enumerate(sorted(present))}
    wanted += present
    places = found.find(halves(*wanted))
    assert places.tolist() == [row_of.get(pair, -1) for pair in wanted]
    there = [i for i, pair in enumerate(wanted) if pair in row_of]
    assert found.vectors[places[there]].tolist() == [rows[present.index(wanted[i])].tolist() for i in there]


def test_several_keys_with_one_first_half_are_told_apart(tmp_path):
    run = [(5, 10), (5, 20), (5, 30), (5, 40), (6, 0)]
    found = opened(put(tmp_path, halves(*run)))
    assert found.find(halves(*run)).tolist() == [0, 1, 2, 3, 4]
    between = [(5, 9), (5, 11), (5, 39), (5, 41), (5, 2**64 - 1), (4, 10), (6, 1), (7, 0)]
    assert found.find(halves(*between)).tolist() == [-1] * len(between)


def test_nothing_is_found_for_no_keys(path):
    assert opened(path).find(halves()).tolist() == []


# Refusing what is not this segment


@pytest.mark.parametrize(("at", "mask"), [(0, 1), (100, 128), (-1, 1)])
def test_a_flipped_bit_is_named_with_both_hashes(path, at, mask):
    content = bytearray(path.read_bytes())
    content[at] ^= mask
    path.write_bytes(content)
    with pytest.raises(Damaged) as caught:
        segment.check(path)
    assert str(path) in str(caught.value)
    assert hashlib.sha256(content).hexdigest() in str(caught.value)


def test_a_segment_of_another_collection_is_refused_with_both_sides(path):
    with pytest.raises(Damaged, match=r"has the fingerprint f .* expected g"):
        Segment(path, VECTORS, "g")


@pytest.mark.parametrize("schema", [BLOBS, pa.schema([("vector", pa.list_(pa.float16(), 4))])])
def test_other_columns_are_refused(path, schema):
    with pytest.raises(Damaged, match="belongs to another collection"):
        opened(path, schema)

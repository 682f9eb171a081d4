import errno
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import files
from pipeline.store import collection, keys, segment
from pipeline.store.collection import Collection, StoreError

VECTOR = pa.list_(pa.float16(), 2)
VECTORS = pa.schema([("vector", VECTOR)])
LISTS = pa.schema([("vector", pa.list_(VECTOR))])
BLOBS = pa.schema([("crops", pa.list_(pa.binary()))])
BOXES = pa.schema([("corners", pa.list_(pa.list_(pa.float32(), 4))), ("scores", pa.list_(pa.float32()))])

MADE_WITH = {"weights": "w", "batch": 4}


def opened(root, made_with=MADE_WITH, values=VECTORS, name="pictures"):
    return Collection(root, name, made_with, values)


def rows_of(texts):
    """A vector that tells which text it belongs to."""
    return np.array([[len(t), sum(map(ord, t)) % 2048] for t in texts], dtype=np.float16).reshape(-1, 2)


def fill(root, texts, **other):
    """A collection to which one segment was added."""
    made = opened(root, **other)
    with made.writing() as writer:
        writer.add(keys.of_texts(texts), rows_of(texts))
    return made


def lacking(found, texts):
    """Those of some texts that have no row; the rows of the others are checked."""
    missing = found.missing(keys.of_texts(texts))
    there = [t for t, m in zip(texts, missing, strict=True) if not m]
    assert found.vectors(keys.of_texts(there)).tolist() == rows_of(there).tolist()
    return [t for t, m in zip(texts, missing, strict=True) if m]


def segments(found):
    return sorted(found.folder.glob("*.arrow"))


def check_names(found):
    """Nothing but segments named by their bytes, and the description."""
    for path in segments(found):
        assert path.stem == hashlib.sha256(path.read_bytes()).hexdigest()
    assert sorted(p.suffix for p in found.folder.iterdir() if p.suffix != ".arrow") == [".json"]


@pytest.fixture
def a_segment_an_addition(monkeypatch):
    monkeypatch.setattr(collection, "SEGMENT_BYTES", 1)


# Rows


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
                writer.add(keys.of_texts(part), np.array(column) if kind == "vectors" else column)
        for found in (made, opened(Path(folder), values=schema)):
            assert found.take(keys.of_texts(asked)).column(0).to_pylist() == [rows[t] for t in asked]
            if kind == "vectors":
                assert found.vectors(keys.of_texts(asked)).tolist() == [rows[t] for t in asked]
            assert found.missing(keys.of_texts([*texts, "not there"])).tolist() == [False] * len(texts) + [True]
            assert len(found) == len(texts)


def test_rows_of_several_columns_stay_together(tmp_path):
    made = opened(tmp_path, values=BOXES)
    with made.writing() as writer:
        writer.add(keys.of_texts("ab"), [[[0, 0, 1, 1]], []], [[0.5], []])
    assert made.take(keys.of_texts("ba")).to_pylist() == [
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
            read(keys.of_texts(["a", "b", "c"]))


@pytest.mark.parametrize("name", ["SEGMENT_BYTES", "SEGMENT_SECONDS"])
def test_a_segment_is_written_when_enough_is_waiting_or_it_has_waited_long_enough(tmp_path, monkeypatch, name):
    monkeypatch.setattr(collection, name, 0)
    made = opened(tmp_path)
    with made.writing() as writer:
        for i, text in enumerate("abc"):
            writer.add(keys.of_texts(text), rows_of(text))
            assert len(segments(made)) == i + 1
            assert lacking(opened(tmp_path), list("abc")) == list("abc")[i + 1 :]
        assert writer.rows == 3
    assert lacking(made, list("cab")) == []
    check_names(made)


def test_rows_of_several_segments_come_back_in_the_order_asked_for(tmp_path, a_segment_an_addition):
    made = opened(tmp_path)
    with made.writing() as writer:
        for text in "abcdefgh":
            writer.add(keys.of_texts([text, text * 2]), rows_of([text, text * 2]))
    asked = ["hh", "a", "d", "a", "bb", "h", "c"]
    assert len(segments(made)) == 8
    assert made.vectors(keys.of_texts(asked)).tolist() == rows_of(asked).tolist()
    assert made.take(keys.of_texts(asked))["vector"].to_pylist() == rows_of(asked).tolist()


def test_an_empty_batch_adds_nothing(tmp_path):
    made = opened(tmp_path)
    with made.writing() as writer:
        writer.add(keys.pack([]), np.empty((0, 2)))
    for found in (made, opened(tmp_path)):
        assert lacking(found, ["a"]) == ["a"]


def test_a_callers_buffers_may_be_used_again_once_they_were_added(tmp_path):
    own, rows = keys.of_texts(["a", "b"]), rows_of(["a", "b"])
    made = opened(tmp_path)
    with made.writing() as writer:
        writer.add(own, rows)
        own[:], rows[:] = 0, 0
    assert lacking(made, ["a", "b"]) == []


# What a collection is bound to


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
    assert found.missing(keys.of_texts(["a"])).all()
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


# Damage


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
        writer.add(keys.of_texts(["a"]), pa.array([[1, 1]] if len(other) == 1 else [[[1, 1]]], stranger.schema[0].type))
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


# What stops a writer


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, ValueError])
def test_what_was_added_before_an_error_is_kept(tmp_path, error):
    made = opened(tmp_path)
    with pytest.raises(error), made.writing() as writer:
        writer.add(keys.of_texts("a"), rows_of("a"))
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
        writer.add(keys.of_texts("b"), rows_of("b"))
    for found in (made, opened(tmp_path)):
        assert lacking(found, ["a", "b"]) == []
    check_names(made)


nan, inf = np.nan, np.inf


@pytest.mark.parametrize(
    ("values", "columns"),
    [
        (VECTORS, [[[1, 2], None]]),
        (VECTORS, [np.array([[1, 2], [nan, 2]])]),
        (VECTORS, [np.array([[1, 2], [1, -inf]])]),
        (VECTORS, [np.array([[1, 2], [1, 70_000.0]])]),
        (VECTORS, [[[1, 2], [1, nan]]]),
        (VECTORS, [pa.array([[1, 2], [1, nan]], VECTOR)]),
        (VECTORS, [np.ones((2, 3))]),
        (VECTORS, [np.ones(2)]),
        (VECTORS, [np.ones((1, 2))]),
        (VECTORS, [np.ones((3, 2))]),
        (VECTORS, []),
        (VECTORS, [np.ones((2, 2))] * 2),
        (LISTS, [[[[1, 2]], None]]),
        (LISTS, [[[[1, 2]], [None]]]),
        (LISTS, [[[[1, 2]], [[1, nan]]]]),
        (LISTS, [[[[1, 2]], [[1, 2, 3]]]]),
        (BLOBS, [[[b"a"], None]]),
        (BLOBS, [[[b"a"], [None]]]),
        (BLOBS, [[[b"a"]]]),
        (BOXES, [[[], []], [[]]]),
        (BOXES, [[[], []], [[], [nan]]]),
    ],
    ids=[
        "null", "nan", "infinite", "infinite as float16", "nan in a list", "nan in an Arrow array", "too wide",
        "no matrix", "too few", "too many", "a column too few", "a column too many", "null list of vectors",
        "null vector", "nan in a list of vectors", "vector too wide", "null list of bytes", "null bytes",
        "too few lists", "a column too short", "nan score",
    ],
)  # fmt: skip
def test_what_is_not_a_row_is_refused_and_nothing_is_written(tmp_path, values, columns):
    made = opened(tmp_path, values=values)
    with pytest.raises(ValueError), np.errstate(over="ignore"), made.writing() as writer:
        writer.add(keys.of_texts("ab"), *columns)
    assert made.missing(keys.of_texts("ab")).all()
    assert list(tmp_path.iterdir()) == []


def test_a_row_that_is_refused_costs_none_before_it(tmp_path):
    made = opened(tmp_path)
    with pytest.raises(ValueError, match="row 1 is not finite"), made.writing() as writer:
        writer.add(keys.of_texts("a"), rows_of("a"))
        writer.add(keys.of_texts("bc"), np.array([[1, 2], [nan, 2]]))
    assert lacking(opened(tmp_path), ["a", "b", "c"]) == ["b", "c"]


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
        writer.add(keys.of_texts("a"), rows_of("a"))
        with monkeypatch.context() as failing:
            failing.setattr(os, call, fail)
            writer.add(keys.of_texts("b"), rows_of("b"))
    for part in (str(made.folder), "1 new rows of pictures", cause, advice, "run it again"):
        assert part in str(caught.value)
    for found in (made, opened(tmp_path)):
        assert lacking(found, ["a", "b"]) == ["b"]
    check_names(made)

    with made.writing() as writer:
        writer.add(keys.of_texts("b"), rows_of("b"))
    for found in (made, opened(tmp_path)):
        assert lacking(found, ["a", "b"]) == []


def test_a_disk_that_fails_before_the_description_is_written_leaves_a_new_collection(tmp_path, monkeypatch):
    made = opened(tmp_path)

    def fail(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as failing, pytest.raises(StoreError, match="No space left"):
        failing.setattr(os, "fsync", fail)
        with made.writing() as writer:
            writer.add(keys.of_texts("a"), rows_of("a"))
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


# Other processes. They import what follows, and are told where to work.


SCRIPT = """
import resource, sys
from pathlib import Path
import numpy as np, pyarrow as pa
from pipeline.store import collection, keys
collection.SEGMENT_BYTES = 1
rows = collection.Collection(Path(sys.argv[1]), "numbers", {}, pa.schema([("vector", pa.list_(pa.float16(), 2))]))
def add(writer, *numbers):
    writer.add(keys.of_texts(map(str, numbers)), np.array([[n, n % 7] for n in numbers]))
"""

FILL = f"""{SCRIPT}
print("ready", flush=True)
sys.stdin.readline()
with rows.writing() as writer:
    for first in range(*map(int, sys.argv[2:]), 5):
        add(writer, *range(first, first + 5))
"""

FOREVER = f"""{SCRIPT}
with rows.writing() as writer:
    for n in range(int(sys.argv[2]), 2000):
        add(writer, n)
        print(n, flush=True)
"""

FULL = f"""{SCRIPT}
whole = resource.getrlimit(resource.RLIMIT_FSIZE)
with rows.writing() as writer:
    add(writer, 0)
try:
    with rows.writing() as writer:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, whole[1]))
        add(writer, *range(1, 1000))
except collection.StoreError as error:
    print(error)
resource.setrlimit(resource.RLIMIT_FSIZE, whole)
print([p.suffix for p in sorted(rows.folder.iterdir())], rows.missing(keys.of_texts("01")).tolist())
with rows.writing() as writer:
    add(writer, *range(1, 1000))
"""


def start(script, *arguments):
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def check_numbers(root, count):
    """The numbers below `count` are there; whatever is there is right."""
    found = Collection(root, "numbers", {}, VECTORS)
    places = found.locate(keys.of_texts(map(str, range(2000))))
    there = np.flatnonzero(places[:, 0] >= 0)
    assert found.at(places[there]).tolist() == [[n, n % 7] for n in there]
    assert np.array_equal(there[:count], np.arange(count))
    return found


def test_a_disk_that_is_really_full_keeps_what_was_written_and_the_run_goes_on(tmp_path):
    process = start(FULL, tmp_path)
    told, state = process.communicate(timeout=60)[0].splitlines()
    assert process.returncode == 0
    for part in ("999 new rows of numbers", "File too large", "dclip cache gc", "DCLIP_HOME"):
        assert part in told
    assert state == "['.arrow', '.json'] [False, True]"
    check_names(check_numbers(tmp_path, 1000))


def test_two_processes_that_fill_one_collection_at_once_lose_nothing(tmp_path):
    processes = [start(FILL, tmp_path, *part) for part in ((0, 150), (50, 200))]
    assert [process.stdout.readline() for process in processes] == ["ready\n"] * 2
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    for process in processes:
        process.communicate(timeout=60)
        assert process.returncode == 0
    found = check_numbers(tmp_path, 200)
    assert len(segments(found)) == 40, "equal rows are equal segments, whoever wrote them"
    assert len(found) == 200
    check_names(found)


def test_a_writer_killed_between_many_segments_leaves_only_right_rows(tmp_path):
    count = 0
    for wanted in (1, 20, 40):
        process = start(FOREVER, tmp_path, count)
        while count < wanted:
            count = int(process.stdout.readline()) + 1
        process.kill()
        process.communicate(timeout=60)
        found = check_numbers(tmp_path, count)
        assert all(path.stem == files.sha256(path) for path in segments(found))
    with found.writing() as writer:
        writer.add(keys.of_texts(["1999"]), np.array([[1999, 1999 % 7]]))
    check_numbers(tmp_path, count)

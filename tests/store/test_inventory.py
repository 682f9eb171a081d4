import hashlib
import os
import shutil
import time
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_store import contents, fill, flip, lacking, opened, rows_of, segment_of, segments

from pipeline.errors import InputError
from pipeline.store import inventory, keys
from pipeline.store.inventory import DAY, Held


@pytest.fixture(autouse=True)
def unflushed(monkeypatch):
    """A disk that others share flushes slowly, and no machine dies here."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


def folders(held):
    return [h.folder for h in held]


def used_at(folder, seconds):
    os.utime(folder / "collection.json", (seconds, seconds))


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    root = tmp_path_factory.mktemp("template")
    return [fill(root, "a", "b"), fill(root, "a", weights="v"), fill(root, "a", name="texts")]


@pytest.fixture
def three(template, tmp_path):
    """Collections that were last used 1, 2 and 3 days after the epoch."""
    made = [shutil.copytree(folder, tmp_path / folder.name) for folder in template]
    for day, folder in enumerate(made, start=1):
        used_at(folder, day * DAY)
    return made


# What a store holds


@pytest.mark.parametrize("name", ["nowhere", "empty"])
def test_a_store_that_does_not_exist_or_is_empty_holds_nothing(tmp_path, name):
    (tmp_path / "empty").mkdir()
    assert inventory.collections(tmp_path / name) == []
    assert not (tmp_path / "nowhere").exists()


def test_rows_segments_and_bytes_are_counted(tmp_path):
    folder = fill(tmp_path, "a", "b")
    fill(tmp_path, "c")
    fill(tmp_path, "a", name="texts")
    pictures, texts = inventory.collections(tmp_path)
    assert (pictures.name, pictures.rows, pictures.segments) == ("pictures", 3, segments(folder))
    assert (texts.name, texts.rows, len(texts.segments)) == ("texts", 1, 1)
    for held in (pictures, texts):
        assert held.bytes == sum(map(len, contents(held.folder).values()))
        assert (held.made_with, held.damaged, held.abandoned) == ({"weights": "w"}, [], [])


def test_it_is_told_when_a_collection_was_last_used(tmp_path):
    used_at(fill(tmp_path, "a"), 1000)
    assert inventory.collections(tmp_path)[0].used == 1000
    opened(tmp_path)
    assert inventory.collections(tmp_path)[0].used > 1000


def test_other_files_and_folders_are_no_collections(tmp_path):
    folder = fill(tmp_path, "a")
    (tmp_path / f"texts-{'0' * 32}").write_text("a file")
    for name in ("pictures", f"Pictures-{'0' * 32}", f"pictures-{'0' * 31}", f"pictures-{'g' * 32}"):
        shutil.copytree(folder, tmp_path / name)
    assert folders(inventory.collections(tmp_path)) == [folder]


def test_a_segment_that_cannot_be_read_counts_no_rows(tmp_path):
    segment_of(tmp_path, "a", "b").write_bytes(b"ARROW1")
    fill(tmp_path, "c")
    assert inventory.collections(tmp_path)[0].rows == 1


def test_a_file_that_vanishes_while_it_is_counted_stops_nothing(tmp_path):
    folder = fill(tmp_path, "a")
    (folder / ".vanished.part").symlink_to("nowhere")  # is listed, and is gone when its size is asked for
    assert inventory.collections(tmp_path)[0].rows == 1


# Choosing


def test_collections_are_chosen_by_name_or_by_the_beginning_of_their_folder(three, tmp_path):
    one, other, texts = three
    for only, expected in (
        (["pictures"], {one, other}), (["texts"], {texts}), ([one.name[:12]], {one}), ([other.name], {other}),
        (["texts", one.name], {texts, one}), (["pictures", one.name], {one, other}), ([], set(three)),
    ):  # fmt: skip
        found = folders(inventory.collections(tmp_path, only))
        assert found == sorted(expected), only


@pytest.mark.parametrize("name", ["picture", "crops", "pictures-x", "", "-", ".", "*"])
def test_an_unknown_name_lists_what_is_there(three, tmp_path, name):
    with pytest.raises(InputError) as caught:
        inventory.collections(tmp_path, ["texts", name])
    for part in (str(tmp_path), f"no collection {name};", *(folder.name for folder in three)):
        assert part in str(caught.value)


def test_a_name_in_an_empty_store_is_told_that_there_is_nothing(tmp_path):
    with pytest.raises(InputError, match="no collection pictures; it has nothing"):
        inventory.collections(tmp_path, ["pictures"])


# Faults


def faulty(root):
    """Paths and faults of all that is damaged."""
    return [fault for held in inventory.collections(root) for fault in inventory.faults(held)]


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


@pytest.mark.parametrize("content", ["", "{", '{"name": "pictures"', "[]", "[1]", "null", '"text"', "1", "{}"])
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


# Garbage


def paths(found):
    return [g.path for g in found]


def test_without_rules_no_collection_may_go(three, tmp_path):
    assert inventory.garbage(inventory.collections(tmp_path), now=1000 * DAY) == []


@pytest.mark.parametrize(("days", "count"), [(0, 3), (1, 2), (1.9, 2), (2, 1), (2.5, 1), (3, 0), (99, 0)])
def test_collections_may_go_that_no_stage_has_used_for_longer(three, tmp_path, days, count):
    found = inventory.garbage(inventory.collections(tmp_path), now=4 * DAY, older_than=days * DAY)
    assert paths(found) == three[:count]
    assert [g.why for g in found] == ["last used 3 days ago", "last used 2 days ago", "last used 1 days ago"][:count]


@pytest.mark.parametrize("count", range(4))
def test_the_least_recently_used_go_until_the_others_fit(three, tmp_path, count):
    held = inventory.collections(tmp_path)
    sizes = [next(h.bytes for h in held if h.folder == folder) for folder in three]
    fits = sum(sizes[count:])
    assert paths(inventory.garbage(held, now=4 * DAY, max_bytes=fits)) == three[:count]
    if count < 3:
        assert paths(inventory.garbage(held, now=4 * DAY, max_bytes=fits - 1)) == three[: count + 1]


@given(
    sizes=st.lists(st.integers(0, 10), max_size=6), ages=st.permutations(range(6)), limit=st.integers(0, 60),
    old=st.none() | st.integers(0, 6), keep=st.none() | st.sets(st.integers(0, 5)),
)  # fmt: skip
def test_what_stays_fits_and_no_more_goes_than_it_takes(sizes, ages, limit, old, keep):
    held = [
        Held(Path(f"{i}"), f"{i}", {}, [], 0, size, float(-age), [], [])
        for i, (size, age) in enumerate(zip(sizes, ages, strict=False))
    ]
    rules = {"older_than": old, "keep": None if keep is None else set(map(str, keep))}
    by_rule = paths(inventory.garbage(held, now=0, **rules))
    found = paths(inventory.garbage(held, now=0, max_bytes=limit, **rules))
    assert len(set(found)) == len(found)
    assert set(by_rule) <= set(found)
    left = sum(h.bytes for h in held if h.folder not in found)
    assert left <= limit
    for_room = sorted((h for h in held if h.folder in found and h.folder not in by_rule), key=lambda h: h.used)
    if for_room:
        assert left + for_room[-1].bytes > limit, "the last one that goes for room has to"
        stays = [h.used for h in held if h.folder not in found]
        assert all(for_room[-1].used < used for used in stays), "whatever stays was used later"


def test_what_no_table_was_made_from_may_go(three, tmp_path):
    held = inventory.collections(tmp_path)
    found = inventory.garbage(held, now=0, keep={three[0].name, three[2].name, "another-store"})
    assert [(g.path, g.why) for g in found] == [(three[1], "no table here was made from it")]
    assert paths(inventory.garbage(held, now=0, keep=set())) == three


def leave(folder, name, days, size=1000):
    """A leftover that was last written so many days ago."""
    path = folder / name
    path.write_bytes(bytes(size))
    os.utime(path, (time.time() - days * DAY,) * 2)
    return path


def test_what_killed_writers_left_may_go_after_a_day_and_damaged_segments_at_once(tmp_path):
    folder = fill(tmp_path, "a")
    old = leave(folder, ".one.part", days=1.01)
    leave(folder, ".two.part", days=0.5)
    damaged = leave(folder, f"{'0' * 64}.damaged", days=0)
    (held,) = inventory.collections(tmp_path)
    assert (held.abandoned, held.damaged) == ([old], [damaged])
    assert held.bytes == sum(map(len, contents(folder).values()))
    found = inventory.garbage([held], now=time.time())
    assert [(g.path, g.bytes, g.why) for g in found] == [
        (old, 1000, "a killed writer left it"), (damaged, 1000, "it is damaged"),
    ]  # fmt: skip


def test_leftovers_that_go_anyway_make_room_too(three, tmp_path):
    needed = sum(h.bytes for h in inventory.collections(tmp_path))
    leftovers = [leave(three[2], ".one.part", days=2), leave(three[2], f"{'0' * 64}.damaged", days=0)]
    found = inventory.garbage(inventory.collections(tmp_path), now=4 * DAY, max_bytes=needed)
    assert paths(found) == leftovers, "no collection has to go as well"


def test_what_goes_by_its_age_makes_room_too(three, tmp_path):
    held = inventory.collections(tmp_path)
    needed = sum(h.bytes for h in held if h.folder != three[0])
    assert paths(inventory.garbage(held, now=4 * DAY, older_than=2.5 * DAY, max_bytes=needed)) == three[:1]


def test_by_all_rules_at_once_nothing_is_listed_twice(three, tmp_path):
    for folder in three:
        leave(folder, ".one.part", days=2)
        leave(folder, f"{'0' * 64}.damaged", days=0)
    held = inventory.collections(tmp_path)
    found = inventory.garbage(held, now=4 * DAY, older_than=2.5 * DAY, max_bytes=0, keep={three[2].name})
    assert paths(found) == three, "the leftovers go with their folders"
    assert sum(g.bytes for g in found) == sum(map(len, contents(tmp_path).values()))


# Removing


def test_what_was_listed_is_removed_and_nothing_else(three, tmp_path):
    leave(three[0], f"{'0' * 64}.damaged", days=0)
    damaged = leave(three[1], f"{'0' * 64}.damaged", days=0)
    before = contents(tmp_path)
    found = inventory.garbage(inventory.collections(tmp_path), now=4 * DAY, older_than=2.5 * DAY)
    assert sorted(paths(found)) == sorted([three[0], damaged])
    inventory.remove(found)
    removed = {path for path in before if path.startswith(three[0].name)} | {damaged.relative_to(tmp_path).as_posix()}
    assert contents(tmp_path) == {path: content for path, content in before.items() if path not in removed}
    assert folders(inventory.collections(tmp_path)) == sorted(three[1:])


def test_what_is_gone_already_may_be_removed_again(three, tmp_path):
    leave(three[2], f"{'0' * 64}.damaged", days=0)
    found = inventory.garbage(inventory.collections(tmp_path), now=4 * DAY, keep={three[2].name})
    for _ in range(2):
        inventory.remove(found)
    assert folders(inventory.collections(tmp_path)) == [three[2]]


@pytest.mark.parametrize("count", range(1, 7))
def test_a_removal_that_is_killed_leaves_a_smaller_sound_collection(tmp_path, monkeypatch, count):
    for text in "abcde":
        folder = fill(tmp_path, text)
    found = inventory.garbage(inventory.collections(tmp_path), now=0, keep=set())
    scandir, unlink, removed = os.scandir, os.unlink, []

    def description_first(path):
        with scandir(path) as entries:  # their order is the file system's
            return nullcontext(sorted(entries, key=lambda entry: entry.name != "collection.json"))

    def dying(path, *, dir_fd=None):
        if len(removed) + 1 == count:
            raise KeyboardInterrupt
        removed.append(path)
        unlink(path, dir_fd=dir_fd)

    with monkeypatch.context() as killing, pytest.raises(KeyboardInterrupt):
        killing.setattr(os, "scandir", description_first)
        killing.setattr(os, "unlink", dying)
        inventory.remove(found)
    assert len(contents(folder)) == 7 - count
    assert faulty(tmp_path) == []


def test_a_collection_that_is_open_stays_readable_and_can_be_written_when_its_files_are_removed(tmp_path):
    fill(tmp_path, "a", "b")
    reader = opened(tmp_path)
    inventory.remove(inventory.garbage(inventory.collections(tmp_path), now=0, keep=set()))
    assert inventory.collections(tmp_path) == []
    assert reader.vectors(keys.of_texts("ba")).tolist() == rows_of("ba").tolist()
    with reader.writing() as writer:
        writer.add(keys.of_texts("c"), rows_of("c"))
    assert lacking(tmp_path, "a", "b", "c") == ["a", "b"]
    assert faulty(tmp_path) == []

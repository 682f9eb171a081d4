import os
import time
from contextlib import nullcontext
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_inventory import faulty, folders
from tiny_store import contents, fill, lacking, opened, rows_of

from pipeline.store import inventory, keys
from pipeline.store.inventory import DAY, Held

pytestmark = pytest.mark.usefixtures("unflushed")


# What may go


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
        Held(Path(f"{i}"), f"{i}", {}, [], 0, size, float(-age), [], [], [])
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
    assert reader.vectors(keys.from_texts("ba")).tolist() == rows_of("ba").tolist()
    with reader.writing() as writer:
        writer.add(keys.from_texts("c"), rows_of("c"))
    assert lacking(tmp_path, "a", "b", "c") == ["a", "b"]
    assert faulty(tmp_path) == []

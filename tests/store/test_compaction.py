"""Small segments become large ones, and nobody misses a row."""

import os
import shutil

import numpy as np
import pytest
from tiny_collection import BOXES, lacking, opened, rows_of
from tiny_remote import Died
from tiny_store import contents, flip

from pipeline.disk import provenance
from pipeline.store import compaction, inventory, keys, remote, segment
from pipeline.store.inventory import REPLACED

pytestmark = pytest.mark.usefixtures("unflushed", "a_segment_an_addition")

TEXTS = ["a", "bb", "ccc", "dddd", "eeeee"]


def add(root, *texts):
    """One segment of these rows; gives its path."""
    with opened(root).writing() as writer:
        writer.add(keys.from_texts(texts), rows_of(texts))
    return writer.collection.segments[-1].path


def compact(root):
    (held,) = inventory.collections(root)
    return compaction.compact(held)


def names(root):
    return [path.name for path in sorted(root.glob("*/*.arrow"))]


@pytest.fixture
def five(tmp_path):
    for text in TEXTS:
        add(tmp_path / "mine", text)
    return tmp_path / "mine"


def test_many_segments_become_one_with_all_rows_and_the_others_are_set_aside(five):
    made = compact(five)
    assert (made.before, made.after) == (5, 1)
    found = opened(five)
    assert len(found) == 5 and lacking(found, TEXTS) == []
    aside = list(five.glob(f"*/*{REPLACED}"))
    assert len(aside) == 5 and sum(path.stat().st_size for path in aside) == made.bytes
    (held,) = inventory.collections(five)
    assert list(inventory.faults(held)) == []
    assert compact(five) == compaction.Compacted(1, 1, 0), "there is nothing left to do"


def test_the_same_segments_give_the_same_bytes_whatever_the_order_they_were_written_in(five, tmp_path):
    for text in reversed(TEXTS):
        add(tmp_path / "other", text)
    compact(five)
    compact(tmp_path / "other")
    assert contents(five) == contents(tmp_path / "other")


def test_rows_of_several_columns_stay_together(tmp_path):
    for text in "ab":
        with opened(tmp_path, values=BOXES).writing() as writer:
            writer.add(keys.from_texts(text), [[[0, 0, 1, ord(text)]]], [[0.5]])
    compact(tmp_path)
    found = opened(tmp_path, values=BOXES)
    assert len(found.segments) == 1
    assert [row[0][3] for row in found.take(keys.from_texts("ba"))["corners"].to_pylist()] == [98, 97]


def test_segments_are_filled_up_to_a_size_and_large_ones_left_alone(five, monkeypatch):
    size = max(path.stat().st_size for path in five.glob("*/*.arrow"))
    monkeypatch.setattr(compaction, "SEGMENT_BYTES", 2 * size + 2)
    assert compact(five).after == 3, "two and two, of which each is too large for the fifth"
    assert lacking(opened(five), TEXTS) == []
    before = contents(five)
    monkeypatch.setattr(compaction, "SEGMENT_BYTES", 2)
    assert compact(five).bytes == 0
    assert contents(five) == before


def test_of_a_row_that_two_writers_computed_the_one_stays_that_was_read(tmp_path):
    for value in (1, 2, 3):
        made = opened(tmp_path / str(value))
        with made.writing() as writer:
            writer.add(keys.from_texts(["a"]), np.full((1, 2), value))
        shutil.copytree(made.folder, tmp_path / "all" / made.folder.name, dirs_exist_ok=True)
    read = opened(tmp_path / "all").vectors(keys.from_texts("a")).tolist()
    compact(tmp_path / "all")
    assert len(opened(tmp_path / "all")) == 1
    assert opened(tmp_path / "all").vectors(keys.from_texts("a")).tolist() == read


def test_rows_made_with_other_package_versions_do_not_come_together(five, monkeypatch):
    monkeypatch.setattr(provenance, "packages", lambda: {"torch": "0"})
    monkeypatch.setattr("pipeline.store.collection.packages", lambda: {"torch": "0"})
    for text in ("x", "y"):
        add(five, text)
    assert compact(five).after == 2
    said = [segment.metadata(path).get("torch") for path in five.glob("*/*.arrow")]
    assert "0" in said and len(set(said)) == 2
    assert lacking(opened(five), [*TEXTS, "x", "y"]) == []


def test_a_damaged_segment_is_left_to_the_next_stage_and_named(five, caplog):
    path = next(five.glob("*/*.arrow"))
    flip(path)
    assert compact(five).after == 2
    assert path.name in caplog.text and path.is_file()
    assert len(lacking(opened(five), TEXTS)) == 1


def test_a_segment_that_says_it_replaces_others_but_has_not_their_rows_replaces_nothing(five):
    first, second = sorted(five.glob("*/*.arrow"))[:2]
    rows = segment.read(first, first.parent.name.rpartition("-")[2])
    said = segment.metadata(first) | {segment.REPLACES: second.stem}
    values = opened(five).segments[0].values.replace_schema_metadata()
    assert len(rows) == len(values) == 1
    segment.write(first.parent, opened(five).segments[0].keys, values, said)
    compact(five)
    assert lacking(opened(five), TEXTS) == []


def calls_that_change_files(monkeypatch, act):
    """Have `act(number)` before every change of the disk's names: a file put in its place, renamed or removed."""
    count = iter(range(10**6))

    def before(call):
        def changed(*arguments, **others):
            act(next(count))
            return call(*arguments, **others)

        return changed

    for name in ("replace", "unlink", "rename"):
        monkeypatch.setattr(os, name, before(getattr(os, name)))


@pytest.mark.parametrize("at", range(8))
def test_a_compaction_that_dies_at_any_change_has_every_row_and_the_next_ends_with_the_same_bytes(
    five, tmp_path, monkeypatch, at
):
    whole = shutil.copytree(five, tmp_path / "whole")
    compact(whole)

    def act(number):
        assert lacking(opened(five), TEXTS) == []
        if number == at:
            raise Died

    with monkeypatch.context() as dying:
        calls_that_change_files(dying, act)
        if at < 7:
            with pytest.raises(Died):
                compact(five)
        else:
            compact(five)
    assert lacking(opened(five), TEXTS) == []
    compact(five)
    assert contents(five) == contents(whole)


@pytest.mark.parametrize("opened_first", range(6))
def test_who_has_listed_segments_before_they_were_replaced_misses_no_row(five, monkeypatch, opened_first):
    check, count = segment.check, iter(range(10**6))

    def check_late(path, *name):
        if next(count) == opened_first:
            with monkeypatch.context() as alone:
                alone.setattr(segment, "check", check)
                compact(five)
        check(path, *name)

    monkeypatch.setattr(segment, "check", check_late)
    assert lacking(opened(five), TEXTS) == []


def test_a_look_that_misses_both_the_old_and_the_new_is_not_the_last(five, monkeypatch):
    look, looks = segment._look, []

    def blind(folder):
        found = look(folder)
        looks.append(found)
        if len(looks) == 1:
            compact(five)
        return set() if len(looks) == 2 else found

    monkeypatch.setattr(segment, "_look", blind)
    assert lacking(opened(five), TEXTS) == []


def test_what_was_opened_before_goes_on_reading_and_writing(five):
    reading, writing = opened(five), opened(five)
    compact(five)
    assert lacking(reading, TEXTS) == []
    with writing.writing() as writer:
        writer.add(keys.from_texts(["new"]), rows_of(["new"]))
    assert lacking(writing, [*TEXTS, "new"]) == lacking(opened(five), [*TEXTS, "new"]) == []


def test_a_collection_that_gc_has_removed_is_not_made_again(five):
    (held,) = inventory.collections(five)
    shutil.rmtree(held.folder)
    assert compaction.compact(held) == compaction.Compacted(0, 0, 0)
    assert not held.folder.exists()


def test_gc_removes_what_was_set_aside(five):
    compact(five)
    inventory.remove(inventory.garbage(inventory.collections(five), now=0))
    assert not list(five.glob(f"*/*{REPLACED}"))
    assert lacking(opened(five), TEXTS) == []


def test_forgotten_rows_are_forgotten_in_large_segments_too(five):
    compact(five)
    (held,) = inventory.collections(five)
    assert inventory.forget(held, keys.from_texts(["a"])) == 1
    assert lacking(opened(five), TEXTS) == ["a"]
    assert compact(five).after == 1


def test_what_was_replaced_is_not_fetched_again_and_members_who_have_it_go_on(five, tmp_path):
    url, theirs, third = str(tmp_path / "remote"), tmp_path / "theirs", tmp_path / "third"
    remote.push(five, url)
    remote.pull(theirs, url)
    compact(five)
    assert remote.pull(five, url).files == 0, "its rows are here"
    assert remote.push(five, url).files == 1, "the large one alone"
    assert lacking(opened(theirs), TEXTS) == []
    assert remote.pull(theirs, url).files == 1
    assert compact(theirs).after == 1
    assert names(theirs) == names(five)
    assert remote.pull(third, url).files == 2, "the description and the large one, not the small ones"
    assert lacking(opened(third), TEXTS) == []
    assert remote.push(third, url).files == 0


def test_a_push_sends_what_took_the_place_of_segments_while_it_ran(five, tmp_path, monkeypatch):
    url, send, sent = str(tmp_path / "remote"), remote._upload, []

    def send_late(*arguments):
        if len(sent) == 2:
            sent.append(0)
            compact(five)
        sent.append(0)
        send(*arguments)

    monkeypatch.setattr(remote, "_upload", send_late)
    remote.push(five, url)
    remote.pull(tmp_path / "theirs", url)
    assert lacking(opened(tmp_path / "theirs"), TEXTS) == []

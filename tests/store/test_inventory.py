import shutil

import pytest
from tiny_inventory import folders, used_at
from tiny_store import contents, fill, opened, segment_of, segments

from pipeline.errors import InputError
from pipeline.store import inventory

pytestmark = pytest.mark.usefixtures("unflushed")


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
    for name in ("pictures", f"Images-{'0' * 32}", f"pictures-{'0' * 31}", f"pictures-{'g' * 32}"):
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

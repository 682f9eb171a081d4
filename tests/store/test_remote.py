import pytest
from fsspec.implementations.local import LocalFileSystem
from tiny_store import contents, fill, lacking, opened, segment_of

from pipeline.errors import InputError
from pipeline.store import inventory
from pipeline.store.remote import Moved, pull, push

pytestmark = pytest.mark.usefixtures("unflushed")


def test_what_was_pushed_and_pulled_is_the_same_bytes(mine, theirs, remote):
    size = sum(map(len, contents(mine).values()))
    assert push(mine, remote.url) == Moved(files=5, bytes=size)
    assert remote.contents() == contents(mine)
    assert pull(theirs, remote.url) == Moved(files=5, bytes=size)
    assert contents(theirs) == contents(mine)


def test_a_folder_may_be_given_as_a_url(mine, theirs, folder):
    assert push(mine, f"file://{folder.url}").files == 5
    assert folder.contents() == contents(mine)
    assert pull(theirs, f"file://{folder.url}/").files == 5
    assert contents(theirs) == contents(mine)
    assert push(mine, folder.url) == pull(theirs, f"local://{folder.url}") == Moved(present=5)


def test_rows_that_were_pulled_are_read_and_need_not_be_computed(mine, theirs, remote):
    push(mine, remote.url)
    assert lacking(theirs, "a", "b", "c") == ["a", "b", "c"]
    pull(theirs, remote.url)
    assert lacking(theirs, "a", "b", "c", "d") == ["d"]
    assert lacking(theirs, "a", "b", name="texts") == ["b"]
    assert [fault for held in inventory.collections(theirs) for fault in inventory.faults(held)] == []


def test_a_second_time_nothing_is_sent(mine, theirs, remote, monkeypatch):
    push(mine, remote.url)
    pull(theirs, remote.url)
    for call in ("put_file", "get_file", "mv"):
        monkeypatch.setattr(type(remote.fs), call, None)
    assert push(mine, remote.url) == pull(theirs, remote.url) == pull(mine, remote.url) == Moved(present=5)


def test_after_one_more_segment_only_that_is_sent(mine, theirs, remote):
    push(mine, remote.url)
    pull(theirs, remote.url)
    size = segment_of(mine, "d").stat().st_size
    assert push(mine, remote.url) == pull(theirs, remote.url) == Moved(files=1, bytes=size, present=5)
    assert contents(theirs) == remote.contents() == contents(mine)


@pytest.mark.parametrize("by", ["name", "folder", "beginning of the folder"])
def test_only_the_chosen_collections_are_sent(mine, tmp_path, remote, by):
    name = opened(mine, name="texts").folder.name
    only = [{"name": "texts", "folder": name}.get(by, name[:9])]
    chosen = {path: content for path, content in contents(mine).items() if path.startswith("texts")}
    assert push(mine, remote.url, only).files == 2
    assert remote.contents() == chosen
    push(mine, remote.url)
    assert pull(tmp_path / "theirs", remote.url, iter(only)).files == 2
    assert contents(tmp_path / "theirs") == chosen


def test_an_unknown_collection_is_refused_with_what_is_there(mine, theirs, remote):
    push(mine, remote.url)
    there = ", ".join(sorted(p.name for p in mine.iterdir()))
    with pytest.raises(InputError, match=f"{mine} has no collection crops; it has {there}"):
        push(mine, remote.url, ["texts", "crops"])
    with pytest.raises(InputError, match=f"{remote.url} has no collection crops; it has {there}"):
        pull(theirs, remote.url, ["texts", "crops"])
    assert not theirs.exists()


def test_two_members_share_what_each_has_computed(tmp_path, remote):
    one, other = tmp_path / "one", tmp_path / "other"
    for root, *texts in ((one, "a", "b"), (other, "b", "c")):
        fill(root, *texts)
        push(root, remote.url)
    assert [pull(root, remote.url).files for root in (one, other)] == [1, 1]
    assert contents(one) == contents(other) == remote.contents()
    for root in (one, other):
        assert lacking(root, "a", "b", "c") == []


def test_a_collection_that_is_open_sees_what_was_pulled_when_it_is_opened_again(mine, theirs, remote):
    fill(theirs, "z")
    push(mine, remote.url)
    pull(theirs, remote.url)
    assert lacking(theirs, "a", "c", "z") == []


def test_only_files_of_a_store_are_sent(mine, remote):
    expected = contents(mine)
    made = opened(mine).folder
    for name in (".x.part", f"{'0' * 64}.damaged", "notes.txt", "x.arrow"):
        (made / name).write_text("foreign")
    (mine / "notes.txt").write_text("foreign")
    (mine / "other").mkdir()
    (mine / "other/collection.json").write_text("{}")
    assert push(mine, remote.url).files == 5
    assert remote.contents() == expected


def test_only_files_of_a_store_are_fetched(mine, theirs, remote):
    push(mine, remote.url)
    name, digest = opened(mine).folder.name, "0" * 64
    for path in (
        "notes.txt", f"{digest}.arrow", f"{name}/notes.txt", f"{name}/x.arrow", f"{name}/.{digest}.arrow.1.part",
        f"{name}/{digest}.damaged", f"{name}/{digest}.arrow.tmp", f"{name}/{digest.replace('0', 'G')}.arrow",
        f"{name}/deeper/{digest}.arrow", f"deeper/{name}/{digest}.arrow", f"images/{digest}.arrow",
        f"{name}x/{digest}.arrow", f".{name}/{digest}.arrow", f"{name}/ {digest}.arrow", f"{name}/{digest}.arrow\n",
    ):  # fmt: skip
        remote.put(path, b"foreign")
    assert pull(theirs, remote.url) == Moved(files=5, bytes=sum(map(len, contents(mine).values())))
    assert contents(theirs) == contents(mine)


@pytest.mark.parametrize(
    "path", ["../evil", "../{name}/{digest}.arrow", "{name}/../../{digest}.arrow", "{name}/../{digest}.arrow", "/evil"]
)
def test_nothing_is_written_outside_the_store_whatever_a_remote_lists(mine, tmp_path, folder, monkeypatch, path):
    push(mine, folder.url)
    path = path.format(name=opened(mine).folder.name, digest="0" * 64)
    evil = {f"{folder.base}/{path}": {"size": 4}, path: {"size": 4}}
    find = LocalFileSystem.find
    monkeypatch.setattr(LocalFileSystem, "find", lambda *a, **k: find(*a, **k) | evil)
    assert pull(tmp_path / "theirs", folder.url).files == 5
    assert contents(tmp_path / "theirs") == contents(mine)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mine", "remote", "theirs"]

from pathlib import Path

import pytest
from fsspec.implementations.local import LocalFileSystem
from tiny_store import contents, flip, lacking, opened, segment_of, segments

from pipeline.store.remote import pull, push

pytestmark = pytest.mark.usefixtures("unflushed")


DAMAGES = {
    "empty": lambda content: b"",
    "half": lambda content: content[:500],
    "flipped": lambda content: bytes([content[0] ^ 1]) + content[1:],
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_segment_of_a_remote_is_named_and_not_taken_and_the_others_are(mine, theirs, remote, caplog, damage):
    push(mine, remote.url)
    source = contents(mine)
    (path,) = (p.relative_to(mine).as_posix() for p in segments(opened(mine, name="texts").folder))
    remote.put(path, damage(source[path]))
    moved = pull(theirs, remote.url)
    assert (moved.files, moved.damaged) == (4, (path,))
    assert Path(path).name in caplog.text and remote.url in caplog.text
    assert contents(theirs) == {p: c for p, c in source.items() if p != path}
    assert lacking(theirs, "a", name="texts") == ["a"]


@pytest.mark.parametrize("share", [0, 0.5])
def test_a_member_who_has_a_truncated_file_of_a_remote_whole_mends_it(mine, theirs, remote, share):
    push(mine, remote.url)
    source = contents(mine)
    for path, content in source.items():
        remote.put(path, content[: int(share * len(content))])
    assert push(mine, remote.url).files == 5
    assert remote.contents() == source


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"name": "images"}'])
def test_a_damaged_description_of_a_remote_is_named_and_not_taken(mine, theirs, remote, content):
    push(mine, remote.url)
    path = f"{opened(mine).folder.name}/collection.json"
    remote.put(path, content)
    moved = pull(theirs, remote.url)
    assert (moved.files, moved.damaged) == (4, (path,))
    assert lacking(theirs, "a", "b", "c") == []


def test_a_damaged_segment_is_named_and_not_sent_and_the_others_are(mine, remote, caplog):
    path = segment_of(mine, "d")
    flip(path)
    name = path.relative_to(mine).as_posix()
    moved = push(mine, remote.url)
    assert (moved.files, moved.damaged) == (5, (name,))
    assert path.name in caplog.text
    assert remote.contents() == {p: c for p, c in contents(mine).items() if p != name}


def test_a_damaged_description_is_named_and_not_sent(mine, remote):
    path = opened(mine).folder / "collection.json"
    path.write_text("{")
    assert push(mine, remote.url).damaged == (path.relative_to(mine).as_posix(),)
    assert path.relative_to(mine).as_posix() not in remote.contents()


def test_a_truncated_or_deleted_segment_comes_back_from_a_remote(mine, remote):
    push(mine, remote.url)
    expected = contents(mine)
    one, other = segments(opened(mine).folder)
    one.write_bytes(one.read_bytes()[:100])
    other.unlink()
    assert pull(mine, remote.url).files == 2
    assert contents(mine) == expected


def test_a_segment_that_was_set_aside_comes_back_from_a_remote(mine, remote):
    push(mine, remote.url)
    expected = contents(mine)
    flip(segments(opened(mine).folder)[0])
    assert len(lacking(mine, "a", "b", "c")) > 0
    pull(mine, remote.url)
    assert {p: c for p, c in contents(mine).items() if not p.endswith(".damaged")} == expected
    assert lacking(mine, "a", "b", "c") == []


def test_a_segment_of_another_collection_is_named_and_not_taken(mine, theirs, remote):
    push(mine, remote.url)
    stranger = segments(opened(mine, name="texts").folder)[0]
    path = f"{opened(mine).folder.name}/{stranger.name}"
    remote.put(path, stranger.read_bytes())
    moved = pull(theirs, remote.url)
    assert (moved.files, moved.damaged) == (5, (path,))


def test_a_segment_that_is_removed_during_a_push_costs_no_other(mine, folder, monkeypatch):
    path = segments(opened(mine).folder)[0]
    put = LocalFileSystem.put_file

    def remove(self, source, target):
        path.unlink(missing_ok=True)  # as gc of another process does at this moment
        put(self, source, target)

    monkeypatch.setattr(LocalFileSystem, "put_file", remove)
    push(mine, folder.url)
    assert folder.contents() == contents(mine)

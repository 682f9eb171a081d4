import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.registry import _registry, known_implementations
from tiny_store import contents, fill, flip, lacking, opened, segment_of, segments

from pipeline.errors import InputError
from pipeline.store import inventory
from pipeline.store.remote import Moved, RemoteError, pull, push


@pytest.fixture(autouse=True)
def unflushed(monkeypatch):
    """A disk that others share flushes slowly, and no machine dies here."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


class Remote:
    """A remote and what lies on it."""

    def __init__(self, url):
        self.url = url
        self.fs, self.base = fsspec.core.url_to_fs(url)

    def contents(self):
        found = self.fs.find(self.base)
        return {path.removeprefix(f"{self.base}/"): self.fs.cat_file(path) for path in found}

    def put(self, path, content):
        self.fs.makedirs(f"{self.base}/{path}".rpartition("/")[0], exist_ok=True)
        self.fs.pipe_file(f"{self.base}/{path}", content)


@pytest.fixture(params=["{}/remote", "memory://remote"], ids=["folder", "memory"])
def remote(request, tmp_path, monkeypatch):
    monkeypatch.setattr(MemoryFileSystem, "store", {})
    monkeypatch.setattr(MemoryFileSystem, "pseudo_dirs", [""])
    return Remote(request.param.format(tmp_path))


@pytest.fixture
def folder(tmp_path):
    """A remote that is a folder."""
    return Remote(f"{tmp_path}/remote")


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    root = tmp_path_factory.mktemp("template")
    fill(root, "a", "b")
    fill(root, "c")
    fill(root, "a", name="texts")
    return root


@pytest.fixture
def mine(template, tmp_path):
    """A store of two collections with three segments: five files."""
    return shutil.copytree(template, tmp_path / "mine")


@pytest.fixture
def theirs(tmp_path):
    """A store that is not there yet."""
    return tmp_path / "theirs"


def whole_only(found):
    """Without what is being sent, or was when its sender died."""
    return {path: content for path, content in found.items() if not path.endswith(".part")}


def check_whole(found, source):
    """Whatever has its name has its bytes, and no segment is without a description."""
    for path, content in whole_only(found).items():
        assert content == source[path], path
        assert f"{path.partition('/')[0]}/collection.json" in found


# There and back


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
        f"{name}/deeper/{digest}.arrow", f"deeper/{name}/{digest}.arrow", f"pictures/{digest}.arrow",
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


# What dies in the middle


class Died(Exception):
    """Of no kind that anything could know."""


def dying(method, at, error, share):
    """A filesystem's method whose call number `at` writes a share of the bytes and raises; None writes nothing."""
    calls = []

    def call(self, source, target, **_):
        calls.append(target)
        if len(calls) <= at:
            return method(self, source, target)
        if share is not None:
            local = Path(source).is_file()
            content = Path(source).read_bytes() if local else self.cat_file(source)
            part = content[: int(share * len(content))]
            if method.__name__ == "get_file":
                Path(target).write_bytes(part)
            else:
                self.pipe_file(target, part)
        if error is not None:
            raise error
        return None

    return call


SHARES = {"before": None, "empty": 0, "half": 0.5, "after": 1}
ERRORS = [Died("it died"), OSError(5, "Input/output error"), KeyboardInterrupt()]


def check_upload_that_dies(mine, theirs, remote, monkeypatch, method, at, error, share):
    source = contents(mine)
    with monkeypatch.context() as failing, pytest.raises((RemoteError, KeyboardInterrupt)):
        failing.setattr(type(remote.fs), method, dying(getattr(type(remote.fs), method), at, error, share))
        push(mine, remote.url)
    check_whole(remote.contents(), source)
    moved = push(mine, remote.url)
    assert 5 - at - 1 <= moved.files <= 5 - at
    assert moved.files + moved.present == 5
    assert whole_only(remote.contents()) == source
    pull(theirs, remote.url)
    assert contents(theirs) == source


@pytest.mark.parametrize("share", SHARES.values(), ids=SHARES)
@pytest.mark.parametrize("at", range(5))
def test_an_upload_that_dies_leaves_only_whole_files_and_the_next_completes(
    mine, theirs, folder, monkeypatch, at, share
):
    check_upload_that_dies(mine, theirs, folder, monkeypatch, "put_file", at, ERRORS[0], share)


@pytest.mark.parametrize("share", [0, 0.5, 1])
@pytest.mark.parametrize("kind", ["memory://remote", "file://{}/remote"])
@pytest.mark.parametrize("error", ERRORS, ids=repr)
def test_an_upload_that_dies_of_anything_anywhere_leaves_only_whole_files(
    mine, theirs, tmp_path, monkeypatch, error, kind, share
):
    monkeypatch.setattr(MemoryFileSystem, "store", {})
    remote = Remote(kind.format(tmp_path))
    check_upload_that_dies(mine, theirs, remote, monkeypatch, "put_file", 2, error, share)


@pytest.mark.parametrize("at", range(5))
def test_an_upload_that_dies_while_it_gets_its_name_leaves_only_whole_files(mine, theirs, folder, monkeypatch, at):
    check_upload_that_dies(mine, theirs, folder, monkeypatch, "mv", at, ERRORS[0], None)


def test_an_upload_that_loses_bytes_and_says_nothing_is_refused_and_not_left_there(mine, theirs, folder, monkeypatch):
    check_upload_that_dies(mine, theirs, folder, monkeypatch, "put_file", 2, None, 0.5)


@pytest.mark.parametrize("share", SHARES.values(), ids=SHARES)
@pytest.mark.parametrize("at", range(5))
def test_a_download_that_dies_leaves_only_whole_files_and_the_next_completes(
    mine, theirs, remote, monkeypatch, at, share
):
    push(mine, remote.url)
    error = ERRORS[at % len(ERRORS)]
    with monkeypatch.context() as failing, pytest.raises((RemoteError, KeyboardInterrupt)):
        failing.setattr(type(remote.fs), "get_file", dying(type(remote.fs).get_file, at, error, share))
        pull(theirs, remote.url)
    assert len(contents(theirs)) == at, "and no half of one beside them"
    check_whole(contents(theirs), contents(mine))
    assert lacking(theirs, "z") == ["z"], "whatever is there is read"
    assert pull(theirs, remote.url).present == at
    assert contents(theirs) == contents(mine)


@pytest.mark.parametrize("share", [0, 0.5])
def test_a_download_that_loses_bytes_and_says_nothing_is_named_and_not_taken(
    mine, theirs, folder, monkeypatch, caplog, share
):
    push(mine, folder.url)
    with monkeypatch.context() as failing:
        failing.setattr(LocalFileSystem, "get_file", dying(LocalFileSystem.get_file, 2, None, share))
        moved = pull(theirs, folder.url)
    assert (moved.files, len(moved.damaged)) == (2, 3)
    check_whole(contents(theirs), contents(mine))
    for path in moved.damaged:
        assert Path(path).name in caplog.text
    assert pull(theirs, folder.url).files == 3
    assert contents(theirs) == contents(mine)


PULL = """
import sys
from pathlib import Path
from fsspec.implementations.local import LocalFileSystem
from pipeline.store import remote

root, url, left = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
whole = LocalFileSystem.get_file

def get_file(self, source, target):
    global left
    if left:
        left -= 1
        return whole(self, source, target)
    content = Path(source).read_bytes()
    with open(target, "wb") as stream:
        stream.write(content[: len(content) // 2])
    print("half", flush=True)
    sys.stdin.read()

LocalFileSystem.get_file = get_file
remote.pull(root, url)
"""


@pytest.mark.parametrize("at", [0, 3])
def test_a_killed_download_leaves_a_half_file_that_nothing_reads_and_the_next_completes(mine, theirs, folder, at):
    push(mine, folder.url)
    command = [sys.executable, "-c", PULL, str(theirs), folder.url, str(at)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdout.readline() == b"half\n"
    process.kill()
    process.communicate(timeout=60)
    found = contents(theirs)
    assert (len(found), len(whole_only(found))) == (at + 1, at)
    check_whole(whole_only(found), contents(mine))
    assert pull(theirs, folder.url).present == at
    assert whole_only(contents(theirs)) == contents(mine)
    assert lacking(theirs, "a", "b", "c") == []


# Damage


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


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"name": "pictures"}'])
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


# What cannot be a remote


@pytest.mark.parametrize("kind", ["missing", "empty", "foreign"])
def test_a_remote_that_holds_no_store_says_what_one_member_runs(theirs, remote, kind):
    if kind == "empty":
        remote.fs.makedirs(remote.base)
    if kind == "foreign":
        remote.put("notes.txt", b"foreign")
    with pytest.raises(RemoteError, match=f"{remote.url} holds no feature store; .* dclip cache push {remote.url}"):
        pull(theirs, remote.url)
    assert not theirs.exists()


def test_an_unknown_protocol_says_what_is_expected(mine):
    for move in (push, pull):
        with pytest.raises(RemoteError, match=r"nope://there.*expected a folder, s3://bucket/path or ssh://host/path"):
            move(mine, "nope://there")


def test_a_protocol_whose_package_is_missing_says_what_to_install(mine, monkeypatch):
    known = {"class": "no_such_package.Files", "err": "install no_such_package"}
    monkeypatch.setitem(known_implementations, "elsewhere", known)
    for move in (push, pull):
        with pytest.raises(RemoteError, match=r"elsewhere://there needs .* pip install .*install no_such_package"):
            move(mine, "elsewhere://there")


@pytest.mark.skipif(any(map(importlib.util.find_spec, ("paramiko", "sshfs"))), reason="a package for SSH is there")
def test_ssh_without_its_package_says_what_to_install(mine):
    with pytest.raises(RemoteError, match=r"ssh://host/path needs .*dvc-ssh for SSH"):
        push(mine, "ssh://host/path")


class Unreachable(LocalFileSystem):
    """Connects when it is made, as SSH does, and fails."""

    protocol = "unreachable"
    cachable = False

    def __init__(self, *args, **options):
        raise Died("no route to host")


def assert_explained(caught, url):
    for part in (url, "Died", "no route to host", "run it once more"):
        assert part in str(caught.value)


def test_a_host_that_cannot_be_reached_is_named(mine, theirs, monkeypatch):
    monkeypatch.setitem(_registry, "unreachable", Unreachable)
    for move, root in ((push, mine), (pull, theirs)):
        with pytest.raises(RemoteError) as caught:
            move(root, "unreachable://host/path")
        assert_explained(caught, "unreachable://host/path")


def fail(*_, **__):
    raise Died("no route to host")


@pytest.mark.parametrize("method", ["find", "makedirs", "put_file", "size"])
def test_a_push_says_whatever_a_backend_raises_with_the_remotes_name(mine, remote, monkeypatch, method):
    with monkeypatch.context() as failing, pytest.raises(RemoteError) as caught:
        failing.setattr(type(remote.fs), method, fail)
        push(mine, remote.url)
    assert_explained(caught, remote.url)


@pytest.mark.parametrize("method", ["find", "get_file"])
def test_a_pull_says_whatever_a_backend_raises_with_the_remotes_name(mine, theirs, remote, monkeypatch, method):
    push(mine, remote.url)
    with monkeypatch.context() as failing, pytest.raises(RemoteError) as caught:
        failing.setattr(type(remote.fs), method, fail)
        pull(theirs, remote.url)
    assert_explained(caught, remote.url)


def test_a_file_as_a_remote_is_refused(mine, theirs, tmp_path):
    (tmp_path / "remote").write_text("a file")
    with pytest.raises(RemoteError, match="holds no feature store"):
        pull(theirs, str(tmp_path / "remote"))
    with pytest.raises(RemoteError, match=str(tmp_path / "remote")):
        push(mine, str(tmp_path / "remote"))
    assert (tmp_path / "remote").read_text() == "a file"

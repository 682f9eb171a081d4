import io
import subprocess
import sys
from pathlib import Path

import pytest
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem
from tiny_remote import Died, Remote, check_whole, whole_only
from tiny_store import contents, lacking

from pipeline.store.remote import RemoteError, pull, push

pytestmark = pytest.mark.usefixtures("unflushed")


def dying(method, at, error, share):
    """A filesystem's method whose call number `at` writes a share of the bytes and raises; None writes nothing."""
    calls = []

    def call(self, source, target, **_):
        calls.append(target)
        if len(calls) <= at:
            return method(self, source, target)
        if share is not None:
            content = Path(source).read_bytes()
            self.pipe_file(target, content[: int(share * len(content))])
        if error is not None:
            raise error
        return None

    return call


class Cut(io.BytesIO):
    """A file that ends, or raises, where its bytes do."""

    def __init__(self, content, error):
        super().__init__(content)
        self.error = error

    def read(self, count):
        if not (piece := super().read(count)) and self.error is not None:
            raise self.error
        return piece


def cutting(opener, at, error, share):
    """A filesystem's `open` that from call number `at` on gives a share of the bytes; None raises at once."""
    calls = []

    def call(self, path, mode):
        calls.append(path)
        if len(calls) <= at:
            return opener(self, path, mode)
        if share is None:
            raise error
        with opener(self, path, mode) as stream:
            content = stream.read()
        return Cut(content[: int(share * len(content))], error)

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
        failing.setattr(type(remote.fs), "open", cutting(type(remote.fs).open, at, error, share))
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
        failing.setattr(LocalFileSystem, "open", cutting(LocalFileSystem.open, 2, None, share))
        moved = pull(theirs, folder.url)
    assert (moved.files, len(moved.damaged)) == (2, 3)
    check_whole(contents(theirs), contents(mine))
    for path in moved.damaged:
        assert Path(path).name in caplog.text
    assert pull(theirs, folder.url).files == 3
    assert contents(theirs) == contents(mine)


PULL = """
import io, sys
from pathlib import Path
from fsspec.implementations.local import LocalFileSystem
from pipeline.store import remote

root, url, left = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
whole = LocalFileSystem.open

class Hanging(io.BytesIO):
    def read(self, count):
        if piece := super().read(count):
            return piece
        print("half", flush=True)
        sys.stdin.read()

def open_(self, path, mode):
    global left
    if left:
        left -= 1
        return whole(self, path, mode)
    content = Path(path).read_bytes()
    return Hanging(content[: len(content) // 2])

LocalFileSystem.open = open_
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
    assert contents(theirs) == contents(mine), "nor is the half file there any more"
    assert lacking(theirs, "a", "b", "c") == []

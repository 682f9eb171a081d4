import importlib.util

import pytest
from fsspec.implementations.local import LocalFileSystem
from fsspec.registry import _registry, known_implementations
from tiny_remote import Died

from pipeline.store.remote import RemoteError, pull, push

pytestmark = pytest.mark.usefixtures("unflushed")


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


@pytest.mark.parametrize("method", ["find", "open"])
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

import os
import shutil

import pytest
from fsspec.implementations.memory import MemoryFileSystem
from tiny_inventory import used_at
from tiny_remote import Remote
from tiny_store import fill

from pipeline.store import collection
from pipeline.store.inventory import DAY


@pytest.fixture
def unflushed(monkeypatch):
    """A disk that others share flushes slowly, and no machine dies here."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.fixture
def a_segment_an_addition(monkeypatch):
    monkeypatch.setattr(collection, "SEGMENT_BYTES", 1)


@pytest.fixture(scope="module")
def template_of_three(tmp_path_factory):
    root = tmp_path_factory.mktemp("template")
    return [fill(root, "a", "b"), fill(root, "a", weights="v"), fill(root, "a", name="texts")]


@pytest.fixture
def three(template_of_three, tmp_path):
    """Collections that were last used 1, 2 and 3 days after the epoch."""
    made = [shutil.copytree(folder, tmp_path / folder.name) for folder in template_of_three]
    for day, folder in enumerate(made, start=1):
        used_at(folder, day * DAY)
    return made


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


@pytest.fixture(params=["{}/remote", "memory://remote"], ids=["folder", "memory"])
def remote(request, tmp_path, monkeypatch):
    monkeypatch.setattr(MemoryFileSystem, "store", {})
    monkeypatch.setattr(MemoryFileSystem, "pseudo_dirs", [""])
    return Remote(request.param.format(tmp_path))


@pytest.fixture
def folder(tmp_path):
    """A remote that is a folder."""
    return Remote(f"{tmp_path}/remote")

"""The program `dclip` in this process, and a feature store for it."""

import os
import shutil
from functools import partial

import pytest
from tiny_cache import fill, used

from console import main as dclip


@pytest.fixture
def program(monkeypatch, capsys):
    """Runs `dclip` and gives its exit code, output and errors."""

    def execute(*arguments):
        monkeypatch.setattr("sys.argv", ["dclip", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            dclip.main()
        code = ended.value.code or 0
        del ended  # progress lines of what was broken off end with it, and are its output
        return code, *capsys.readouterr()

    return execute


@pytest.fixture
def home(tmp_path, monkeypatch):
    """DCLIP_HOME; a disk that others share flushes slowly, and no machine dies here."""
    monkeypatch.setattr(os, "fsync", lambda _: None)
    monkeypatch.setenv("DCLIP_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def cache(home, program):
    """Runs `dclip cache` and gives its exit code, output and errors."""
    return partial(program, "cache")


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """A store's root, and the names of its two collections."""
    root = tmp_path_factory.mktemp("template")
    fill(root, "a", "b")
    return root, fill(root, "c").name, fill(root, *map(str, range(1234)), name="texts").name


@pytest.fixture
def two(template, home):
    """Images of two segments that were last used 10 days ago, and texts of one that were used now."""
    root, pictures, texts = template
    store = shutil.copytree(root, home, dirs_exist_ok=True) / "store"
    used(store / pictures, days=10)
    return store / pictures, store / texts

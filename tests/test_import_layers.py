"""Console, stages, library, and the library's rooms: no import runs upwards (the contracts stand in pyproject.toml)."""

from pathlib import Path

from importlinter.cli import lint_imports


def test_no_import_runs_upwards(monkeypatch):
    monkeypatch.chdir(Path(__file__).parents[1])
    assert lint_imports(no_cache=True) == 0

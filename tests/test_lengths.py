"""Files that can be read in one sitting."""

import pytest

from pipeline.artifacts.code_dependencies import ROOT

FOLDERS = ("pipeline", "stages", "console", "docs/generator", "benchmarks", "tests")
FILES = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_file_has_fewer_than_400_lines(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) < 400


def test_the_readme_has_fewer_than_140_lines():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) < 140

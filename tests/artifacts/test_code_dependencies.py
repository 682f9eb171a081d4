"""Which source a program depends on."""

import pytest

from pipeline.artifacts import code_dependencies


@pytest.fixture
def library(tmp_path, monkeypatch):
    """A library of a few modules, and a program beside it."""
    sources = {
        "pipeline/__init__.py": "",
        "pipeline/errors.py": "import pipeline.far.away",
        "pipeline/near/__init__.py": '"""Only words."""',
        "pipeline/near/one.py": "from pipeline import errors\ndef late():\n    from pipeline.far.away import gone",
        "pipeline/near/two.py": "",
        "pipeline/far/__init__.py": "X = 1",
        "pipeline/far/away.py": "",
        "pipeline/whole/__init__.py": "",
        "pipeline/whole/a.py": "import pipeline.whole.b",
        "pipeline/whole/b.py": "",
        "pipeline/pages/__init__.py": "",
        "pipeline/pages/html.py": "",
        "pipeline/pages/templates/page.j2": "",
        "pipeline/pages/other.py": "",
        "pipeline/typed/__init__.py": "",
        "pipeline/typed/names.py": "",
        "stages/go.py": "\n".join(
            [
                "from typing import TYPE_CHECKING",
                "from pipeline.near import one",
                "from pipeline.whole import a",
                "from pipeline.pages import html",
                "if TYPE_CHECKING:",
                "    from pipeline.typed import names",
            ]
        ),
    }
    for name, text in sources.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(code_dependencies, "ROOT", tmp_path)
    monkeypatch.setattr(code_dependencies, "LIBRARY", tmp_path / "pipeline")
    code_dependencies._imports.cache_clear()
    yield tmp_path
    code_dependencies._imports.cache_clear()


def found(library):
    return [path.as_posix() for path in code_dependencies.closure(library / "stages/go.py")]


def test_the_closure_of_imports_wherever_they_stand_but_for_types_and_infrastructure(library):
    assert found(library) == [
        "stages/go.py",
        "pipeline/far",
        "pipeline/near/one.py",
        "pipeline/pages",
        "pipeline/whole",
    ]


@pytest.mark.parametrize("name", ["stages/go.py", "pipeline/far/away.py", "pipeline/pages/templates/page.j2"])
def test_another_fingerprint_after_a_change_of_what_it_depends_on(library, name):
    before = code_dependencies.fingerprint(library / "stages/go.py")
    (library / name).write_text((library / name).read_text() + "\n# changed\n")
    code_dependencies._imports.cache_clear()
    assert code_dependencies.fingerprint(library / "stages/go.py") != before


@pytest.mark.parametrize(
    "name",
    [
        "pipeline/errors.py",
        "pipeline/near/two.py",
        "pipeline/typed/names.py",
        "pipeline/near/.one.py.swp",
        "pipeline/pages/templates/page.j2~",
        "pipeline/pages/__pycache__/html.pyc",
    ],
)
def test_the_same_fingerprint_after_a_change_of_anything_else(library, name):
    before = code_dependencies.fingerprint(library / "stages/go.py")
    (library / name).parent.mkdir(exist_ok=True)
    (library / name).write_text("# changed\n")
    code_dependencies._imports.cache_clear()
    assert code_dependencies.fingerprint(library / "stages/go.py") == before

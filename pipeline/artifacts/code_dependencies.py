"""Which source files a program's results depend on: what it imports of the library, wherever in it, and what that does.

Modules that carry data without changing them are left out, so that a better message or a faster reader makes no stage
run again.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pipeline
from pipeline.disk import files

LIBRARY = Path(pipeline.__file__).parent
ROOT = LIBRARY.parent

INFRASTRUCTURE = (
    "pipeline.cluster",
    "pipeline.errors",
    "pipeline.machine",
    "pipeline.disk.files",
    "pipeline.disk.provenance",
    "pipeline.disk.sealed",
    "pipeline.disk.sums",
    "pipeline.artifacts.catalog",
    "pipeline.artifacts.clip_targets",
    "pipeline.artifacts.code_dependencies",
    "pipeline.artifacts.figures",
    "pipeline.artifacts.manifest",
    "pipeline.artifacts.schema",
    "pipeline.artifacts.tables",
    "pipeline.artifacts.targets",
    "pipeline.artifacts.weights",
    "pipeline.artifacts.workspace",
    "pipeline.params",
    "pipeline.store",
)
"""Modules and packages that no result depends on: what they read is what was written, or they stop."""


def closure(program: Path) -> list[Path]:
    """The source files that a program depends on, relative to the project's root: itself, then the library's.

    A package of which every module is needed stands for all its files; so does one that holds more than modules, such
    as templates.
    """
    found: set[str] = set()
    waiting = list(_imports(program))
    while waiting:
        module = waiting.pop()
        if module in found or any(
            module == excluded or module.startswith(f"{excluded}.") for excluded in INFRASTRUCTURE
        ):
            continue
        found.add(module)
        waiting += _imports(_file(module))
    return [program.relative_to(ROOT), *(path.relative_to(ROOT) for path in _packed({_file(m) for m in found}))]


def fingerprint(program: Path) -> str:
    """32 hex digits that stand for the source of all that a program depends on."""
    return files.code(*(ROOT / path for path in closure(program)))


@cache
def _imports(path: Path) -> tuple[str, ...]:
    """Modules of the library that a file imports when it runs, with the packages that they lie in."""
    return tuple(dict.fromkeys(module for name in _named(path) for module in _known(name)))


def _named(path: Path) -> Iterator[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for_types = {id(node) for block in ast.walk(tree) if _is_for_types(block) for node in ast.walk(block)}
    for node in ast.walk(tree):
        if id(node) in for_types:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _is_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def _known(name: str) -> Iterator[str]:
    """The modules that importing a dotted name runs, the library itself left out."""
    parts = name.split(".")
    if parts[0] != LIBRARY.name:
        return
    for length in range(2, len(parts) + 1):
        module = ".".join(parts[:length])
        if (path := _file(module)).is_file() and not (path.name == "__init__.py" and _is_docstring_only(path)):
            yield module


def _is_docstring_only(path: Path) -> bool:
    """Whether a file is nothing but a docstring."""
    return all(isinstance(node, ast.Expr) for node in ast.parse(path.read_text(encoding="utf-8")).body)


def _file(module: str) -> Path:
    path = ROOT.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _packed(modules: set[Path]) -> list[Path]:
    """Folders for packages that are needed whole, and the other files."""
    packages = {path.parent for path in modules} - {LIBRARY}
    whole = {p for p in packages if modules >= set(_modules(p)) or any(map(_is_no_module, p.rglob("*")))}
    return sorted(whole | {path for path in modules if path.parent not in whole})


def _modules(package: Path) -> Iterator[Path]:
    return (path for path in package.rglob("*.py") if not (path.name == "__init__.py" and _is_docstring_only(path)))


def _is_no_module(path: Path) -> bool:
    return files.is_source(path) and path.suffix != ".py"

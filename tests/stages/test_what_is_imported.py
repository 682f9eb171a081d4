"""A stage starts quickly: of what takes seconds to import it imports what it uses, and nothing else."""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SLOW = {
    "cv2", "dvclive", "faiss", "matplotlib", "open_clip", "scipy", "sentence_transformers", "sklearn", "spacy", "timm",
    "torch", "torchvision", "transformers", "ultralytics", "webdataset",
}  # fmt: skip
TOWERS = {"torch", "torchvision", "open_clip", "timm"}
"""What it takes to build a CLIP; open_clip imports the others itself."""
USED = {
    "sample": set(),
    "models": {*TOWERS, "ultralytics", "matplotlib"},
    "teachers": TOWERS,
    "curate": {"cv2", "faiss", "matplotlib"},
    "regions": {"torch", "torchvision", "ultralytics"},
    "spans": set(),
    "features": TOWERS,
    "teacher": {"torch"},
    "targets": {"torch"},
    "concepts": {"torch", "faiss"},
    "student": {*TOWERS, "dvclive"},
    "embed": TOWERS,
    "index": {"faiss"},
    "probe": {"sklearn", "scipy"},
    "evaluate": {"matplotlib", "torch"},
}
"""By stage, wherever in the stage's own module it is imported: concepts and probe import less where they are off."""


def imported(statements: Iterator[ast.AST]) -> Iterator[str]:
    """The modules that import statements name, and what they take from them, which may be modules, too."""
    for node in statements:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (node.module, *(f"{node.module}.{alias.name}" for alias in node.names))


def source(module: str) -> Path | None:
    path = ROOT / module.replace(".", "/")
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)


def slow(stage: str) -> set[str]:
    """What a stage's module imports anywhere, and the project's modules below it as they are imported."""
    waiting, seen = list(imported(ast.walk(ast.parse((ROOT / f"stages/{stage}.py").read_text())))), set()
    while waiting:
        name = waiting.pop()
        parts = name.split(".")
        for module in (".".join(parts[:count]) for count in range(1, len(parts) + 1)):
            if module not in seen:
                seen.add(module)
                if file := source(module):
                    waiting += imported(ast.parse(file.read_text()).body)
    return seen & SLOW


@pytest.mark.parametrize("stage", USED)
def test_a_stage_imports_what_it_uses(stage):
    assert slow(stage) == USED[stage]


def test_every_stage_is_looked_at():
    programs = {path.stem for path in (ROOT / "stages").glob("*.py") if "    run(" in path.read_text()}
    assert programs == {*USED}


def loaded(program: str) -> set[str]:
    """Which of `SLOW`, and of what else the console need not have, is imported once a program has run."""
    found = subprocess.run(
        [sys.executable, "-c", f"{program}\nimport json, sys\nprint(json.dumps(list(sys.modules)))"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return {*json.loads(found.stdout.splitlines()[-1])} & {*SLOW, "numpy", "pyarrow", "pydantic", "PIL"}


def test_the_console_program_imports_what_reads_tables_before_a_command_is_known():
    assert loaded("import console.main") <= {"numpy", "pyarrow", "PIL"}


def test_what_the_feature_store_holds_is_shown_without_a_model():
    assert loaded("from console import cache\ncache.stats()") <= {"numpy", "pyarrow", "PIL"}


def test_torchs_compiler_is_not_imported_where_nothing_is_compiled():
    program = """
import sys, torch
from stages.program import arithmetic
arithmetic("cpu")
assert torch.are_deterministic_algorithms_enabled() and "torch._dynamo" not in sys.modules
"""
    assert loaded(program) >= {"torch"}


def test_ray_is_imported_where_a_cluster_is_asked_for_and_nowhere_else():
    sources = [path for folder in ("pipeline", "stages", "console") for path in (ROOT / folder).rglob("*.py")]
    parsed = {path: ast.parse(path.read_text()) for path in sources}
    anywhere = [path.name for path, tree in parsed.items() if "ray" in {*imported(ast.walk(tree))}]
    assert anywhere == ["connection.py"]
    assert not any("ray" in {*imported(tree.body)} for tree in parsed.values()), "only within a function"

"""Paths of artifacts stand in the catalog alone."""

import ast
from pathlib import Path

from pipeline.artifacts import catalog
from pipeline.artifacts.code_dependencies import ROOT
from pipeline.verification.tables import CHECKS

CATALOG = Path(catalog.__file__)


def literals(path):
    """The strings of a file that are no docstrings, with the lines they stand in."""
    tree = ast.parse(path.read_text())
    docs = {
        id(body[i].value)
        for node in ast.walk(tree)
        for body in [getattr(node, "body", None)]
        if isinstance(body, list)
        for i in range(len(body))
        if isinstance(body[i], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs:
            yield node.lineno, node.value


def test_no_path_of_an_artifact_stands_outside_the_catalog():
    paths = {artifact.path for artifact in catalog.ARTIFACTS} | {artifact.output for artifact in catalog.ARTIFACTS}
    files = {Path(path).name for path in paths if Path(path).suffix}
    files -= {"open_clip_config.json", "open_clip_model.safetensors", "metrics.json", "facts.json"}
    found = [
        f"{path.relative_to(ROOT)}:{line}: {text!r}"
        for folder in ("pipeline", "stages", "console")
        for path in sorted((ROOT / folder).rglob("*.py"))
        if path != CATALOG
        for line, text in literals(path)
        if text in files or any(part in text for part in paths) or any(f"/{name}" in text for name in files)
    ]
    assert not found, "\n".join(found)


def test_every_table_is_verified():
    tables = {artifact for artifact in catalog.ARTIFACTS if artifact.columns is not None}
    assert set(CHECKS) >= tables - {catalog.MANIFEST, catalog.REJECTED}


def test_the_maker_of_a_file_is_the_stage_of_the_artifact_or_of_the_nearest_folder():
    assert catalog.maker(Path("data/features/spans/tokens.arrow")) == "features"
    assert catalog.maker(Path("data/compare/dclip-0/student/notes.csv")) == "student"
    for stage in ("features", "targets"):
        assert catalog.maker(Path(f"data/{stage}/teachers/large/images.arrow")) == stage
    assert catalog.maker(Path("data/teachers/clips/large/open_clip_config.json")) == "teachers"
    assert catalog.maker(Path("elsewhere/table.arrow")) == "elsewhere"

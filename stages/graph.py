"""dvc.yaml, as it follows from what the stages declare; `dclip graph --write` writes it, a test holds it current."""

from collections.abc import Iterable, Iterator
from typing import Any

import yaml

from pipeline.artifacts import catalog, code_dependencies
from pipeline.artifacts.catalog import Artifact
from stages.declaration import Stage, declared

HEADER = """\
# The whole way, one stage a step; `dvc dag` draws it. Every stage is stages/<name>.py and writes data/<name>/.
# Written by `dclip graph --write` from what the stages declare (stages/<name>.py) and import
# (pipeline/artifacts/code_dependencies.py); change it there.
"""
_RECALLS = ("val_text_to_image_recall@1", "val_image_to_text_recall@1")
PLOTS: dict[str, dict[str, Any]] = {
    "recall@K, base and student": {
        "template": "bar_horizontal",
        "y": {f"data/{catalog.RECALL.path}": "model"},
        "x": {f"data/{catalog.RECALL.path}": "recall"},
    },
    "from base to student on validation": {
        "x": "alpha",
        "y": {f"data/{catalog.INTERPOLATION.path}": [*_RECALLS, "val_zeroshot_top1", "val_zeroshot_unseen_top1"]},
    },
    "teacher alone on validation": {"x": "epoch", "y": {f"data/{catalog.TEACHER_HISTORY.path}": [*_RECALLS]}},
    "teachers trained here": {"x": "epoch", "y": {f"data/{catalog.TEACHERS_HISTORY.path}": "loss"}},
    "base pretraining": {"x": "epoch", "y": {f"data/{catalog.PRETRAINING.path}": "loss"}},
}
"""What `dvc plots show` draws of several columns, by title."""


def text() -> str:
    """dvc.yaml: every stage after those that it reads from."""
    content: dict[str, Any] = {
        "vars": ["params.yaml"],
        "stages": {stage.name: _wrapped(stage) for stage in declared().values()},
        "plots": [{title: plot} for title, plot in PLOTS.items()],
    }
    return HEADER + yaml.dump(content, sort_keys=False, default_flow_style=None, allow_unicode=True, width=120)


def _wrapped(stage: Stage) -> dict[str, Any]:
    return {"foreach": f"${{{stage.for_each}}}", "do": _entry(stage)} if stage.for_each else _entry(stage)


def _entry(stage: Stage) -> dict[str, Any]:
    written = {role: [a for a in stage.writes if a.role == role] for role in ("output", "metrics", "plot")}
    entry = {
        "desc": stage.description,
        "cmd": f"python -m stages.{stage.name}",
        "deps": [
            *(path.as_posix() for path in code_dependencies.closure(stage.program)),
            *_paths(_read(stage)),
            *(f"${{{name}}}" for name in stage.folders),
        ],
        "params": list(stage.takes),
        "outs": _paths([*written["output"], catalog.sums(stage.name)]),
        "metrics": _paths([catalog.summary(stage.name), *written["metrics"]]),
        "plots": [{f"data/{a.path}": {"x": a.x}} if a.x else f"data/{a.path}" for a in written["plot"]],
    }
    return {name: value for name, value in entry.items() if value}


def _read(stage: Stage) -> Iterator[Artifact]:
    """What a stage reads, with the hashes of small files, by which it checks them."""
    yield from stage.reads
    yield from (catalog.sums(name) for name in dict.fromkeys(a.stage for a in stage.reads if a.is_small))


def _paths(artifacts: Iterable[Artifact]) -> list[str]:
    return list(dict.fromkeys(f"data/{artifact.output}" for artifact in artifacts))

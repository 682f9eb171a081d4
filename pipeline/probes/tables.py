"""Figures of every attribute, word and concept, as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.artifacts.catalog import PROBED_ATTRIBUTES, PROBED_CONCEPTS, PROBED_WORDS, Artifact
from pipeline.artifacts.workspace import Workspace
from pipeline.disk import files
from pipeline.probes.attributes import measurable

if TYPE_CHECKING:
    from pipeline.probes.measure import Found, Task

ATTRIBUTES = ("attribute", "group", "pictures", "base", "student")
WORDS = ("word", "captions", "base", "student", "language")
CONCEPTS = ("concept", "captions", "base", "student")
_COLUMNS = {PROBED_ATTRIBUTES: ATTRIBUTES, PROBED_WORDS: WORDS, PROBED_CONCEPTS: CONCEPTS}


def write(folder: Path, found: Mapping[str, Found], task: Task) -> None:
    """Write attributes.csv, words.csv and concepts.csv.

    `images` and `captions` count those of the test data that have the attribute, word or concept. The figures are
    areas under the ROC curve; of a concept the share of its captions whose image falls into it.
    """
    data = task.attributes
    chosen = measurable(data)
    counts = data.labels[~data.training].sum(axis=0)
    areas = [_all(found[model].attributes) for model in ("base", "student")]
    rows = [[data.names[j], data.groups[j], int(counts[j]), *_figures(areas, i)] for i, j in enumerate(chosen)]
    _write(folder / PROBED_ATTRIBUTES.name, ATTRIBUTES, rows)
    of_words = [_all(found[model].words) for model in ("base", "student", "language") if model in found]
    nothing = [""] * (len(WORDS) - 2 - len(of_words))
    captions = task.words.test.sum(axis=0)
    rows = [[word, int(captions[i]), *_figures(of_words, i), *nothing] for i, word in enumerate(task.words.names)]
    _write(folder / PROBED_WORDS.name, WORDS, rows)
    rows = []
    if task.labels is not None:
        agree = [found[model].parts["concepts"]["image"] for model in ("base", "student")]
        for k in np.unique(task.labels.captions):
            own = task.labels.captions == k
            rows.append([int(k), int(own.sum()), *(f"{hits[own].mean():.4f}" for hits in agree)])
    _write(folder / PROBED_CONCEPTS.name, CONCEPTS, rows)


def write_empty(folder: Path) -> None:
    """The three tables without a row."""
    for artifact, columns in _COLUMNS.items():
        _write(folder / artifact.name, columns, ())


def read(ws: Workspace, artifact: Artifact) -> list[dict[str, str]]:
    """The rows of one of the tables.

    Raises:
        Damaged: as `figures.read`.
    """
    return ws.rows(artifact, *_COLUMNS[artifact])


def _all(values: np.ndarray | None) -> np.ndarray:
    assert values is not None, "a CLIP model has all figures"
    return values


def _figures(models: list[np.ndarray], i: int) -> list[str]:
    return [f"{values[i]:.4f}" for values in models]


def _write(path: Path, columns: tuple[str, ...], rows: Iterable[list[Any]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    files.write_text(path, text.getvalue())

"""The frozen teachers as they are: what a better base would give without any training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pipeline.artifacts import catalog
from pipeline.artifacts.manifest import Manifest
from pipeline.artifacts.workspace import Workspace
from pipeline.evaluation.comparison import DIRECTIONS, Embedded, PerQuery, query_images, summary, zeroshot_summary
from pipeline.retrieval.bootstrap import paired_interval
from pipeline.retrieval.metrics import evaluate
from pipeline.zeroshot import embedded
from pipeline.zeroshot.sets import ZeroshotSet

_STAGE = catalog.TEACHER_CLIPS.stage


@dataclass(frozen=True)
class FrozenTeacher:
    """One of `teachers` on some data, read from its tables; nothing is embedded.

    Attributes:
        dimension: of its embeddings.
        image_size: pixels of its input.
        pairs: images and captions under it.
        class_images: zero-shot images, float32 [n, d].
        class_weights: float32 [classes, d].
    """

    dimension: int
    image_size: int
    pairs: Embedded
    class_images: Tensor
    class_weights: Tensor


def read(ws: Workspace, manifest: Manifest, zeroshot_path: Path, classes: ZeroshotSet) -> dict[str, FrozenTeacher]:
    """All of `teachers` by name, on the data of a manifest and on a split of the zero-shot set at `zeroshot_path`.

    Raises:
        Damaged: the stage `teachers` has not run.
        ContractError: a table is missing, or is of other weights than the teacher's.
    """
    found = {}
    for name, about in ws.summary(_STAGE).items():
        tables, given = catalog.tables_of(name).zeroshot, pairs(ws, name, manifest)
        shown = embedded.read(ws, tables, zeroshot_path, classes, weights=about["weights"])
        found[name] = FrozenTeacher(about["dimension"], about["image_size"], given, *shown)
    return found


def pairs(ws: Workspace, name: str, manifest: Manifest) -> Embedded:
    """The images and captions of a manifest under one of them.

    Raises:
        ContractError: a table is missing, or is of other weights than the teacher's.
    """
    tables, weights = catalog.tables_of(name), ws.summary(_STAGE)[name]["weights"]
    images, captions = (
        ws.table(table, manifest, weights=weights).rows_of(manifest.keys) for table in (tables.images, tables.captions)
    )
    return Embedded.from_halves(images, captions)


def figures(
    teacher: FrozenTeacher,
    student: PerQuery,
    owner: NDArray[np.int64],
    classes: ZeroshotSet,
    *,
    samples: int,
    seed: int,
) -> dict[str, Any]:
    """What metrics.json says of a teacher.

    Args:
        student: figures of every query under the student, of the same data.
        owner: int64 [captions], the image of each caption.
        samples: bootstrap samples over images.

    Returns:
        `dimension`, `image_size`, what `summary` and `zeroshot_summary` of `comparison` have, and under `difference`
        what the student has more of recall@1, by direction, with its paired interval.
    """
    found = evaluate(teacher.pairs.images, teacher.pairs.captions, owner)
    leads = {
        way: paired_interval(
            found[way]["recall@1"], student[way]["recall@1"], query_images(way, owner), samples=samples, seed=seed
        )
        for way in DIRECTIONS
    }
    return {
        "dimension": teacher.dimension,
        "image_size": teacher.image_size,
        **summary(found),
        **zeroshot_summary(teacher.class_images, teacher.class_weights, classes),
        "difference": {way: {"recall@1": lead} for way, lead in leads.items()},
    }


def validation(ws: Workspace, name: str, manifest: Manifest) -> dict[str, float]:
    """A teacher's recall@1 both ways on validation data, named as a student's is: `val_text_to_image_recall@1`."""
    given = pairs(ws, name, manifest)
    found = evaluate(given.images, given.captions, manifest.owner)
    return {f"val_{way}_recall@1": float(found[way]["recall@1"].mean()) for way in DIRECTIONS}

"""Several students on the same test data: mean, spread over seeds, intervals, and which of them nothing beats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.artifacts.catalog import BASE_CLIP, ZEROSHOT_EMBEDDINGS
from pipeline.artifacts.schema import Split
from pipeline.artifacts.workspace import Workspace
from pipeline.clip import towers
from pipeline.clip.encode import Compute
from pipeline.distillation import pixels
from pipeline.errors import InputError
from pipeline.evaluation import embeddings
from pipeline.evaluation.comparison import DIRECTIONS, Embedded
from pipeline.retrieval.bootstrap import paired_interval
from pipeline.retrieval.metrics import evaluate
from pipeline.zeroshot import accuracy, classifier, embedded, sets
from pipeline.zeroshot.sets import ZeroshotSet

PARTS = {"zeroshot": True, "zeroshot_unseen": False}
"""Parts of the zero-shot set, and whether their classes are seen in the corpora."""

Hits = dict[str, list[float]]
"""For each direction recall@1 of every query."""


@dataclass(frozen=True)
class Measured:
    """One model on the test data.

    Attributes:
        hits: for each direction recall@1 of every query, 0 or 1.
        top1: zero-shot accuracy of every part that has classes.
    """

    hits: Hits
    top1: dict[str, float]


class TestData:
    """Test images, captions and zero-shot images, decoded once for all students, and the base's figures on them.

    Args:
        ws: the folder with a folder for every stage.
        home: where decoded images are kept.
        zeroshot_path: the zero-shot set.
        compute: how towers run.
    """

    __test__ = False  # no test class, whatever its name

    def __init__(self, ws: Workspace, home: Path, zeroshot_path: Path, compute: Compute) -> None:
        base = towers.load(ws.path(BASE_CLIP), compute.device)
        self.compute = compute
        self._preprocessing = base.image_size, base.config["preprocess_cfg"]
        self.manifest = ws.manifest(Split.TEST)
        self.owner = self.manifest.owner
        self.captions = ws.captions(self.manifest, weights=base.weights)
        self.classes: ZeroshotSet = sets.read(zeroshot_path, Split.TEST)
        self.pixels = pixels.cached(base, self.manifest, home / "pixels")
        self.class_pixels = classifier.pixels(base, self.classes, compute.workers)
        of_classes = embedded.read(ws, ZEROSHOT_EMBEDDINGS, zeroshot_path, self.classes, weights=base.weights)
        self.class_weights = of_classes[1]
        of_base = Embedded.of(ws.images(self.manifest, weights=base.weights), self.captions)
        self.base = self._figures(of_base, *of_classes)

    def measure(self, folder: Path, *, train_text: bool) -> Measured:
        """A student, from its open_clip local directory.

        Args:
            folder: the directory.
            train_text: whether its text tower is its own.

        Raises:
            InputError: its image tower reads images otherwise than the base's does.
        """
        clip = towers.load(folder, self.compute.device)
        if (clip.image_size, clip.config["preprocess_cfg"]) != self._preprocessing:
            raise InputError(
                f"{folder} reads images as {clip.image_size} pixels, {clip.config['preprocess_cfg']}, the base as "
                f"{self._preprocessing}; students are compared on the same pixels: set student.init to base"
            )
        captions, weights = self.captions, self.class_weights
        if train_text:
            captions = embeddings.texts(clip, self.manifest.texts, self.compute)
            prompts = embeddings.texts(clip, accuracy.prompts(self.classes), self.compute)
            weights = accuracy.average(torch.from_numpy(prompts).float(), self.classes)
        of_test = Embedded.of(embeddings.images(clip, self.pixels, self.compute), captions)
        of_classes = embeddings.images(clip, self.class_pixels, self.compute)
        return self._figures(of_test, torch.from_numpy(of_classes).float(), weights)

    def query_images(self, way: str) -> NDArray[np.int64]:
        """The image of every query of a direction, int64 [queries]."""
        return self.owner if way == "text_to_image" else np.arange(len(self.manifest))

    def _figures(self, of_test: Embedded, class_images: Tensor, weights: Tensor) -> Measured:
        found = evaluate(of_test.images, of_test.captions, self.owner)
        accuracies = {part: accuracy.accuracy(class_images, weights, self.classes, seen=s) for part, s in PARTS.items()}
        return Measured(
            {way: found[way]["recall@1"].tolist() for way in DIRECTIONS},
            {part: figures["top1"] for part, figures in accuracies.items() if figures},
        )


def retained(measured: Measured, base: Measured) -> dict[str, float]:
    """Share of the base's zero-shot accuracy that is kept, of every part."""
    return {part: measured.top1[part] / value for part, value in base.top1.items() if value > 0}


def _hits(runs: Sequence[Measured], way: str) -> NDArray[np.float64]:
    """Recall@1 of every run and query, [runs, queries]."""
    return np.array([run.hits[way] for run in runs], dtype=np.float64)


def compare(
    runs: Mapping[str, Sequence[Measured]], test: TestData, against: str, *, samples: int, seed: int
) -> list[dict[str, Any]]:
    """One row a recipe.

    Args:
        runs: for each recipe its runs, one a seed.
        test: what they were measured on.
        against: the recipe that every other one is compared with.
        samples: bootstrap samples.
        seed: of the bootstrap.

    Returns:
        for each recipe: for each direction recall@1 `mean` and `spread` (standard deviation over seeds), the
        `difference` to the base, and what `against` has more (`lead`), both with a 95 % paired bootstrap interval over
        images and seeds; `retained` of every part, mean and spread; `front`, whether no other recipe both retrieves and
        retains at least as well, and one of them better (means).
    """
    rows = []
    for recipe, of_recipe in runs.items():
        row: dict[str, Any] = {"recipe": recipe, "seeds": len(of_recipe)}
        for way in DIRECTIONS:
            recalls = [float(np.mean(run.hits[way])) for run in of_recipe]
            own, base = _hits(of_recipe, way), np.asarray(test.base.hits[way])
            image = test.query_images(way)
            row[way] = {
                **_spread(recalls),
                "difference": paired_interval(base, own, image, samples=samples, seed=seed),
                "lead": paired_interval(own, _hits(runs[against], way), image, samples=samples, seed=seed),
            }
        kept = [retained(run, test.base) for run in of_recipe]
        row["retained"] = {part: _spread([share[part] for share in kept]) for part in kept[0]}
        rows.append(row)
    points = [_point(row) for row in rows]
    for row, point in zip(rows, points, strict=True):
        row["front"] = not any(other != point and all(o >= p for o, p in zip(other, point, strict=True))
                               for other in points)  # fmt: skip
    return rows


def _point(row: dict[str, Any]) -> tuple[float, float]:
    """What the front is of: text-to-image recall@1, and the smaller of the shares retained."""
    return row["text_to_image"]["mean"], min((share["mean"] for share in row["retained"].values()), default=1.0)


def means(of_runs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The mean over runs of every figure that all of them have."""
    shared = [name for name in of_runs[0] if all(name in run for run in of_runs)]
    return {name: float(np.mean([run[name] for run in of_runs])) for name in shared}


def _spread(values: Sequence[float]) -> dict[str, Any]:
    return {
        "mean": float(np.mean(values)), "spread": float(np.std(values, ddof=1)) if len(values) > 1 else 0.0,
        "values": list(values),
    }  # fmt: skip

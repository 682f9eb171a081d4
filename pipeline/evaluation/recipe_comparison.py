"""Several students on the same test data: mean, spread over seeds, intervals, and which of them nothing beats."""

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
from pipeline.distillation.class_images import ClassImages
from pipeline.errors import InputError
from pipeline.evaluation import embeddings, frozen_teachers
from pipeline.evaluation.comparison import DIRECTIONS, Embedded, query_images, zeroshot_summary
from pipeline.retrieval.bootstrap import paired_interval
from pipeline.retrieval.metrics import evaluate
from pipeline.zeroshot import accuracy, embedded, sets
from pipeline.zeroshot.sets import ZeroshotSet

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
    """Test images, captions and zero-shot images, decoded once for all students, and figures of base and teachers.

    Args:
        home: where decoded images are kept.

    Attributes:
        base: the base's figures.
        teachers: of every frozen teacher as it is, by name.
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
        shown = ClassImages(self.classes.paths, compute.workers)
        self.class_pixels = pixels.cached(base, shown, home / "pixels", compute.workers)
        base_classes = embedded.read(ws, ZEROSHOT_EMBEDDINGS, zeroshot_path, self.classes, weights=base.weights)
        self.class_weights = base_classes[1]
        base_pairs = Embedded.from_halves(ws.images(self.manifest, weights=base.weights), self.captions)
        self.base = self._figures(base_pairs, *base_classes)
        self.teachers = {
            name: self._figures(teacher.pairs, teacher.class_images, teacher.class_weights)
            for name, teacher in frozen_teachers.read(ws, self.manifest, zeroshot_path, self.classes).items()
        }

    def measure(self, folder: Path, *, train_text: bool) -> Measured:
        """A student, from its open_clip local directory.

        Args:
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
        pairs = Embedded.from_halves(embeddings.images(clip, self.pixels, self.compute), captions)
        class_images = embeddings.images(clip, self.class_pixels, self.compute)
        return self._figures(pairs, torch.from_numpy(class_images).float(), weights)

    def _figures(self, pairs: Embedded, class_images: Tensor, weights: Tensor) -> Measured:
        found = evaluate(pairs.images, pairs.captions, self.owner)
        accuracies = zeroshot_summary(class_images, weights, self.classes)
        return Measured(
            {direction: found[direction]["recall@1"].tolist() for direction in DIRECTIONS},
            {part: figures["top1"] for part, figures in accuracies.items()},
        )


def retained(measured: Measured, base: Measured) -> dict[str, float]:
    """Share of the base's zero-shot accuracy that is kept, of every part."""
    return {part: measured.top1[part] / value for part, value in base.top1.items() if value > 0}


def _hits(runs: Sequence[Measured], direction: str) -> NDArray[np.float64]:
    """Recall@1 of every run and query, [runs, queries]."""
    return np.array([run.hits[direction] for run in runs], dtype=np.float64)


def compare(
    runs: Mapping[str, Sequence[Measured]], test: TestData, against: str, *, samples: int, seed: int
) -> list[dict[str, Any]]:
    """One row a recipe.

    Args:
        runs: for each recipe its runs, one a seed.
        against: the recipe that every other one is compared with.

    Returns:
        for each recipe: for each direction recall@1 `mean` and `spread` (standard deviation over seeds), the
        `difference` to the base, and what `against` has more (`lead`), both with a 95 % paired bootstrap interval over
        images and seeds; `retained` of every part, mean and spread; `front`, whether no other recipe both retrieves and
        retains at least as well, and one of them better (means).
    """
    drawn = {"samples": samples, "seed": seed}
    rows = [
        {"recipe": recipe, "seeds": len(recipe_runs), **_figures(recipe_runs, runs[against], test, **drawn)}
        for recipe, recipe_runs in runs.items()
    ]
    points = [_point(row) for row in rows]
    for row, point in zip(rows, points, strict=True):
        beaten = (other != point and all(o >= p for o, p in zip(other, point, strict=True)) for other in points)
        row["front"] = not any(beaten)
    return rows


def as_they_are(
    runs: Mapping[str, Sequence[Measured]], test: TestData, against: str, *, samples: int, seed: int
) -> list[dict[str, Any]]:
    """One row a frozen teacher: its name under `teacher`, and the figures of `compare`, as of one run.

    It has no place on the front: a larger model costs more to ask, and no recipe has made it.
    """
    drawn = {"samples": samples, "seed": seed}
    return [
        {"teacher": name, **_figures([measured], runs[against], test, **drawn)}
        for name, measured in test.teachers.items()
    ]


def _figures(
    own: Sequence[Measured], against: Sequence[Measured], test: TestData, *, samples: int, seed: int
) -> dict[str, Any]:
    """A row's figures of both directions, and what is `retained`."""
    row: dict[str, Any] = {}
    for direction in DIRECTIONS:
        recalls = [float(np.mean(run.hits[direction])) for run in own]
        hits, base = _hits(own, direction), np.asarray(test.base.hits[direction])
        image = query_images(direction, test.owner)
        row[direction] = {
            **_spread(recalls),
            "difference": paired_interval(base, hits, image, samples=samples, seed=seed),
            "lead": paired_interval(hits, _hits(against, direction), image, samples=samples, seed=seed),
        }
    kept = [retained(run, test.base) for run in own]
    return row | {"retained": {part: _spread([share[part] for share in kept]) for part in kept[0]}}


def _point(row: dict[str, Any]) -> tuple[float, float]:
    """What the front is of: text-to-image recall@1, and the smaller of the shares retained."""
    return row["text_to_image"]["mean"], min((share["mean"] for share in row["retained"].values()), default=1.0)


def means(runs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The mean over runs of every figure that all of them have."""
    shared = [name for name in runs[0] if all(name in run for run in runs)]
    return {name: float(np.mean([run[name] for run in runs])) for name in shared}


def _spread(values: Sequence[float]) -> dict[str, Any]:
    spread = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    return {"mean": float(np.mean(values)), "spread": spread, "values": list(values)}

"""Test captions worth looking at: what base and student find for them, image by image."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.artifacts.manifest import Manifest
from pipeline.artifacts.tables import Table, offsets
from pipeline.evaluation.comparison import Comparison, Embedded

TOP = 4
"""Images shown for a query, of each model."""


@dataclass(frozen=True)
class Found:
    """An image that a model finds for a caption: its key and similarity."""

    key: str
    similarity: float


@dataclass(frozen=True)
class Example:
    """A test caption and the key of its image.

    Attributes:
        key: of the right image.
        ranks: of the right image, by model.
        found: what each model finds first, the most similar first.
    """

    caption: str
    key: str
    ranks: dict[str, int]
    found: dict[str, list[Found]]

    @property
    def keys(self) -> set[str]:
        """The keys of all images that are shown."""
        return {self.key} | {one.key for results in self.found.values() for one in results}


def choose(
    result: Comparison, models: Mapping[str, Embedded], manifest: Manifest, count: int
) -> dict[str, list[Example]]:
    """Captions that the student won and lost by most ranks against the base, and its worst failures.

    At most one caption an image in each list, so that one image does not fill it.

    Args:
        models: embeddings of the test split of `base` and `student`.
    """
    captions = [(manifest.keys[i], text) for i, text in zip(manifest.owner, manifest.texts, strict=True)]
    before, after = (result.ranks[model]["text_to_image"] for model in ("base", "student"))
    gain = np.log(before) - np.log(after)

    def first(model: Embedded, row: int) -> list[Found]:
        similarity = model.images @ model.captions[row]
        best = np.argsort(-similarity, kind="stable")[:TOP]
        return [Found(manifest.keys[i], float(similarity[i])) for i in best]

    def example(row: int) -> Example:
        key, text = captions[row]
        ranks = {"base": int(before[row]), "student": int(after[row])}
        return Example(text, key, ranks, {name: first(model, row) for name, model in models.items()})

    def take(order: np.ndarray, wanted: np.ndarray) -> list[Example]:
        rows: dict[str, int] = {}
        for row in order:
            if wanted[row] and len(rows) < count:
                rows.setdefault(captions[row][0], int(row))
        return [example(row) for row in rows.values()]

    return {
        "won": take(np.argsort(-gain, kind="stable"), (gain > 0) & (after == 1)),
        "lost": take(np.argsort(gain, kind="stable"), gain < 0),
        "worst": take(np.argsort(-after, kind="stable"), after > 1),
    }


def boxes(regions: Table, keys: set[str], order: list[str]) -> dict[str, list[dict[str, Any]]]:
    """Boxes of some images in per cent of their sides, region 0 left out."""
    start = offsets(regions.strings("key"), order, str(regions.path))
    found: dict[str, list[dict[str, Any]]] = {}
    for i, key in enumerate(order):
        if key in keys:
            part = regions.columns.slice(int(start[i]), int(start[i + 1] - start[i])).select(
                ["region_index", "box", "score", "class_name"]
            )
            found[key] = [_placed(region) for region in part.to_pylist() if region["region_index"] > 0]
    return found


def _placed(region: dict[str, Any]) -> dict[str, Any]:
    left, top, right, bottom = region["box"]
    sides = {"left": 100 * left, "top": 100 * top, "width": 100 * (right - left), "height": 100 * (bottom - top)}
    return sides | {"label": f"{region['class_name']} {region['score']:.2f}"}

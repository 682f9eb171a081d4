"""What the sample world's corpora may have beside captions: side files, and images that nobody has described.

Off by default. A rewrite says what its caption says, in words that the base knows; a negative says what a scene shows
that differs from the image's in one thing, and some have its image; boxes are where things are.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.disk import files
from pipeline.sample_world import captions
from pipeline.sample_world.items import STREAMS, Item
from pipeline.sample_world.rendering import DrawnImage, render
from pipeline.sample_world.scenes import Scene, random_scene, sibling
from pipeline.sample_world.vocabulary import SEEN_COLOURS, SEEN_SHAPES
from pipeline.sources import mscoco

REWRITES = 2
"""Of every caption."""
SILENT = 0.02
"""Share of rewrites that say nothing, as a language model's sometimes do."""
WITH_IMAGE = 20
"""Every so many a negative has an image."""
_FIRST = 900_000_000
"""The first id of images without captions."""


def write(folder: Path, source: str, items: list[Item], seed: int, workers: int) -> None:
    """Write rewrites.jsonl, negatives.jsonl, boxes.jsonl and negatives/ into a corpus's folder."""
    rng = np.random.default_rng([seed, STREAMS[source], 6])
    rewrites: list[dict[str, Any]] = []
    negatives: list[dict[str, Any]] = []
    boxes: list[dict[str, Any]] = []
    drawn: dict[str, DrawnImage] = {}
    for i, item in enumerate(items):
        told = [_rewritten(rng, text) for text in item.captions for _ in range(REWRITES)]
        rewrites.append({"key": item.key, "rewrites": ["ok" if rng.random() < SILENT else text for text in told]})
        other = _other(rng, item.scene)
        negative: dict[str, Any] = {"key": item.key, "negatives": captions.detailed(rng, other)[:1]}
        if i % WITH_IMAGE == 0:
            negative["image"] = f"negatives/{item.source_id}.jpg"
            drawn[negative["image"]] = DrawnImage(other)
        negatives.append(negative)
        named = [captions.name(thing, size=True, texture=True) for thing in item.scene.things]
        corners = ([round(v, 2) for v in box] for box in item.boxes)
        found = [{"box": box, "phrase": phrase} for box, phrase in zip(corners, named, strict=True)]
        boxes.append({"key": item.key, "boxes": found})
    for name, rows in (("rewrites", rewrites), ("negatives", negatives), ("boxes", boxes)):
        files.write_text(folder / f"{name}.jsonl", "".join(_lines(rows)))
    _write_images(folder, drawn, f"{source} negatives", workers)


def write_uncaptioned(folder: Path, count: int, seed: int, workers: int) -> None:
    """Write images without captions into MSCOCO's folder, as its unlabeled2017 has them."""
    rng, name = np.random.default_rng([seed, STREAMS[mscoco.SOURCE], 7]), "unlabeled2017"
    ids = range(_FIRST, _FIRST + count)
    scenes = {f"{name}/{i:012d}.jpg": DrawnImage(random_scene(rng, SEEN_SHAPES, SEEN_COLOURS)) for i in ids}
    images = [{"id": i, "file_name": f"{i:012d}.jpg"} for i in ids]
    files.write_json(folder / f"annotations/captions_{name}.json", {"images": images, "annotations": []})
    _write_images(folder, scenes, name, workers)


def _write_images(folder: Path, drawn: dict[str, DrawnImage], what: str, workers: int) -> None:
    for name, data in zip(drawn, render(list(drawn.values()), what, workers), strict=True):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


def _lines(rows: Iterable[dict[str, Any]]) -> Iterator[str]:
    return (json.dumps(row) + "\n" for row in rows)


def _rewritten(rng: np.random.Generator, caption: str) -> str:
    """The caption with another opening, its background first or its parts around "and" exchanged, where it has some."""
    openings = [opening for opening in captions.OPENINGS if opening]
    said = next((caption.removeprefix(o) for o in openings if caption.startswith(o)), caption)
    things, on, background = said.rpartition(" on ")
    parts = (things or said).split(" and ")
    if len(parts) > 1 and " with " not in said and "," not in said:
        parts = parts[::-1]
    told = " and ".join(parts)
    opening = openings[int(rng.integers(len(openings)))]
    if on and rng.random() < 0.5:
        return f"on {background} {opening}{told}"
    return f"{opening}{told}{on}{background if on else ''}"


def _other(rng: np.random.Generator, scene: Scene) -> Scene:
    """A scene that differs in a colour, a texture or a shape."""
    while True:
        found = sibling(rng, scene, SEEN_SHAPES, SEEN_COLOURS)
        if _things(found) != _things(scene):
            return found


def _things(scene: Scene) -> list[tuple[str, str, str]]:
    return sorted((thing.colour, thing.texture, thing.shape) for thing in scene.things)

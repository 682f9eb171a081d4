"""What the sample's own models are made from, and the zero-shot classes: scenes that no corpus holds."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pipeline.artifacts import shards
from pipeline.disk import files
from pipeline.sample_world import captions
from pipeline.sample_world.rendering import DrawnImage, render
from pipeline.sample_world.scenes import SIDE, Scene, portrait, random_scene
from pipeline.sample_world.vocabulary import COLOURS, SHAPES, is_seen

PORTRAITS = 0.8
"""Share of the base's images that show one thing alone."""
TEMPLATES = ("a {}", "a picture of a {}", "there is a {}", "we see a {}")


def build_base(out: Path, *, pairs: int, seed: int, workers: int) -> None:
    """Write the base's images with one generic caption each, and their boxes, as shards.

    All shapes and colours occur. A record holds `captions` (one) and `boxes` ([x0, y0, x1, y1] in 0..1).
    """
    rng = np.random.default_rng([seed, 1])
    colours = tuple(COLOURS)
    scenes: list[Scene] = []
    for _ in range(pairs):
        if rng.random() < PORTRAITS:
            scenes.append(
                portrait(rng, SHAPES[int(rng.integers(len(SHAPES)))], colours[int(rng.integers(len(colours)))])
            )
        else:
            scenes.append(random_scene(rng, SHAPES, colours))
    texts = [captions.generic(rng, scene) for scene in scenes]
    images = render([DrawnImage(s) for s in scenes], "base pictures", workers)
    boxes = ([[round(v / SIDE, 5) for v in thing.box] for thing in scene.things] for scene in scenes)
    records = (
        shards.record(f"base-{i:06d}", "jpg", data, captions=[text], boxes=image_boxes)
        for i, (image_boxes, text, data) in enumerate(zip(boxes, texts, images, strict=True))
    )
    shards.write(out, records, per_shard=1000)


def build_zeroshot(out: Path, *, per_class: dict[str, int], seed: int, workers: int) -> None:
    """Write the zero-shot classes, every colour of every shape, as `out`/<split>/<class>/NNN.jpg and classes.json.

    `per_class` is the number of images of each class by split (val, test).
    """
    rng = np.random.default_rng([seed, 5])
    classes = [(colour, shape) for shape in SHAPES for colour in COLOURS]
    places: list[Path] = []
    images: list[DrawnImage] = []
    for split, count in per_class.items():
        for colour, shape in classes:
            folder = out / split / f"{colour}_{shape}"
            folder.mkdir(parents=True)
            for i in range(count):
                places.append(folder / f"{i:03d}.jpg")
                images.append(DrawnImage(portrait(rng, shape, colour)))
    for place, data in zip(places, render(images, "zero-shot pictures", workers), strict=True):
        place.write_bytes(data)
    described = [{"folder": f"{c}_{s}", "name": f"{c} {s}", "seen": is_seen(c, s)} for c, s in classes]
    files.write_json(out / "classes.json", {"templates": list(TEMPLATES), "classes": described})

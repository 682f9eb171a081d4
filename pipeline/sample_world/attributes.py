"""Images of the sample world with all that can be said of them, in the layout of CUB-200-2011."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pipeline.disk import files
from pipeline.sample_world.rendering import DrawnImage, render
from pipeline.sample_world.scenes import Scene, random_scene, relation
from pipeline.sample_world.vocabulary import BACKGROUNDS, SEEN_COLOURS, SEEN_SHAPES, SIZES, TEXTURES

NAMES = [
    *(f"has_colour::{colour}" for colour in SEEN_COLOURS),
    *(f"has_shape::{shape}" for shape in SEEN_SHAPES),
    *(f"has_texture::{texture}" for texture in TEXTURES),
    *(f"has_background::{background}" for background in BACKGROUNDS),
    *(f"has_coloured_shape::{colour}_{shape}" for colour in SEEN_COLOURS for shape in SEEN_SHAPES),
    *(f"has_sized_shape::{size}_{shape}" for size in SIZES for shape in SEEN_SHAPES),
    *(f"has_relation::{shape}_{side}_another" for shape in SEEN_SHAPES for side in ("left_of", "above")),
]
"""Single words; which colour or size goes with which shape; how a shape stands to another thing."""


def attributes(scene: Scene) -> set[str]:
    """The names of all that a scene has."""
    found = {f"has_background::{scene.background}"}
    for thing in scene.things:
        found |= {f"has_colour::{thing.colour}", f"has_shape::{thing.shape}", f"has_texture::{thing.texture}"}
        found |= {f"has_coloured_shape::{thing.colour}_{thing.shape}", f"has_sized_shape::{thing.size}_{thing.shape}"}
        for other in scene.things:
            if other is not thing and (side := relation(thing, other)) in ("left of", "above"):
                found.add(f"has_relation::{thing.shape}_{side.replace(' ', '_')}_another")
    return found


def build(out: Path, *, train: int, test: int, seed: int, workers: int) -> None:
    """Write images that no corpus holds, of what the corpora show, with their attributes.

    `out` becomes a folder as CUB_200_2011 is, with `train` images to train a probe on and `test` to measure it on.
    """
    rng = np.random.default_rng([seed, 6])
    scenes = [random_scene(rng, SEEN_SHAPES, SEEN_COLOURS) for _ in range(train + test)]
    (out / "images").mkdir(parents=True)
    for i, data in enumerate(render([DrawnImage(scene) for scene in scenes], "attribute pictures", workers), 1):
        (out / f"images/{i:05d}.jpg").write_bytes(data)
    numbers = range(1, len(scenes) + 1)
    files.write_text(out / "images.txt", "".join(f"{i} {i:05d}.jpg\n" for i in numbers))
    files.write_text(out / "train_test_split.txt", "".join(f"{i} {int(i <= train)}\n" for i in numbers))
    files.write_text(out / "attributes/attributes.txt", "".join(f"{i} {name}\n" for i, name in enumerate(NAMES, 1)))
    labels = [
        f"{i} {j} {int(name in present)} 4 0\n"
        for i, present in zip(numbers, map(attributes, scenes), strict=True)
        for j, name in enumerate(NAMES, 1)
    ]
    files.write_text(out / "attributes/image_attribute_labels.txt", "".join(labels))
